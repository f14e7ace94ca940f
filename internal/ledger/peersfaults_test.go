package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// What other meters of usage got wrong, by their names and the numbers of their trackers, as far as it is a ledger's matter.

// unsyncedFS is the disk, on which no fsync succeeds while it is bad.
type unsyncedFS struct {
	*errorfs.FS
	bad atomic.Bool
}

var errNoSync = errors.New("the disk is bad")

func newUnsyncedFS() *unsyncedFS {
	f := &unsyncedFS{}
	f.FS = errorfs.Wrap(OS, errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
			if f.bad.Load() {
				return errNoSync
			}
		}
		return nil
	}))
	return f
}

func (*unsyncedFS) Exchange(a, b string) error { return OS.Exchange(a, b) }

// An id that is claimed before the usage is written makes a failed write and its retry a duplicate of nothing.
func TestKnownFaultOfOpenMeter5118AWriteThatFailedAndIsSentAgainIsMeteredOnce(t *testing.T) {
	for _, again := range []string{"to the same process", "to the next one"} {
		t.Run(again, func(t *testing.T) {
			disk := newUnsyncedFS()
			h := newHarness(t, func(o *Options) { o.FS = disk })
			h.accept(event("acme", "1", 10, testTime))
			disk.bad.Store(true)
			if _, err := h.Append(context.Background(), []usage.Event{event("acme", "2", 5, testTime)}); err == nil {
				t.Fatal("it was acknowledged and is not on the disk")
			}
			disk.bad.Store(false)
			if again == "to the next one" {
				_ = h.Close() // it may say what it failed of
				h.open()
			}
			deadline := time.Now().Add(20 * time.Second)
			for {
				r, err := h.Append(context.Background(), []usage.Event{event("acme", "2", 5, testTime)})
				if err == nil && r.Accepted+r.Duplicates == 1 {
					break
				}
				if time.Now().After(deadline) {
					t.Fatal(r, err)
				}
				h.clock.now = h.clock.now.Add(time.Minute) // the store is opened again at intervals
			}
			h.duplicate(event("acme", "2", 5, testTime))
			h.sealAll()
			h.wantTotal("acme", "15")
		})
	}
}

// Ids that are kept in memory, the last so many of them, are forgotten when another process takes over or more come.
func TestKnownFaultOfOpenMeter4485AndFlexprice2184IdsOutliveTheProcessAndHowManyCome(t *testing.T) {
	h := newHarness(t)
	h.accept(event("acme", "first", 10, testTime))
	for batch := range 20 {
		events := make([]usage.Event, 500)
		for i := range events {
			events[i] = event("other", fmt.Sprint(batch, "-", i), 1, testTime.Add(time.Duration(batch%3)*time.Hour))
		}
		h.accept(events...)
		if batch == 10 {
			h.sealAll()
		}
	}
	h.duplicate(event("acme", "first", 10, testTime))
	h.restart()
	h.duplicate(event("acme", "first", 10, testTime))
	h.sealAll()
	h.restart()
	h.duplicate(event("acme", "first", 10, testTime), event("other", "19-499", 1, testTime.Add(time.Hour)))
	h.wantTotal("acme", "10")
}

// A store that takes copies away some time after it took them in shows both until then, and lets a newer row take an older one's place.
func TestKnownFaultOfLago4725And5416NoMomentShowsACopyAndTheFirstStays(t *testing.T) {
	h := newHarness(t)
	changed := event("acme", "1", 99, testTime)
	look := func(moment string) {
		t.Helper()
		if events := h.reader().events(); len(events) != 1 || events[0].Lines[0].Quantity != usage.Units(10) {
			t.Fatalf("%s: %+v", moment, events)
		}
		h.wantTotal("acme", "10")
	}
	h.accept(event("acme", "1", 10, testTime))
	h.duplicate(event("acme", "1", 10, testTime))
	h.flush()
	for _, step := range []struct {
		moment string
		do     func()
	}{{"in an open hour", h.flush}, {"sealed", h.sealAll}, {"sealed again", h.sealAll}, {"after a restart", h.restart}, {"and then", h.sealAll}} {
		h.duplicate(event("acme", "1", 10, testTime))
		h.reject(usage.ReasonConflict, changed)
		step.do()
		look(step.moment)
	}
	if r := h.append(event("acme", "2", 1, testTime), event("acme", "2", 1, testTime)); r.Accepted != 1 || r.Duplicates != 1 {
		t.Fatalf("twice in a batch: %+v", r)
	}
}

// What was taken in can be amended for ever, by another row beside it.
func TestKnownFaultOfLago67UsageOfASealedMonthIsAmendedBesideIt(t *testing.T) {
	h := newHarness(t)
	h.accept(event("acme", "1", 10, testTime))
	h.sealAll()
	h.clock.now = h.clock.now.Add(90 * 24 * time.Hour)
	h.restart()
	amend := event("acme", "c1", -4, testTime)
	amend.Kind, amend.Corrects = usage.KindCorrection, "1"
	h.accept(amend)
	h.sealAll()
	h.wantTotal("acme", "6")
	if events := h.reader().events(); len(events) != 2 {
		t.Fatalf("%d events: the amended one does not stand beside its correction", len(events))
	}
}
