package parquetfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/usagebox/otelcol-usagebox/usage"
)

const maxDecimal = 999_999_999_999_999_999

// anyEvent draws valid, normalized events; ids come from few enough that customers have several.
func anyEvent(t *rapid.T) usage.Event {
	optional := rapid.OneOf(rapid.Just(""), rapid.SampledFrom([]string{"a", "summarise", "ünï¢ode", "\x00"}), rapid.StringN(1, 20, 60))
	charge := func(name string) usage.Charge {
		if !rapid.Bool().Draw(t, name+" known") {
			return usage.Charge{}
		}
		return usage.Charge{
			Amount:   usage.Amount(rapid.Int64Range(-maxDecimal, maxDecimal).Draw(t, name)),
			Currency: rapid.SampledFrom([]string{"USD", "EUR"}).Draw(t, name+" currency"), Rate: "2026-11/" + name,
		}
	}
	e := usage.Event{
		ID:        rapid.OneOf(rapid.StringMatching("[a-z]{1,3}"), rapid.StringN(1, 20, 200)).Draw(t, "id"),
		Kind:      rapid.SampledFrom([]usage.Kind{usage.KindUsage, usage.KindCorrection, usage.KindRetraction}).Draw(t, "kind"),
		Customer:  rapid.OneOf(rapid.SampledFrom([]string{"acme", "globex", usage.Unattributed}), rapid.StringN(1, 20, 200)).Draw(t, "customer"),
		Timestamp: usage.Micros(rapid.Int64Range(0, 16725225599_999999).Draw(t, "timestamp")), IngestedAt: usage.Micros(rapid.Int64Range(0, 1<<53).Draw(t, "ingested")),
		UserID: optional.Draw(t, "user"), SessionID: optional.Draw(t, "session"), ConversationID: optional.Draw(t, "conversation"),
		Feature: optional.Draw(t, "feature"), Step: optional.Draw(t, "step"), Agent: optional.Draw(t, "agent"),
		TraceID:   rapid.SampledFrom([]string{"", "4bf92f3577b34da6a3ce929d0e0e4736"}).Draw(t, "trace"),
		SpanID:    rapid.SampledFrom([]string{"", "00f067aa0ba902b7"}).Draw(t, "span"),
		RunID:     rapid.SampledFrom([]string{"", "4bf92f3577b34da6a3ce929d0e0e4736", "11111111111111111111111111111111"}).Draw(t, "run"),
		Operation: optional.Draw(t, "operation"), Provider: optional.Draw(t, "provider"), Model: optional.Draw(t, "model"),
		Source: optional.Draw(t, "source"), Service: optional.Draw(t, "service"),
	}
	low := int64(-maxDecimal)
	if e.Kind == usage.KindUsage {
		low = 0
	} else {
		e.Corrects = "target of " + e.ID
	}
	meters := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{
		usage.MeterLLMRequests, usage.MeterTokensIn, usage.MeterTokensOut, usage.MeterAgentRuns, usage.MeterAgentSeconds, usage.MeterToolCalls, "own",
	}), 1, 4, rapid.ID).Draw(t, "meters")
	for _, m := range meters {
		e.Lines = append(e.Lines, usage.Line{Meter: m, Quantity: usage.Quantity(rapid.Int64Range(low, maxDecimal).Draw(t, "quantity")), Cost: charge("cost"), Price: charge("price")})
	}
	e.Flags = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{usage.FlagLate, usage.FlagError, usage.FlagSubAgent, "own"}), 0, 3, rapid.ID).Draw(t, "flags")
	for _, key := range rapid.SliceOfNDistinct(rapid.StringN(1, 10, 30), 0, 3, rapid.ID).Draw(t, "keys") {
		e.Dimensions = append(e.Dimensions, usage.Dimension{Key: key, Value: optional.Draw(t, "value")})
	}
	if len(e.Flags) == 0 {
		e.Flags = nil
	}
	e.Normalize()
	return e
}

// anyEvents draws events in the order of a file.
func anyEvents(t *rapid.T) []usage.Event {
	events := rapid.SliceOfN(rapid.Custom(anyEvent), 0, 40).Draw(t, "events")
	Sort(events)
	return slices.CompactFunc(events, func(a, b usage.Event) bool { return Compare(&a, &b) == 0 })
}

func written(t testing.TB, rowsPerGroup int, events []usage.Event) []byte {
	t.Helper()
	var out bytes.Buffer
	w := newEventWriter(&out, rowsPerGroup)
	for i := range events {
		if err := w.Write(&events[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func opened(t testing.TB, b []byte) *EventFile {
	t.Helper()
	f, err := OpenEvents(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func readAll(s Source) (events []usage.Event, err error) {
	for {
		var e usage.Event
		err := s.Next(&e)
		if errors.Is(err, io.EOF) {
			return events, nil
		}
		if err != nil {
			return events, err
		}
		events = append(events, e)
	}
}

type fataler interface{ Fatalf(string, ...any) }

func mustEqual(t fataler, want, got any) {
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%s", diff)
	}
}

func TestEventsComeBackFromAFileExactlyAndEachIsFound(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		events := anyEvents(rt)
		f := opened(t, written(t, rapid.IntRange(1, 50).Draw(rt, "rows per group"), events))
		r := f.Events()
		got, err := readAll(r)
		r.Close()
		if err != nil {
			rt.Fatal(err)
		}
		mustEqual(rt, len(events), len(got))
		for i := range events {
			mustEqual(rt, events[i], got[i])
			if events[i].Payload() != got[i].Payload() {
				rt.Fatal("another payload")
			}
		}
		for i := range events {
			var e usage.Event
			found, err := f.Lookup(events[i].Key(), &e)
			if err != nil || !found {
				rt.Fatalf("event %d of %d: %v %v", i, len(events), found, err)
			}
			if e.Key() != events[i].Key() {
				rt.Fatalf("looked up %v, found %v", events[i].Key(), e.Key())
			}
		}
		var e usage.Event
		if found, err := f.Lookup(usage.Key{Customer: "acme", ID: "never sent, and longer than any"}, &e); found || err != nil {
			rt.Fatal(found, err)
		}
	})
}

func TestSameEventsGiveTheSameBytes(t *testing.T) {
	events := load(3000)
	first := written(t, 1000, events)
	for range 3 {
		if !bytes.Equal(first, written(t, 1000, events)) {
			t.Fatal("other bytes")
		}
	}
}

func TestEventsOutOfOrderTwiceOrEmptyAreRefused(t *testing.T) {
	a, b := load(2)[0], load(2)[1]
	empty := b
	empty.Lines = nil
	disordered := b
	disordered.Lines = []usage.Line{{Meter: "b"}, {Meter: "a"}}
	for name, events := range map[string][]usage.Event{
		"out of order": {b, a}, "twice": {a, a}, "without lines": {a, empty}, "meters out of order": {a, disordered},
	} {
		if err := WriteEvents(io.Discard, events); err == nil {
			t.Errorf("%s: written", name)
		}
	}
}

func TestEventsOfOneKeyStayApart(t *testing.T) {
	e := load(1)[0]
	e.Lines = []usage.Line{{Meter: "a", Unit: "unit", Quantity: 1}}
	later := e
	later.Timestamp++
	got, err := readAll(opened(t, written(t, 0, []usage.Event{e, later})).Events())
	if err != nil {
		t.Fatal(err)
	}
	mustEqual(t, []usage.Event{e, later}, got)
}

// load is n events as a busy hour has them: customers of very different size, ids at random, API events of one line and
// model calls of several.
func load(n int) []usage.Event {
	random := rand.New(rand.NewPCG(1, 2))
	events := make([]usage.Event, n)
	start := usage.Micros(1_768_000_000_000_000)
	start -= start % usage.MicrosPerHour
	for i := range events {
		e := &events[i]
		at := start + usage.Micros(random.Int64N(int64(usage.MicrosPerHour)))
		*e = usage.Event{
			ID: fmt.Sprintf("req_%08x%08x", random.Uint32(), random.Uint32()), Kind: usage.KindUsage, Timestamp: at, IngestedAt: at + usage.Micros(random.IntN(400_000)),
			Customer: fmt.Sprintf("customer-%d", int(random.ExpFloat64()*20)), Feature: "support", Model: "claude-4.5-sonnet", Source: usage.SourceAPI,
			Lines: []usage.Line{{Meter: usage.MeterTokensIn, Quantity: usage.Units(int64(random.IntN(20_000))), Cost: usage.Charge{Amount: usage.Amount(random.IntN(1e9)), Currency: "USD", Rate: "2026-11-01/anthropic/claude-4.5-sonnet"}}},
		}
		e.Normalize()
	}
	Sort(events)
	return events
}

func TestACustomersEventsAreReadAlone(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		events := anyEvents(rt)
		f := opened(t, written(t, rapid.IntRange(1, 20).Draw(rt, "rows per group"), events))
		for _, customer := range []string{"acme", "globex", usage.Unattributed, "", "zzzz"} {
			var want []usage.Event
			for _, e := range events {
				if e.Customer == customer {
					want = append(want, e)
				}
			}
			r := f.Customer(customer)
			got, err := readAll(r)
			r.Close()
			if err != nil {
				rt.Fatal(err)
			}
			mustEqual(rt, want, got)
		}
	})
}
