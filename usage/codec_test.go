package usage

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"pgregory.net/rapid"
)

// anyEvent draws valid, normalized events.
func anyEvent(t *rapid.T) Event {
	text := rapid.OneOf(rapid.Just(""), rapid.StringN(1, 20, 60))
	id := rapid.StringN(1, 20, 200)
	hexID := func(n int) *rapid.Generator[string] {
		return rapid.OneOf(rapid.Just(""), rapid.StringMatching("[0-9a-f]{"+string(rune('0'+n/10))+string(rune('0'+n%10))+"}").Filter(func(s string) bool { return isHexID(s, n) }))
	}
	charge := rapid.Custom(func(t *rapid.T) Charge {
		if !rapid.Bool().Draw(t, "known") {
			return Charge{}
		}
		return Charge{Amount(rapid.Int64Range(-maxDecimal, maxDecimal).Draw(t, "amount")), rapid.StringMatching("[A-Z]{3}").Draw(t, "currency"), id.Draw(t, "rate")}
	})
	e := Event{
		ID: id.Draw(t, "id"), Kind: rapid.SampledFrom([]Kind{KindUsage, KindCorrection, KindRetraction}).Draw(t, "kind"),
		Timestamp:  Micros(rapid.Int64Range(0, int64(maxTimestamp)).Draw(t, "timestamp")),
		IngestedAt: Micros(rapid.Int64Range(0, int64(maxTimestamp)).Draw(t, "ingested")),
		Customer:   id.Draw(t, "customer"), UserID: text.Draw(t, "user"), SessionID: text.Draw(t, "session"),
		ConversationID: text.Draw(t, "conversation"), Feature: text.Draw(t, "feature"), Step: text.Draw(t, "step"), Agent: text.Draw(t, "agent"),
		TraceID: hexID(32).Draw(t, "trace"), SpanID: hexID(16).Draw(t, "span"), RunID: hexID(32).Draw(t, "run"),
		Operation: text.Draw(t, "operation"), Provider: text.Draw(t, "provider"), Model: text.Draw(t, "model"),
		Source: text.Draw(t, "source"), Service: text.Draw(t, "service"),
	}
	low := int64(-maxDecimal)
	if e.Kind == KindUsage {
		low = 0
	} else {
		e.Corrects = "the " + e.ID[:min(len(e.ID), 3)]
	}
	for _, meter := range rapid.SliceOfNDistinct(id, 1, 5, rapid.ID).Draw(t, "meters") {
		e.Lines = append(e.Lines, Line{meter, id.Draw(t, "unit"), Quantity(rapid.Int64Range(low, maxDecimal).Draw(t, "quantity")), charge.Draw(t, "cost"), charge.Draw(t, "price")})
	}
	e.Flags = rapid.SliceOfNDistinct(id, 0, 3, rapid.ID).Draw(t, "flags")
	for _, key := range rapid.SliceOfNDistinct(id, 0, 4, rapid.ID).Draw(t, "keys") {
		e.Dimensions = append(e.Dimensions, Dimension{key, text.Draw(t, "value")})
	}
	if len(e.Flags) == 0 {
		e.Flags = nil
	}
	e.Normalize()
	return e
}

func validEvent(t *rapid.T) Event {
	e := anyEvent(t)
	if err := e.Validate(); err != nil {
		t.Skip(err) // cut UTF-8 in Corrects, a customer equal to …: not of the domain
	}
	return e
}

func TestEveryEncodingGivesTheEventBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		events := rapid.SliceOfN(rapid.Custom(validEvent), 1, 6).Draw(t, "events")

		b := []byte("prefix")
		for i := range events {
			b = events[i].AppendBinary(b)
		}
		rest := b[len("prefix"):]
		for i := range events {
			var got Event
			var err error
			if rest, err = DecodeBinary(rest, &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(events[i], got); diff != "" {
				t.Fatalf("binary: %s", diff)
			}
		}
		if len(rest) > 0 {
			t.Fatalf("%d bytes are left", len(rest))
		}

		proto, err := (&plog.ProtoMarshaler{}).MarshalLogs(EncodeLogs(events))
		if err != nil {
			t.Fatal(err)
		}
		ld, err := (&plog.ProtoUnmarshaler{}).UnmarshalLogs(proto)
		if err != nil {
			t.Fatal(err)
		}
		decoded, foreign, err := DecodeLogs(ld)
		if err != nil || foreign != 0 {
			t.Fatal(err, foreign)
		}
		byPayload := func(a, b Event) int { x, y := a.Payload(), b.Payload(); return slices.Compare(x[:], y[:]) }
		want := slices.Clone(events) // grouping by customer may change the order
		slices.SortStableFunc(want, byPayload)
		slices.SortStableFunc(decoded, byPayload)
		if diff := cmp.Diff(want, decoded); diff != "" {
			t.Fatalf("logs: %s", diff)
		}

		e := events[0]
		td := ptrace.NewTraces()
		rs := td.ResourceSpans().AppendEmpty()
		EncodeSpanResource(&e, rs.Resource())
		EncodeSpan(&e, e.Timestamp-min(e.Timestamp, 5), rs.ScopeSpans().AppendEmpty().Spans().AppendEmpty())
		got, err := DecodeSpan(rs.Resource(), rs.ScopeSpans().At(0).Spans().At(0))
		if err != nil {
			t.Fatal(err)
		}
		e.IngestedAt = 0
		if diff := cmp.Diff(e, got); diff != "" {
			t.Fatalf("span: %s", diff)
		}

		moved := NewGroups()
		MoveSpan(&got, rs.ScopeSpans().At(0).Spans().At(0), moved.Records(&got).AppendEmpty())
		if diff := cmp.Diff(plogtext(EncodeLogs([]Event{e})), plogtext(moved.Logs)); diff != "" {
			t.Fatalf("record of a span: %s", diff)
		}
	})
}

// plogtext is log records as JSON.
func plogtext(ld plog.Logs) string {
	b, err := (&plog.JSONMarshaler{}).MarshalLogs(ld)
	if err != nil {
		panic(err) // they are our own
	}
	return string(b)
}

func TestChargesAreChangedInPlace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := rapid.Custom(validEvent).Draw(t, "event")
		ld := EncodeLogs([]Event{e})
		resource, r := ld.ResourceLogs().At(0).Resource(), ld.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0)
		other := rapid.Custom(validEvent).Draw(t, "other")
		e.Lines, e.Flags = other.Lines, other.Flags
		EncodeCharges(&e, r)
		var got Event
		if err := DecodeRecord(resource, r, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(e, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestPayloadIsWhatTheSenderSaid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := rapid.Custom(validEvent).Draw(t, "event")
		same := e
		same.Lines = slices.Clone(e.Lines)
		for i := range same.Lines {
			same.Lines[i].Cost = Charge{1, "EUR", "later"}
			same.Lines[i].Price = Charge{}
		}
		same.IngestedAt++
		same.Flags = []string{FlagLate}
		same.Source = "elsewhere"
		if same.Payload() != e.Payload() {
			t.Fatal("price, arrival, flags or source changed the payload")
		}
		other := e
		other.Lines = slices.Clone(e.Lines)
		switch rapid.IntRange(0, 4).Draw(t, "change") {
		case 0:
			other.Timestamp++
		case 1:
			other.Feature += "x"
		case 2:
			other.Lines[0].Quantity++
			if e.Kind == KindRetraction {
				return
			}
		case 3:
			other.Model += "x"
		case 4:
			other.Dimensions = append(slices.Clone(e.Dimensions), Dimension{"\U0010ffff", "new"})
		}
		if other.Payload() == e.Payload() {
			t.Fatal("another payload has the same digest")
		}
	})
}

func TestPayloadTellsNeighbouringFieldsApart(t *testing.T) {
	a := Event{ID: "x", Customer: "c", Feature: "ab", Step: ""}
	b := Event{ID: "x", Customer: "c", Feature: "a", Step: "b"}
	if a.Payload() == b.Payload() {
		t.Fatal("fields run into each other")
	}
}

func TestRecordsOfSomethingElseAreCountedAndUnreadableOnesNamed(t *testing.T) {
	events := []Event{{ID: "good", Customer: "acme", Lines: []Line{{Meter: "m", Quantity: 1}}}}
	events[0].Normalize()
	ld := EncodeLogs(events)
	records := ld.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords()
	records.AppendEmpty().Body().SetStr("an application's log line")
	bad := records.AppendEmpty()
	EncodeRecord(&events[0], bad)
	bad.Attributes().PutStr(AttributeEventID, "bad")
	bad.Attributes().PutDouble(AttributeFeature, 0.5)

	got, foreign, err := DecodeLogs(ld)
	if len(got) != 1 || got[0].ID != "good" || foreign != 1 {
		t.Fatalf("got %v, %d foreign", got, foreign)
	}
	rejections, ok := Rejected(err)
	if !ok || len(rejections) != 1 || rejections[0].Key != (Key{"acme", "bad"}) || rejections[0].Reason != ReasonInvalidEvent {
		t.Fatalf("got %v", err)
	}
}

func FuzzDecodeBinary(f *testing.F) {
	e := Event{ID: "req_8x42jk", Customer: "acme-co", Lines: []Line{{Meter: MeterTokensIn, Quantity: Units(12450), Cost: Charge{5, "USD", "r"}}}, Flags: []string{"late"}, Dimensions: []Dimension{{"k", "v"}}}
	e.Normalize()
	f.Add(e.AppendBinary(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var got Event
		rest, err := DecodeBinary(b, &got)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		again := got.AppendBinary(nil)
		var second Event
		if _, err := DecodeBinary(again, &second); err != nil || cmp.Diff(got, second) != "" {
			t.Fatalf("%v %s", err, cmp.Diff(got, second))
		}
		if len(rest) > len(b) {
			t.Fatal("more is left than there was")
		}
	})
}

func FuzzDecodeLogs(f *testing.F) {
	e := Event{ID: "req_8x42jk", Customer: "acme-co", TraceID: "0123456789abcdef0123456789abcdef", Lines: []Line{{Meter: MeterTokensIn, Quantity: Units(12450)}}}
	e.Normalize()
	seed, _ := (&plog.ProtoMarshaler{}).MarshalLogs(EncodeLogs([]Event{e}))
	f.Add(seed)
	f.Fuzz(func(t *testing.T, b []byte) {
		ld, err := (&plog.ProtoUnmarshaler{}).UnmarshalLogs(b)
		if err != nil {
			return
		}
		events, _, err := DecodeLogs(ld)
		if _, named := Rejected(err); err != nil && !named {
			t.Fatal(err)
		}
		for i := range events {
			if events[i].Validate() != nil {
				continue
			}
			var again Event
			out := EncodeLogs(events[i : i+1])
			rl := out.ResourceLogs().At(0)
			if err := DecodeRecord(rl.Resource(), rl.ScopeLogs().At(0).LogRecords().At(0), &again); err != nil {
				t.Fatal(err)
			}
			if again.Payload() != events[i].Payload() {
				t.Fatal(cmp.Diff(events[i], again))
			}
		}
	})
}
