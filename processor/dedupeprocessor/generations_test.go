package dedupeprocessor

import (
	"fmt"
	"testing"
)

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

func TestWhatIsFreshIsKnownAndGoesToTheStoreWithWhatComesASecondLater(t *testing.T) {
	r := newRig(t)
	send := func(id string) {
		t.Helper()
		if err := r.send(event(id, 1)); err != nil {
			t.Fatal(err)
		}
	}
	send("a")
	r.now = r.now.Add(freshFor / 2)
	send("b")
	send("b")
	if fresh := len(r.d.index.fresh); fresh != 1 || r.ledger.came != 2 {
		t.Fatalf("%d are fresh, %d came through", fresh, r.ledger.came)
	}
	r.now = r.now.Add(freshFor)
	send("c")
	if fresh := len(r.d.index.fresh); fresh != 0 {
		t.Fatalf("%d are still fresh", fresh)
	}
	send("a")
	send("b")
	send("c")
	if r.ledger.came != 3 {
		t.Fatalf("%d came through, want 3", r.ledger.came)
	}
}
