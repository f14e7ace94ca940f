package catalog

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usagebox/otelcol-usagebox/usage"
)

func mustParse(t testing.TB, text string) *Catalog {
	t.Helper()
	c, err := Parse("catalog.yaml", []byte("catalog: 1\nbuiltin: false\n"+text))
	require.NoError(t, err)
	return c
}

func at(text string) usage.Micros {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		panic(err)
	}
	return usage.MicrosOf(t)
}

func event(model string, lines ...usage.Line) *usage.Event {
	e := &usage.Event{ID: "e", Kind: usage.KindUsage, Customer: "acme", Timestamp: at("2026-05-16T18:00:00Z"), Provider: "openai", Model: model, Lines: lines}
	e.Normalize()
	return e
}

func line(meter, quantity string) usage.Line {
	q, err := usage.ParseQuantity(quantity)
	if err != nil {
		panic(err)
	}
	return usage.Line{Meter: meter, Quantity: q}
}

func TestEachBookHasItsOwnRate(t *testing.T) {
	c := mustParse(t, `
rates:
  - id: gpt
    book: cost
    match: {provider: openai, model: gpt-4o}
    per: million
    prices: {llm_tokens_in: "2.5", llm_tokens_out: 10}
  - book: price
    markup: "1.2"
`)
	e := event("gpt-4o", line("llm_tokens_in", "1000"), line("llm_tokens_reasoning", "7"), line("llm_requests", "1"))
	require.Empty(t, c.Price(e, nil))
	require.Empty(t, e.Flags)
	in := e.Line("llm_tokens_in")
	require.Equal(t, usage.Charge{Amount: 2_500_000_000, Currency: "USD", Rate: c.Version + "/gpt/llm_tokens_in"}, in.Cost)
	require.Equal(t, usage.Charge{Amount: 3_000_000_000, Currency: "USD", Rate: c.Version + "/price"}, in.Price)
	require.Equal(t, "0.00007", e.Line("llm_tokens_reasoning").Cost.Amount.String())
	require.Equal(t, c.Version+"/gpt/llm_tokens_out", e.Line("llm_tokens_reasoning").Cost.Rate)
	require.Equal(t, usage.Charge{Currency: "USD", Rate: c.Version + "/gpt/llm_tokens_in"}, e.Line("llm_requests").Cost, "it is paid for by its tokens")
	require.Equal(t, usage.Charge{Currency: "USD", Rate: c.Version + "/price"}, e.Line("llm_requests").Price)

	alone := event("gpt-4o", line("llm_requests", "1"))
	require.Len(t, c.Price(alone, nil), 2, "a call of which nobody knows the tokens has no cost, which is not zero")
	unknown := event("gpt-x", line("llm_requests", "1"), line("llm_tokens_in", "1"))
	require.Len(t, c.Price(unknown, nil), 4)
}
