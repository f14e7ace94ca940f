package catalog

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSyntaxErrorsNameTheLine(t *testing.T) {
	const head = "catalog: 1\nrates:\n  - {book: cost, match: {meter: m}, price: 1}\n"
	for name, x := range map[string]struct{ text, want string }{
		"a mapping that isn't closed": {head + "  - {book: cost, match: {meter: n}, price: 1", "a.yaml:4: is no YAML: did not find expected ',' or '}'"},
		"a list that isn't closed":    {head + "  - {book: cost, match: {meter: [n}, price: 1}", "a.yaml:4: is no YAML: did not find expected ',' or ']'"},
		"a quote that isn't closed":   {head + "  - {book: cost, match: {meter: \"n}, price: 1}", "a.yaml:4: is no YAML: found unexpected end of stream"},
		"a tab":                       {head + "\t- x", "a.yaml:4: is no YAML: found character that cannot start any token"},
		"a line of nothing known":     {head + "x", "a.yaml:4: is no YAML: could not find expected ':'"},
		"a colon too many":            {head + "x: y: z", "a.yaml:4: is no YAML: mapping values are not allowed in this context"},
		"a key out of line":           {head + " x: y", "a.yaml:4: is no YAML: did not find expected key"},
		"a control character":         {head + "x: \x01", "a.yaml: is no YAML: control characters are not allowed"},
	} {
		_, err := Parse("a.yaml", []byte(x.text))
		require.EqualError(t, err, x.want, name)
	}
}
