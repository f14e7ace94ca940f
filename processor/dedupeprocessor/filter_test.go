package dedupeprocessor

import (
	"fmt"
	"testing"

	"github.com/usagebox/otelcol-usagebox/usage"
)

func TestTheFilterTakesFewNewEventsForKnownOnes(t *testing.T) {
	hash := func(kind string, i int) hash {
		return hashOf(usage.Key{Customer: "acme", ID: fmt.Sprint(kind, i)})
	}
	f := newFilter()
	const events = 300_000
	for i := range events {
		f.add(hash("known-", i))
	}
	reader := f.reader()
	for i := range events {
		if !reader.mayHave(hash("known-", i)) {
			t.Fatalf("the filter doesn't have the event %d, which was added", i)
		}
	}
	wrong := 0
	for i := range events {
		if reader.mayHave(hash("new-", i)) {
			wrong++
		}
	}
	if wrong > events/1000 {
		t.Errorf("the filter takes %d of %d new events for known ones", wrong, events)
	}
}
