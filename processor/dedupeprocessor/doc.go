// Package dedupeprocessor drops usage events that were let through before.
//
// The index is a Pebble store in the folder index of the directory. Integers are big-endian.
//
//	"v"                              → version, 1 byte: 1
//	"g" number (4)                   → a generation: first time (8), last time (8), in nanoseconds since 1970; entries (8)
//	number (4) hash (16)             → payload digest (16) of an event that was let through
//
// The hash is XXH3-128 of the customer's length (uvarint), the customer and the event's id. Generations are numbered from 1; numbers are far below
// the one that would meet the letters above. Expiry deletes the range of a generation.
package dedupeprocessor

//go:generate go tool -modfile=../../internal/tools/go.mod mdatagen metadata.yaml
