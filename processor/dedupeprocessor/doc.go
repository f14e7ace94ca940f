// Package dedupeprocessor drops usage events that were let through before.
// What is remembered is in files of its own form, see internal/index.
package dedupeprocessor

//go:generate go tool -modfile=../../internal/tools/go.mod mdatagen metadata.yaml
