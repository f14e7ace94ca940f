package parquetfile

import (
	"bytes"
	"errors"
	"fmt"
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"github.com/usagebox/otelcol-usagebox/internal/decimal"
	"github.com/usagebox/otelcol-usagebox/usage"
)

func anyGrouping(t *rapid.T) *Grouping {
	names := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"feature", "model", "step", "user_id", "run_id", "service", "dimensions.a"}), 0, 5, rapid.ID).Draw(t, "dimensions")
	g, err := NewGrouping(names)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func rollup(t fataler, g *Grouping, events []usage.Event) []RollupRow {
	r := NewRollup(g)
	for i := range events {
		if err := r.Add(&events[i]); err != nil {
			t.Fatalf("%v", err)
		}
	}
	return r.Rows()
}

func runs(t fataler, events []usage.Event) []RunRow {
	s := NewRunSums()
	for i := range events {
		if err := s.Add(&events[i]); err != nil {
			t.Fatalf("%v", err)
		}
	}
	return s.Rows()
}

func TestRollupsComeBackFromAFileExactly(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		g := anyGrouping(rt)
		want := rollup(rt, g, anyEvents(rt))
		var out bytes.Buffer
		if err := WriteRollups(&out, g, want); err != nil {
			rt.Fatal(err)
		}
		got := []RollupRow{}
		if err := ReadRollups(bytes.NewReader(out.Bytes()), int64(out.Len()), func(r *RollupRow) error { got = append(got, *r); return nil }); err != nil {
			rt.Fatal(err)
		}
		mustEqual(rt, want, got)
		back, err := RollupGrouping(bytes.NewReader(out.Bytes()), int64(out.Len()))
		if err != nil {
			rt.Fatal(err)
		}
		mustEqual(rt, g.Dimensions(), back.Dimensions())
	})
}

func TestRunsComeBackFromAFileExactly(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		want := runs(rt, anyEvents(rt))
		var out bytes.Buffer
		if err := WriteRuns(&out, want); err != nil {
			rt.Fatal(err)
		}
		got := []RunRow{}
		if err := ReadRuns(bytes.NewReader(out.Bytes()), int64(out.Len()), func(r *RunRow) error { got = append(got, *r); return nil }); err != nil {
			rt.Fatal(err)
		}
		mustEqual(rt, want, got)
	})
}

func TestRefusalsComeBackFromAFileExactly(t *testing.T) {
	want := []RefusedRow{
		{At: 5, Reason: usage.ReasonInvalidJSON},
		{At: 4, Customer: "acme", EventID: "e", TraceID: "t", SpanID: "s", Source: "api", Reason: usage.ReasonConflict, Payload: `{"event_id":"e"}`},
	}
	var out bytes.Buffer
	if err := WriteRefused(&out, want); err != nil {
		t.Fatal(err)
	}
	var got []RefusedRow
	if err := ReadRefused(bytes.NewReader(out.Bytes()), int64(out.Len()), func(r *RefusedRow) error { got = append(got, *r); return nil }); err != nil {
		t.Fatal(err)
	}
	mustEqual(t, want, got)
}

// TestRollupIsTheSumOfItsEvents adds the lines up under each key in another way, with math/big.
func TestRollupIsTheSumOfItsEvents(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		events := anyEvents(rt)
		type sums struct {
			quantity, cost, price *big.Int
			rows, costed, priced  int64
			earliest, latest      usage.Micros
		}
		want := map[string]*sums{}
		for _, e := range events {
			for _, l := range e.Lines {
				k := fmt.Sprintf("%d %q", e.Timestamp.Hour(), []string{e.Customer, e.Feature, e.Step, e.Agent, e.Operation, e.Provider, e.Model, l.Meter, l.Unit, l.Cost.Currency, l.Price.Currency})
				s := want[k]
				if s == nil {
					s = &sums{quantity: new(big.Int), cost: new(big.Int), price: new(big.Int), earliest: e.Timestamp, latest: e.Timestamp}
					want[k] = s
				}
				s.quantity.Add(s.quantity, big.NewInt(int64(l.Quantity)))
				s.rows++
				s.earliest, s.latest = min(s.earliest, e.Timestamp), max(s.latest, e.Timestamp)
				if l.Cost.Known() {
					s.cost.Add(s.cost, big.NewInt(int64(l.Cost.Amount)))
					s.costed++
				}
				if l.Price.Known() {
					s.price.Add(s.price, big.NewInt(int64(l.Price.Amount)))
					s.priced++
				}
			}
		}
		rows := rollup(rt, nil, events)
		mustEqual(rt, len(want), len(rows))
		for _, r := range rows {
			k := fmt.Sprintf("%d %q", r.HourStart.Hour(), []string{r.Customer, r.Feature, r.Step, r.Agent, r.Operation, r.Provider, r.Model, r.Meter, r.Unit, r.Currency, r.PriceCurrency})
			s := want[k]
			if s == nil {
				rt.Fatalf("no events for %s", k)
			}
			same := r.Quantity.Big().Cmp(s.quantity) == 0 && r.Cost.Amount.Big().Cmp(s.cost) == 0 && r.Price.Amount.Big().Cmp(s.price) == 0 &&
				r.Cost.Known == (s.costed > 0) && r.Price.Known == (s.priced > 0) &&
				r.Events == s.rows && r.UncostedEvents == s.rows-s.costed && r.UnpricedEvents == s.rows-s.priced && r.FirstAt == s.earliest && r.LastAt == s.latest
			if !same {
				rt.Fatalf("%s: %+v is not %+v", k, r, s)
			}
		}
	})
}

func TestRollupsOfPartsAddUpToTheWhole(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		events := anyEvents(rt)
		cut := rapid.IntRange(0, len(events)).Draw(rt, "cut")
		whole := rollup(rt, nil, events)
		merged := rollup(rt, nil, events[:cut])
		for _, r := range rollup(rt, nil, events[cut:]) {
			found := false
			for i := range merged {
				if merged[i].SameKey(&r) {
					if err := merged[i].Merge(&r); err != nil {
						rt.Fatal(err)
					}
					found = true
				}
			}
			if !found {
				merged = append(merged, r)
			}
		}
		mustEqual(rt, len(whole), len(merged))
		for _, w := range whole {
			for _, m := range merged {
				if w.SameKey(&m) {
					mustEqual(rt, w, m)
				}
			}
		}
	})
}

func TestSumsThatNoLongerFitAreAnErrorNeverAnotherNumber(t *testing.T) {
	big38 := decimal.Int128{Hi: maxSum.Hi, Lo: maxSum.Lo - 1}
	sum, err := addSum(big38, decimal.FromInt64(1))
	if err != nil || sum != maxSum {
		t.Fatal(sum.Big(), err)
	}
	if want, _ := new(big.Int).SetString("99999999999999999999999999999999999999", 10); maxSum.Big().Cmp(want) != 0 {
		t.Fatal("the largest sum is", maxSum.Big())
	}
	for _, step := range []int64{1, maxDecimal} {
		if _, err := addSum(maxSum, decimal.FromInt64(step)); !errors.Is(err, ErrOverflow) {
			t.Fatal(step, err)
		}
		if _, err := addSum(maxSum.Neg(), decimal.FromInt64(-step)); !errors.Is(err, ErrOverflow) {
			t.Fatal(-step, err)
		}
	}
	if _, err := addSum(decimal.Int128{Hi: 1<<63 - 1}, decimal.Int128{Hi: 1<<63 - 1}); !errors.Is(err, ErrOverflow) {
		t.Fatal(err)
	}
}

func TestUnknownAndRepeatedDimensionsAreRefused(t *testing.T) {
	for _, names := range [][]string{{"colour"}, {"feature", "feature"}, {"dimensions."}} {
		if _, err := NewGrouping(names); err == nil {
			t.Errorf("%q is taken", names)
		}
	}
}

const run1 = "4bf92f3577b34da6a3ce929d0e0e4736"

func TestARunIsDescribedByItsRoot(t *testing.T) {
	usd := func(n int64) usage.Charge { return usage.Charge{Amount: usage.Amount(n), Currency: "USD", Rate: "r"} }
	call := usage.Event{
		ID: "call", Kind: usage.KindUsage, Customer: "acme", RunID: run1, Timestamp: 20_000_000, Agent: "helper", Feature: "early", UserID: "u",
		Lines: []usage.Line{{Meter: usage.MeterLLMRequests, Quantity: usage.Units(1), Cost: usd(7)}, {Meter: usage.MeterTokensIn, Quantity: usage.Units(120), Cost: usd(5)}},
	}
	tool := usage.Event{
		ID: "tool", Kind: usage.KindUsage, Customer: "acme", RunID: run1, Timestamp: 21_000_000,
		Lines: []usage.Line{{Meter: usage.MeterToolCalls, Quantity: usage.Units(1)}},
	}
	sub := usage.Event{
		ID: "sub", Kind: usage.KindUsage, Customer: "acme", RunID: run1, Timestamp: 25_000_000, Agent: "sub", Flags: []string{usage.FlagSubAgent},
		Lines: []usage.Line{{Meter: usage.MeterAgentRuns, Quantity: usage.Units(1)}, {Meter: usage.MeterAgentSeconds, Quantity: usage.Units(10)}},
	}
	root := usage.Event{
		ID: "root", Kind: usage.KindUsage, Customer: "acme", RunID: run1, Timestamp: 30_000_000, Agent: "planner", Feature: "support", UserID: "ann", Flags: []string{usage.FlagError},
		Lines: []usage.Line{{Meter: usage.MeterAgentRuns, Quantity: usage.Units(1)}, {Meter: usage.MeterAgentSeconds, Quantity: usage.Units(16)}},
	}
	correction := usage.Event{
		ID: "fix", Kind: usage.KindCorrection, Corrects: "call", Customer: "acme", RunID: run1, Timestamp: 99_000_000,
		Lines: []usage.Line{{Meter: usage.MeterTokensIn, Quantity: usage.Units(-20), Cost: usd(-1)}},
	}
	elsewhere := usage.Event{ID: "alone", Kind: usage.KindUsage, Customer: "acme", Timestamp: 1, Lines: []usage.Line{{Meter: usage.MeterToolCalls, Quantity: usage.Units(9)}}}

	rows := runs(t, []usage.Event{correction, tool, call, root, sub, elsewhere})
	mustEqual(t, 1, len(rows))
	r := rows[0]
	mustEqual(t, []string{run1, "acme", "ann", "support", "planner", StatusError, "USD"}, []string{r.RunID, r.Customer, r.UserID, r.Feature, r.Agent, r.Status, r.Currency})
	mustEqual(t, []usage.Micros{14_000_000, 30_000_000}, []usage.Micros{r.StartedAt, r.EndedAt})
	mustEqual(t, decimal.FromInt64(11), r.Cost.Amount)
	for meter, want := range map[string]int64{usage.MeterLLMRequests: 1, usage.MeterToolCalls: 1, subAgents: 1, usage.MeterTokensIn: 100} {
		for i, m := range RunMeters {
			if m == meter && r.Sums[i] != decimal.FromInt64(int64(usage.Units(want))) {
				t.Errorf("%s is %s", meter, r.Sums[i].Big())
			}
		}
	}

	rows = runs(t, []usage.Event{tool, call, correction})
	mustEqual(t, []string{"u", "early", "helper", ""}, []string{rows[0].UserID, rows[0].Feature, rows[0].Agent, rows[0].Status})
	rows = runs(t, []usage.Event{correction})
	if rows[0].Timed {
		t.Error("a correction gives a run its times")
	}
}

func TestARunInTwoCurrenciesCountsItsCallsOnce(t *testing.T) {
	e := usage.Event{ID: "a", Kind: usage.KindUsage, Customer: "acme", RunID: run1, Lines: []usage.Line{
		{Meter: usage.MeterLLMRequests, Quantity: usage.Units(1), Cost: usage.Charge{Amount: 1, Currency: "USD", Rate: "r"}, Price: usage.Charge{Amount: 3, Currency: "EUR", Rate: "p"}},
		{Meter: usage.MeterToolCalls, Quantity: usage.Units(1), Cost: usage.Charge{Amount: 2, Currency: "EUR", Rate: "r"}},
	}}
	rows := runs(t, []usage.Event{e})
	mustEqual(t, 2, len(rows))
	mustEqual(t, []string{"EUR", "EUR", "USD", ""}, []string{rows[0].Currency, rows[0].PriceCurrency, rows[1].Currency, rows[1].PriceCurrency})
	if !rows[1].Sums[0].IsZero() || rows[0].Sums[0].IsZero() {
		t.Error("calls are counted twice or not at all")
	}
}

func TestPartIsItsEventsAndTheirSums(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		events := anyEvents(rt)
		var e, r, u, wantR, wantU bytes.Buffer
		w := NewPartWriter(&e, &r, &u, nil)
		for i := range events {
			if err := w.Write(&events[i]); err != nil {
				rt.Fatal(err)
			}
		}
		totals, err := w.Close()
		if err != nil {
			rt.Fatal(err)
		}
		mustEqual(rt, int64(len(events)), totals.Events)
		if !bytes.Equal(e.Bytes(), written(t, 0, events)) {
			rt.Fatal("other events")
		}
		if err := WriteRollups(&wantR, nil, rollup(rt, nil, events)); err != nil {
			rt.Fatal(err)
		}
		if err := WriteRuns(&wantU, runs(rt, events)); err != nil {
			rt.Fatal(err)
		}
		if !bytes.Equal(r.Bytes(), wantR.Bytes()) || !bytes.Equal(u.Bytes(), wantU.Bytes()) {
			rt.Fatal("other sums")
		}
	})
}
