package biller

import (
	"errors"
	"maps"
	"slices"
	"strings"
)

// errOthers is why a record was not taken that nothing is wrong with.
var errOthers = errors.New("not taken because of others in the same call")

func excerpt(text []byte) string {
	s := strings.ToValidUTF8(string(text), "?")
	if len(s) > maxExcerpt {
		s = s[:maxExcerpt] + "…"
	}
	return s
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
