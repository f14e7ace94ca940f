package attribution

import (
	"reflect"
	"testing"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// What a chain gives back is what was written, of events of one trace, of several and of other makes, corrections and charges included.
func TestAChainGivesBackEveryEvent(t *testing.T) {
	var events []usage.Event
	for seed := range uint64(200) {
		d := Decide(generate(seed, 1+seed%5).facts, nil)
		first, state := Revise(Emitted{}, d.Events)
		events = append(events, first...)
		again, _ := Revise(state, d.Events[:len(d.Events)/2])
		events = append(events, again...)
	}
	odd := usage.Event{ID: "x", Kind: usage.KindUsage, Customer: "c", RunID: "other", IngestedAt: 5, Timestamp: -7, Flags: []string{"a", "b"}, Dimensions: []usage.Dimension{{Key: "k"}}}
	odd.Lines = []usage.Line{{Meter: "pages", Unit: "sheet", Quantity: -1}, {Meter: usage.MeterToolCalls}}
	charged := odd
	charged.Lines = []usage.Line{{Meter: "pages", Unit: "page", Quantity: 2, Price: usage.Charge{Amount: 3, Currency: "EUR", Rate: "r"}}}
	events = append(events, odd, charged, usage.Event{}, odd, events[0])

	var write, read Chain
	var b []byte
	for i := range events {
		b = write.Append(b, &events[i])
	}
	rest := string(b)
	for i := range events {
		var e usage.Event
		var err error
		if rest, err = read.Read(rest, &e); err != nil || !reflect.DeepEqual(e, events[i]) {
			t.Fatalf("event %d, %v:\n%+v\n%+v", i, err, e, events[i])
		}
	}
	if rest != "" {
		t.Errorf("%d bytes are left", len(rest))
	}
	t.Logf("%d bytes an event", len(b)/len(events))
}
