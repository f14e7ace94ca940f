// Package spanusageconnector turns spans that carry a usage event, as attribution emits them, into usage events.
package spanusageconnector

//go:generate go tool -modfile=../../internal/tools/go.mod mdatagen metadata.yaml
