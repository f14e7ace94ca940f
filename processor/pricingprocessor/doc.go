// Package pricingprocessor adds what usage cost and what it is charged at to usage events, from a catalogue.
package pricingprocessor

//go:generate go tool -modfile=../../internal/tools/go.mod mdatagen metadata.yaml
