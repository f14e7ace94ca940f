// Package usagereceiver takes usage events over HTTP: one, an array, lines, CloudEvents.
package usagereceiver

//go:generate go tool -modfile=../../internal/tools/go.mod mdatagen metadata.yaml
