// Package oracle compares our costs with those of an independent calculation: calcPrice of the npm package @pydantic/genai-prices.
package oracle
