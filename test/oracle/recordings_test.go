package oracle

import (
	"math/big"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/usagebox/otelcol-usagebox/internal/attribution"
	"github.com/usagebox/otelcol-usagebox/internal/catalog"
	"github.com/usagebox/otelcol-usagebox/test/judge"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// rates are per million tokens: uncached input, cache read, cache write, output; reasoning is output. They are no model's own.
var rates = [5]int64{3, 1, 4, 15, 15}

const ratesText = `catalog: 1
builtin: false
rates:
  - id: all
    book: cost
    per: million
    match: {}
    prices: {llm_tokens_in: 3, llm_tokens_cache_read: 1, llm_tokens_cache_write: 4, llm_tokens_out: 15}
`

// eventsOf are a recording's events, as attribution makes them.
func eventsOf(t *testing.T, c judge.Capture) (events []usage.Event) {
	t.Helper()
	reader, err := attribution.NewReader(attribution.Config{})
	require.NoError(t, err)
	var facts []attribution.Fact
	for _, q := range c.Requests {
		if q.Path != "/v1/traces" {
			continue
		}
		request := ptraceotlp.NewExportRequest()
		if strings.Contains(q.ContentType, "json") {
			require.NoError(t, request.UnmarshalJSON(q.Body))
		} else {
			require.NoError(t, request.UnmarshalProto(q.Body))
		}
		facts = append(facts, reader.Read(request.Traces(), 1_800_000_000_000_000)...)
	}
	for _, decision := range attribution.NewWorld(facts).Decide() {
		for _, p := range decision.Events {
			events = append(events, p.Event)
		}
	}
	return events
}

func TestCostOfEveryRecordedRunIsThatOfItsCalls(t *testing.T) {
	c, err := catalog.Parse("rates.yaml", []byte(ratesText))
	require.NoError(t, err)
	captures, err := judge.Load("../testdata/captures")
	require.NoError(t, err)
	checked := map[string]bool{}
	for _, capture := range captures {
		if capture.Name != "ai-sdk-6" && capture.Name != "openai-agents-openinference" && capture.Name != "queue-link" {
			continue
		}
		checked[capture.Name] = true
		runOf := map[string]string{} // span → run
		got, want := map[string]*big.Rat{}, map[string]*big.Rat{}
		sum := func(m map[string]*big.Rat, run string) *big.Rat {
			if m[run] == nil {
				m[run] = new(big.Rat)
			}
			return m[run]
		}
		for _, e := range eventsOf(t, capture) {
			e.Normalize()
			c.Price(&e, nil)
			for _, l := range e.Lines {
				if strings.HasPrefix(l.Meter, "llm_tokens") {
					require.True(t, l.Cost.Known(), "%s: %v", capture.Name, l)
				}
				if l.Cost.Known() {
					total := sum(got, e.RunID)
					total.Add(total, big.NewRat(int64(l.Cost.Amount), 1_000_000_000_000))
				}
			}
			runOf[e.SpanID] = e.RunID
		}
		for _, unit := range capture.Expect.Units {
			if unit.Best == nil {
				continue
			}
			run, found := "", false
			for _, s := range append(unit.Spans, unit.Parts...) {
				if r, ok := runOf[s.SpanID]; ok {
					run, found = r, true
				}
			}
			require.True(t, found, "%s: no event of %v", capture.Name, unit.Spans)
			total := sum(want, run)
			for i, n := range unit.Best {
				total.Add(total, big.NewRat(n*rates[i], 1_000_000))
			}
		}
		require.NotEmpty(t, want)
		for run, expected := range want {
			require.NotNil(t, got[run], "%s: run %s has no cost", capture.Name, run)
			require.Zero(t, expected.Cmp(got[run]), "%s: run %s costs %s, not %s", capture.Name, run, got[run].FloatString(12), expected.FloatString(12))
		}
		require.Len(t, got, len(want), "runs without a call cost nothing")
		t.Logf("%s: %d runs", capture.Name, len(want))
	}
	require.Len(t, checked, 3)
}
