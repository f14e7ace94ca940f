package attribution

import (
	"math/rand/v2"
	"strings"
	"testing"

	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/usagebox/otelcol-usagebox/test/judge"
	"github.com/usagebox/otelcol-usagebox/usage"
)

const arrival = usage.Micros(1_800_000_000_000_000)

func captures(t testing.TB) []judge.Capture {
	t.Helper()
	all, err := judge.Load("../../test/testdata/captures")
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func spansOf(t testing.TB, r judge.Request) (ptrace.Traces, bool) {
	t.Helper()
	if r.Path != "/v1/traces" {
		return ptrace.Traces{}, false
	}
	q := ptraceotlp.NewExportRequest()
	var err error
	if strings.Contains(r.ContentType, "json") {
		err = q.UnmarshalJSON(r.Body)
	} else {
		err = q.UnmarshalProto(r.Body)
	}
	if err != nil {
		t.Fatal(err)
	}
	return q.Traces(), true
}

func newReader(t testing.TB) *Reader {
	t.Helper()
	r, err := NewReader(Config{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func factsOf(t testing.TB, r *Reader, c judge.Capture) []Fact {
	t.Helper()
	var facts []Fact
	for _, q := range c.Requests {
		if td, ok := spansOf(t, q); ok {
			facts = append(facts, r.Read(td, arrival)...)
		}
	}
	return facts
}

func byTrace(facts []Fact) map[TraceID][]Fact {
	traces := map[TraceID][]Fact{}
	for _, f := range facts {
		traces[f.Trace] = append(traces[f.Trace], f)
	}
	return traces
}

func decideAll(facts []Fact, rules Rules) (events []usage.Event) {
	w := NewWorld(facts)
	w.rules = rules
	for _, d := range w.Decide() {
		for _, p := range d.Events {
			events = append(events, p.Event)
		}
	}
	return events
}

func TestEveryRecordingIsExact(t *testing.T) {
	r := newReader(t)
	for _, c := range captures(t) {
		t.Run(c.Name, func(t *testing.T) {
			facts := factsOf(t, r, c)
			random := rand.New(rand.NewPCG(1, 2))
			for round := range 6 {
				events := decideAll(facts, 0)
				verdicts, foreign := judge.Judge(judge.Rows(events), &c.Expect)
				if !verdicts[0].Exact() || len(foreign) > 0 {
					t.Fatalf("round %d: %s\nforeign: %v", round, verdicts[0], foreign)
				}
				for i := range events {
					if err := events[i].Validate(); err != nil {
						t.Fatalf("%+v: %v", events[i], err)
					}
				}
				random.Shuffle(len(facts), func(i, j int) { facts[i], facts[j] = facts[j], facts[i] })
				facts = append(facts, facts[:len(facts)/3]...)
			}
		})
	}
}
