package biller

import (
	"errors"
	"maps"
	"slices"
)

// errOthers is why a record was not taken that nothing is wrong with.
var errOthers = errors.New("not taken because of others in the same call")

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
