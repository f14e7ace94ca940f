//go:generate go tool -modfile=../../internal/tools/go.mod mdatagen metadata.yaml

// Package usageexporter puts the usage events that arrive as log records into the ledger, and answers when they are durable.
package usageexporter
