// Package dedupeprocessor drops usage events that were let through before.
package dedupeprocessor

//go:generate go tool -modfile=../../internal/tools/go.mod mdatagen metadata.yaml
