package importer

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/usagebox/otelcol-usagebox/internal/catalog"
	"github.com/usagebox/otelcol-usagebox/usage"
)

func compiled(t testing.TB, r *Result) *catalog.Catalog {
	t.Helper()
	var text bytes.Buffer
	require.NoError(t, catalog.WriteYAML(&text, r.Document))
	c, err := catalog.Parse("imported.yaml", text.Bytes())
	require.NoError(t, err, text.String())
	return c
}

func read(t testing.TB, name string) *os.File {
	t.Helper()
	f, err := os.Open("testdata/" + name)
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// cost is the sum of an event's costs, and which meters have none.
func cost(c *catalog.Catalog, provider, model string, dimensions map[string]string, quantities map[string]int64) (string, []string) {
	e := &usage.Event{ID: "e", Customer: "c", Provider: provider, Model: model, Timestamp: 1_790_000_000_000_000}
	for meter, n := range quantities {
		e.Lines = append(e.Lines, usage.Line{Meter: meter, Quantity: usage.Units(n)})
	}
	for k, v := range dimensions {
		e.Dimensions = append(e.Dimensions, usage.Dimension{Key: k, Value: v})
	}
	e.Normalize()
	var missing []string
	for _, m := range c.Price(e, nil) {
		missing = append(missing, e.Lines[m.Line].Meter)
	}
	var sum usage.Amount
	for _, l := range e.Lines {
		sum += l.Cost.Amount
	}
	slices.Sort(missing)
	return sum.String(), missing
}

type (
	dims = map[string]string
	qs   = map[string]int64
)

func TestLiteLLMFieldsKeepTheirMeaning(t *testing.T) {
	r, err := LiteLLM(read(t, "litellm.json"), catalog.Source{ID: "litellm"})
	require.NoError(t, err)
	c := compiled(t, r)
	for name, x := range map[string]struct {
		provider, model string
		dims            dims
		qs              qs
		want            string
	}{
		"plain":                       {"openai", "gpt-5.1", nil, qs{"llm_tokens_in": 1000, "llm_tokens_out": 100}, "0.00225"},
		"reasoning is output":         {"openai", "gpt-5.1", nil, qs{"llm_tokens_reasoning": 100}, "0.001"},
		"flex":                        {"openai", "gpt-5.1", dims{"service_tier": "flex"}, qs{"llm_tokens_in": 1000, "llm_tokens_cache_read": 1000}, "0.0006875"},
		"priority":                    {"openai", "gpt-5.1", dims{"service_tier": "priority"}, qs{"llm_tokens_out": 100}, "0.002"},
		"batch":                       {"openai", "gpt-5.1", dims{"batch": "true"}, qs{"llm_tokens_in": 1000, "llm_tokens_out": 100}, "0.001125"},
		"batch before priority":       {"openai", "gpt-5.1", dims{"batch": "true", "service_tier": "priority"}, qs{"llm_tokens_out": 100}, "0.0005"},
		"cache write":                 {"anthropic", "claude-sonnet-4-5", nil, qs{"llm_tokens_cache_write": 1000}, "0.00375"},
		"cache write for an hour":     {"anthropic", "claude-sonnet-4-5", dims{"cache_ttl": "1h"}, qs{"llm_tokens_cache_write": 1000}, "0.006"},
		"an hour, long":               {"anthropic", "claude-sonnet-4-5", dims{"cache_ttl": "1h"}, qs{"llm_tokens_cache_write": 1000, "llm_tokens_in": 200_000}, "1.212"},
		"at the threshold":            {"anthropic", "claude-sonnet-4-5", nil, qs{"llm_tokens_in": 200_000}, "0.6"},
		"above it":                    {"anthropic", "claude-sonnet-4-5", nil, qs{"llm_tokens_in": 200_001, "llm_tokens_out": 10}, "1.200231"},
		"audio":                       {"openai", "gpt-4o-audio-preview", nil, qs{"llm_tokens_in_audio": 10, "llm_tokens_out_audio": 10}, "0.003"},
		"seconds":                     {"openai", "whisper-1", nil, qs{"input_seconds": 90}, "0.009"},
		"queries":                     {"cohere", "rerank-v3.5", nil, qs{"queries": 3}, "0.006"},
		"images, full name":           {"gcp.vertex_ai", "gemini/gemini-3-pro-preview", nil, qs{"output_images": 2}, "0.268"},
		"web search":                  {"anthropic", "claude-sonnet-4-5", dims{"search_context_size": "low"}, qs{"web_searches": 5}, "0.05"},
		"region":                      {"aws.bedrock", "anthropic.claude-3-haiku-20240307-v1:0", dims{"region": "us-gov-west-1"}, qs{"llm_tokens_in": 1000}, "0.0003"},
		"a tier's end":                {"dashscope", "qwen-plus", nil, qs{"llm_tokens_in": 256_000, "llm_tokens_out": 100, "llm_tokens_reasoning": 10}, "0.10256"},
		"the tier after it":           {"dashscope", "qwen-plus", nil, qs{"llm_tokens_in": 256_001, "llm_tokens_out": 100, "llm_tokens_reasoning": 10}, "0.3076812"},
		"batch of what has no output": {"gcp.gemini", "gemini-3-pro-preview", dims{"batch": "true"}, qs{"llm_tokens_in": 1000, "llm_tokens_out": 1000}, "0.013"},
	} {
		t.Run(name, func(t *testing.T) {
			got, missing := cost(c, x.provider, x.model, x.dims, x.qs)
			require.Empty(t, missing)
			require.Equal(t, x.want, got)
		})
	}
	_, missing := cost(c, "aws.bedrock", "anthropic.claude-3-haiku-20240307-v1:0", nil, qs{"llm_tokens_in": 1})
	require.Equal(t, []string{"llm_tokens_in"}, missing, "the price is of another region")
	require.Equal(t, []string{"dashscope/broken-tiers: a tier of tiered_pricing has no range and can't be carried over", "dashscope/broken-tiers: has no price that can be carried over"}, notes(r))
}

func notes(r *Result) (out []string) {
	for _, n := range r.Notes {
		out = append(out, n.String())
	}
	return out
}

func TestOpenRouterPricesKeepTheirMeaning(t *testing.T) {
	r, err := OpenRouter(read(t, "openrouter.json"), catalog.Source{ID: "openrouter"})
	require.NoError(t, err)
	c := compiled(t, r)
	for _, model := range []string{"anthropic/claude-sonnet-4.5", "anthropic/claude-4.5-sonnet-20250929"} {
		got, missing := cost(c, "openrouter", model, nil, qs{"llm_tokens_in": 1000, "llm_tokens_reasoning": 1000, "llm_tokens_cache_read": 1000, "llm_requests": 1})
		require.Empty(t, missing)
		require.Equal(t, "0.0183", got)
	}
	got, missing := cost(c, "openrouter", "some/model:free", nil, qs{"llm_tokens_in": 1000})
	require.Empty(t, missing)
	require.Equal(t, "0", got)
	_, missing = cost(c, "openrouter", "openrouter/auto", nil, qs{"llm_tokens_in": 1000})
	require.NotEmpty(t, missing)
	require.Contains(t, notes(r), "openrouter/auto: prompt -1 can't be carried over")
}

func TestNumbersKeepAllTheirDigits(t *testing.T) {
	r, err := OpenRouter(strings.NewReader(`{"data":[{"id":"m","pricing":{"prompt":0.00000012345678901234567890,"completion":"1.1e-7"}}]}`), catalog.Source{ID: "o"})
	require.NoError(t, err)
	prices := r.Document.Rates[0].Prices
	require.Equal(t, "0.1234567890123456789", prices["llm_tokens_in"].Price)
	require.Equal(t, "0.11", prices["llm_tokens_out"].Price)
}

func TestRegularExpressionsBecomePatterns(t *testing.T) {
	for regex, want := range map[string][]string{
		`^gpt-5\.4-\d{4}-\d{2}$`: {"gpt-5.4-####-##"},
		`^o[13]`:                 {"o1*", "o3*"},
		`claude`:                 {"*claude*"},
		`^(?:a|b)`:               nil,
	} {
		got := fromRegex(regex)
		require.Equal(t, want, got.patterns, regex)
		require.Equal(t, want == nil, got.lost, regex)
	}
}

func FuzzImporters(f *testing.F) {
	for _, name := range []string{"litellm.json", "openrouter.json"} {
		text, err := os.ReadFile("testdata/" + name)
		require.NoError(f, err)
		f.Add(text)
	}
	f.Add([]byte(`[{"id":"p","model_match":{"regex":"^o[13]"},"models":[{"id":"m","match":{"or":[{"starts_with":"m"}]},"prices":[{"prices":{"input_mtok":1}},{"constraint":{"start_date":"2026-01-01"},"prices":{"input_mtok":{"base":1,"tiers":[{"start":5,"price":2}]}}}]}]}]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, read := range []func() (*Result, error){
			func() (*Result, error) { return LiteLLM(bytes.NewReader(text), catalog.Source{ID: "s"}) },
			func() (*Result, error) { return OpenRouter(bytes.NewReader(text), catalog.Source{ID: "s"}) },
			func() (*Result, error) { return GenAIPrices(bytes.NewReader(text), catalog.Source{ID: "s"}) },
		} {
			r, err := read()
			if err != nil {
				continue
			}
			var out bytes.Buffer
			if err := catalog.WriteYAML(&out, r.Document); err != nil {
				t.Fatal(err)
			}
			// What was imported is a catalogue, or is refused with a place: never a panic.
			_, _ = catalog.Parse("imported.yaml", out.Bytes())
		}
	})
}
