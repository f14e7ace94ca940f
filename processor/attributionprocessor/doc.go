// Package attributionprocessor turns spans into usage: it keeps the facts of every span, waits until a trace has settled, and emits
// one span for each thing that counts, with the usage event in its attributes.
package attributionprocessor

//go:generate go tool -modfile=../../internal/tools/go.mod mdatagen metadata.yaml
