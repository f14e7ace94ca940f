package catalog

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// priced is the rate id of a one-line event, or why it has none.
func priced(c *Catalog, e *usage.Event) string {
	e.Normalize()
	missing := c.Price(e, nil)
	if len(missing) > 0 {
		return "none: " + missing[0].Reason.String()
	}
	_, id, _ := strings.Cut(e.Lines[0].Cost.Rate, "/")
	return id
}

func TestMostSpecificRateWinsInTheStatedOrder(t *testing.T) {
	// Each rate goes before all that follow it, for an event that fits them all.
	matches := []string{
		"customer: acme",
		"plan: pro, model: gpt-4o-mini-2024-07-18, provider: openai",
		"plan: pro",
		"model: gpt-4o-mini-2024-07-18",
		"model: mini, provider: openai",
		"model: gpt-4o-mini, operation: chat",
		"model: gpt-4o-mini",
		"model: [small], provider: openai",
		"model: gpt-4o-mini-2024*",
		"model: \"gpt-4o-*\", provider: openai, feature: f, operation: chat",
		"model: \"gpt-4o-*\"",
		"provider: openai, operation: chat, feature: f",
		"provider: openai, operation: chat",
		"provider: openai, feature: f, agent: a, step: s",
		"provider: openai, batch: \"true\"",
		"provider: openai, service_tier: flex, region: eu",
		"provider: openai, region: eu",
		"provider: openai, dimensions: {a: 1, b: 2}",
		"provider: openai, dimensions: {a: 1}",
		"provider: openai",
		"operation: chat",
		"service: svc, user: u",
		"service: svc",
		"user: u",
		"dimensions: {a: 1}",
	}
	e := usage.Event{
		ID: "e", Customer: "acme", Provider: "OpenAI", Model: "GPT-4o-mini-2024-07-18", Operation: "chat", Feature: "f", Agent: "a", Step: "s",
		Service: "svc", UserID: "u", Timestamp: at("2026-01-01T00:00:00Z"), Lines: []usage.Line{line("llm_tokens_in", "1")},
		Dimensions: []usage.Dimension{{Key: "a", Value: "1"}, {Key: "b", Value: "2"}, {Key: "batch", Value: "true"}, {Key: "plan", Value: "pro"}, {Key: "region", Value: "eu"}, {Key: "service_tier", Value: "flex"}},
	}
	for first := range matches {
		var text strings.Builder
		text.WriteString("models:\n  - {provider: openai, model: mini, aliases: [gpt-4o-mini-2024-07-18]}\n  - {provider: openai, model: small, patterns: [\"*-mini-*\"]}\nrates:\n")
		for i := len(matches) - 1; i >= first; i-- {
			fmt.Fprintf(&text, "  - {id: r%d, book: cost, match: {meter: llm_tokens_in, %s}, price: 1}\n", i, matches[i])
		}
		c := mustParse(t, text.String())
		require.Equal(t, fmt.Sprintf("r%d", first), priced(c, &e), "the order of %q", matches[first:])
	}
}

func TestTiesAreErrorsThatNameBothPlaces(t *testing.T) {
	for name, x := range map[string]struct{ a, b, want string }{
		"the same":                    {"{model: m}", "{model: m}", "catalog.yaml:6:5: rate \"b\" ties with rate \"a\" at catalog.yaml:5:5"},
		"one of several":              {"{model: [x, m]}", "{model: [m, y]}", "ties"},
		"capitals":                    {"{model: M}", "{model: m}", "ties"},
		"patterns that meet":          {"{model: \"gp*\"}", "{model: \"g?4\"}", "ties"},
		"other dimensions":            {"{dimensions: {a: 1}}", "{dimensions: {b: 1}}", "ties"},
		"patterns that don't meet":    {"{model: \"ab*\"}", "{model: \"ac*\"}", ""},
		"patterns of other length":    {"{model: \"ab*\"}", "{model: \"abc*\"}", ""},
		"the same dimension differs":  {"{dimensions: {a: 1, b: 1}}", "{dimensions: {a: 2, c: 1}}", ""},
		"another rank":                {"{model: m}", "{model: m, feature: f}", ""},
		"another provider":            {"{model: m, provider: a}", "{model: m, provider: b}", ""},
		"the provider's other name":   {"{model: m, provider: azure.ai.openai}", "{model: m, provider: other}", "ties"},
		"a pattern and an exact name": {"{model: \"m*\"}", "{model: m}", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("catalog.yaml", []byte(fmt.Sprintf("catalog: 1\nbuiltin: false\nproviders: [{name: azure.ai.openai, aliases: [other]}]\nrates:\n  - {id: a, book: cost, price: 1, match: {meter: tool_calls, %s}}\n  - {id: b, book: cost, price: 1, match: {meter: tool_calls, %s}}\n", x.a[1:len(x.a)-1], x.b[1:len(x.b)-1])))
			if x.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, x.want)
		})
	}
}

func TestTimesDecideToTheMicrosecondInAnyZone(t *testing.T) {
	c := mustParse(t, `
rates:
  - {id: old, book: cost, match: {meter: tool_calls}, price: 1, effective: {until: "2026-03-01T01:00:00+01:00"}}
  - {id: new, book: cost, match: {meter: tool_calls}, price: 2, effective: {from: 2026-03-01, until: "2026-04-01T00:00:00.000001Z"}}
  - {id: night, book: cost, match: {meter: retrievals}, price: 1, effective: {hours: {from: "22:00", until: "06:30"}}}
  - {id: day, book: cost, match: {meter: retrievals}, price: 2}
`)
	for text, want := range map[string]string{
		"2026-02-28T23:59:59.999999Z": "old",
		"2026-03-01T00:00:00Z":        "new",
		"2026-03-01T00:59:59+01:00":   "old",
		"2026-04-01T00:00:00Z":        "new",
		"2026-04-01T00:00:00.000001Z": "none: rate",
		"1970-01-01T00:00:00Z":        "old",
	} {
		require.Equal(t, want, priced(c, &usage.Event{ID: "e", Timestamp: at(text), Lines: []usage.Line{line("tool_calls", "1")}}), text)
	}
	for text, want := range map[string]string{
		"2026-02-28T21:59:59.999999Z": "day", "2026-02-28T22:00:00Z": "night", "2026-02-28T00:00:00Z": "night",
		"2026-02-28T06:29:59.999999Z": "night", "2026-02-28T06:30:00Z": "day",
	} {
		require.Equal(t, want, priced(c, &usage.Event{ID: "e", Timestamp: at(text), Lines: []usage.Line{line("retrievals", "1")}}), text)
	}
}

func TestOwnCatalogueGoesBeforeTheBuiltInOne(t *testing.T) {
	c, err := Parse("catalog.yaml", []byte("catalog: 1\nrates:\n  - {id: mine, book: cost, match: {provider: openai, meter: llm_tokens_in}, per: million, price: 1}\n"))
	require.NoError(t, err)
	e := event("gpt-4o", line("llm_tokens_in", "1"))
	require.Equal(t, "mine", priced(c, e))
	e = event("gpt-4o", line("llm_tokens_out", "1"))
	require.Equal(t, "openai/gpt-4o/llm_tokens_out", priced(c, e))
}

func TestPlanOfACustomerIsTheCataloguesWord(t *testing.T) {
	c := mustParse(t, `
customers:
  - {customer: acme, plan: pro, effective: {from: 2026-05-01}}
rates:
  - {id: pro, book: cost, match: {meter: tool_calls, plan: pro}, price: 1}
  - {id: free, book: cost, match: {meter: tool_calls, plan: free}, price: 0}
  - {id: other, book: cost, match: {meter: tool_calls}, price: 2}
`)
	free := []usage.Dimension{{Key: "plan", Value: "free"}}
	for name, x := range map[string]struct {
		customer, at, want string
		dimensions         []usage.Dimension
	}{
		"the catalogue's, whatever is sent": {"acme", "2026-05-01T00:00:00Z", "pro", free},
		"before it":                         {"acme", "2026-04-30T23:59:59Z", "free", free},
		"sent":                              {"other", "2026-05-01T00:00:00Z", "free", free},
		"none":                              {"other", "2026-05-01T00:00:00Z", "other", nil},
	} {
		require.Equal(t, x.want, priced(c, &usage.Event{ID: "e", Customer: x.customer, Timestamp: at(x.at), Dimensions: x.dimensions, Lines: []usage.Line{line("tool_calls", "1")}}), name)
	}
}

func TestModelsAreFoundByTheirOtherNames(t *testing.T) {
	c, err := Builtin()
	require.NoError(t, err)
	for model, want := range map[string]string{
		"claude-sonnet-4-5-20250929": "anthropic/claude-sonnet-4-5/llm_tokens_in",
		"claude-4.5-sonnet":          "anthropic/claude-sonnet-4-5/llm_tokens_in",
		"gpt-4o-2024-08-06":          "openai/gpt-4o/llm_tokens_in",
		"gpt-4o-2024-05-13":          "openai/gpt-4o-2024-05-13/llm_tokens_in",
		"gemini-2.5-flash":           "gcp.gemini/gemini-2.5-flash/llm_tokens_in",
		"text-embedding-3-small":     "openai/text-embedding-3-small/llm_tokens_in",
		"no-such-model":              "none: rate",
	} {
		e := event(model, line("llm_tokens_in", "1"))
		e.Provider = ""
		require.Equal(t, want, priced(c, e), model)
	}
	e := event("gpt-4o", line("llm_tokens_in", "1"))
	e.Provider = "azure"
	require.Equal(t, "openai/gpt-4o/llm_tokens_in", priced(c, e), "Azure has OpenAI's rates where it has none of its own")
}

func TestUnitsOtherThanTheRatesAreNotPriced(t *testing.T) {
	c := mustParse(t, "rates:\n  - {id: gpu, book: cost, match: {meter: gpu_seconds}, price: 3.6, per: hour}\n")
	l := line("gpu_seconds", "10")
	e := event("", l)
	require.Equal(t, "gpu", priced(c, e))
	require.Equal(t, "0.01", e.Lines[0].Cost.Amount.String())
	l.Unit = "minute"
	require.Equal(t, "none: rate", priced(c, event("", l)))
}

func TestPartsHaveTheRateOfTheWholeWhereTheyHaveNone(t *testing.T) {
	c := mustParse(t, `
rates:
  - {id: all, book: cost, match: {provider: openai, model: a}, per: million, prices: {llm_tokens_in: 1, llm_tokens_out: 2}}
  - {id: dated, book: cost, match: {provider: openai, model: a-2025-01-01}, per: million, prices: {llm_tokens_in: 5, llm_tokens_out: 6}}
  - {id: part, book: cost, match: {provider: openai, model: [a, b]}, per: million, prices: {llm_tokens_cache_read: 0.1}}
  - {id: acme, book: cost, match: {customer: acme, model: a}, per: million, prices: {llm_tokens_in: 0.9}}
`)
	for _, x := range []struct{ customer, model, meter, want string }{
		{"c", "a", "llm_tokens_cache_read", "part/llm_tokens_cache_read"},
		{"c", "a", "llm_tokens_cache_write", "all/llm_tokens_in"},
		{"c", "a", "llm_tokens_reasoning", "all/llm_tokens_out"},
		{"c", "a", "llm_tokens_in_audio", "all/llm_tokens_in"},
		{"c", "a-2025-01-01", "llm_tokens_cache_read", "dated/llm_tokens_in"},
		{"c", "b", "llm_tokens_cache_write", "none: rate"},
		{"acme", "a", "llm_tokens_cache_read", "part/llm_tokens_cache_read"},
		{"acme", "a", "llm_tokens_cache_write", "acme/llm_tokens_in"},
	} {
		e := event(x.model, line(x.meter, "1"))
		e.Customer = x.customer
		require.Equal(t, x.want, priced(c, e), x)
	}
}

func TestPatternsMatchAsTheySay(t *testing.T) {
	for _, x := range []struct {
		pattern, name string
		want          bool
	}{
		{"*", "", true},
		{"a*", "a", true},
		{"a*c", "abcbc", true},
		{"a*c", "abcb", false},
		{"?", "", false},
		{"gpt-#", "gpt-4", true},
		{"gpt-#", "gpt-x", false},
		{"*a*b*", "xaxbx", true},
		{"*a*b*", "xbxax", false},
	} {
		require.Equal(t, x.want, matches(x.pattern, x.name), x)
	}
}

func TestNamesWithTheirProvidersBeforeThemAreThatProvidersAlone(t *testing.T) {
	c, err := Parse("catalog.yaml", []byte(`
catalog: 1
rates:
  - {id: own, book: cost, match: {meter: llm_tokens_in, model: openai/my-own}, price: 1}
  - {id: path, book: cost, match: {meter: llm_tokens_in, provider: hub, model: accounts/me/models/x}, price: 1}
  - {id: hub-x, book: cost, match: {meter: llm_tokens_in, provider: hub, model: x}, price: 1}
  - {id: hub-oss, book: cost, match: {meter: llm_tokens_in, provider: hub, model: openai/gpt-4o}, price: 1}
`))
	require.NoError(t, err)
	for _, x := range []struct{ provider, model, want string }{
		{"openai", "openai/gpt-4o-mini", "openai/gpt-4o-mini/llm_tokens_in"},
		{"", "openai/gpt-4o-mini-2024-07-18", "openai/gpt-4o-mini/llm_tokens_in"},
		{"azure", "azure/gpt-4o-mini", "openai/gpt-4o-mini/llm_tokens_in"},
		{"", "azure/gpt-4o-mini", "openai/gpt-4o-mini/llm_tokens_in"},
		{"", "anthropic/claude-opus-4-5-20251101", "anthropic/claude-opus-4-5/llm_tokens_in"},
		{"gcp.gemini", "models/gemini-2.5-flash-lite", "gcp.gemini/gemini-2.5-flash-lite/llm_tokens_in"},
		{"vertex_ai", "projects/p/locations/l/publishers/google/models/gemini-2.5-flash-lite", "gcp.gemini/gemini-2.5-flash-lite/llm_tokens_in"},
		{"hub", "openai/gpt-4o-mini", "none: rate"}, // another provider's price is not the hub's
		{"hub", "openai/gpt-4o", "hub-oss"},
		{"anthropic", "openai/gpt-4o-mini", "none: rate"},
		{"", "nobody/gpt-4o-mini", "none: rate"},
		{"openai", "openai/my-own", "own"},
		{"", "openai/my-own", "own"},
		{"hub", "accounts/me/models/x", "path"},
		{"hub", "accounts/you/models/x", "hub-x"},
		{"", "hub/x", "hub-x"},
		{"hub", "mymodels/x", "none: rate"},
		{"openai", "openai/", "none: rate"},
	} {
		e := usage.Event{ID: "e", Customer: "acme", Provider: x.provider, Model: x.model, Timestamp: at("2026-11-01T00:00:00Z"), Lines: []usage.Line{line("llm_tokens_in", "1")}}
		require.Equal(t, x.want, priced(c, &e), "%s %s", x.provider, x.model)
	}
}
