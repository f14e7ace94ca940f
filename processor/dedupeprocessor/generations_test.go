package dedupeprocessor

import (
	"fmt"
	"testing"

	"github.com/usagebox/otelcol-usagebox/usage"
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

func TestAStartReadsFiltersOfWhatIsRemembered(t *testing.T) {
	r := newRig(t)
	const starts, events = manyGenerations + 2, 300
	for start := range starts {
		for i := range events {
			if err := r.send(event(fmt.Sprint(start, "-", i), 1)); err != nil {
				t.Fatal(err)
			}
		}
		r.restart()
		r.d.index.reading.Wait()
		live := r.d.index.live(r.now)
		unread := 0
		for at, g := range live {
			if g.filter == nil {
				if unread++; at > 0 || len(live) < manyGenerations {
					t.Fatalf("start %d: generation %d of %d has no filter", start, at, len(live))
				}
				continue
			}
			wrong := 0
			for i := range events {
				if g.filter.mayHave(hashOf(usage.Key{Customer: "acme", ID: fmt.Sprint("new-", i)})) {
					wrong++
				}
			}
			if wrong > events/10 {
				t.Errorf("start %d: the filter of generation %d takes %d of %d new events for known ones", start, at, wrong, events)
			}
		}
	}
	for start := range starts {
		for i := range events {
			if err := r.send(event(fmt.Sprint(start, "-", i), 1)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if r.ledger.came != starts*events {
		t.Fatalf("%d events came through, want %d", r.ledger.came, starts*events)
	}
}
