package dedupeprocessor

import (
	"fmt"
	"testing"

	"github.com/usagebox/otelcol-usagebox/usage"
)

func TestTheFilterKnowsWhatWasAddedAndLittleElse(t *testing.T) {
	const keys = 300_000
	at := func(i int) hash { return hashOf(usage.Key{Customer: "acme", ID: fmt.Sprint(i)}) }
	var f filter
	for i := range keys {
		f.add(at(i))
	}
	if len(f.chunks) < 3 {
		t.Fatalf("%d chunks: it did not grow", len(f.chunks))
	}
	seeming := 0
	for i := range keys {
		if !f.mayHave(at(i)) {
			t.Fatalf("%d is not known", i)
		}
		if f.mayHave(at(keys + i)) {
			seeming++
		}
	}
	if seeming > keys/40 {
		t.Fatalf("%d of %d absent keys seem to be there", seeming, keys)
	}
	t.Logf("%d of %d absent keys seem to be there", seeming, keys)
}

// Events of the time before a start are known after it, and starts do not make generations without end.
func TestStartsLeaveFewGenerations(t *testing.T) {
	r := newRig(t)
	for i := range 12 {
		if err := r.send(event(fmt.Sprint(i), 1)); err != nil {
			t.Fatal(err)
		}
		r.restart()
	}
	if n := len(r.d.index.generations); n > manyGenerations {
		t.Fatalf("%d generations", n)
	}
	for i := range 12 {
		if err := r.send(event(fmt.Sprint(i), 1)); err != nil {
			t.Fatal(err)
		}
	}
	if r.ledger.came != 12 {
		t.Fatalf("%d events came through, want 12", r.ledger.came)
	}
}
