package tracestore

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/usagebox/otelcol-usagebox/internal/attribution"
	"github.com/usagebox/otelcol-usagebox/internal/factlog"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// Whatever comes, and is looked at in between, in whatever order of traces: the places of each are those that came since, in their order.
func TestPlacesOfOpenTracesAreThoseThatNoSettlementHasLookedAt(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 9))
	o := newOpenTraces()
	want := map[attribution.TraceID][]factlog.Place{}
	first := map[attribution.TraceID]usage.Micros{}
	for step := range 300_000 {
		trace := attribution.TraceID{byte(random.IntN(200)), byte(random.IntN(100))}
		at := usage.Micros(step)
		if random.IntN(5) < 3 {
			p := factlog.Place{Offset: random.Uint64(), Length: random.Uint32()}
			o.add(trace, p, at)
			if want[trace] = append(want[trace], p); len(want[trace]) == 1 {
				first[trace] = at
			}
		} else if _, ok := want[trace]; ok {
			count := random.IntN(len(want[trace]) + 1)
			o.looked(trace, count, at)
			if want[trace], first[trace] = want[trace][count:], at; len(want[trace]) == 0 {
				delete(want, trace)
			}
		}
		if !slices.Equal(o.places(trace), want[trace]) {
			t.Fatalf("step %d: %v, want %v", step, o.places(trace), want[trace])
		}
		if len(want) > 0 && step%50_000 == 40_000 { // all are looked at
			for trace, places := range maps.Clone(want) {
				if o.traces[trace].first != first[trace] {
					t.Fatalf("first at %d, want %d", o.traces[trace].first, first[trace])
				}
				o.looked(trace, len(places), at)
				delete(want, trace)
			}
			if len(o.traces) > 0 {
				t.Fatalf("%d traces are left", len(o.traces))
			}
		}
	}
}
