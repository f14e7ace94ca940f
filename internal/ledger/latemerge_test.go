package ledger

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// late adds usage to the hour of testTime and seals it.
func (h *harness) late(id string) {
	h.t.Helper()
	h.accept(event("acme", id, 1, testTime))
	h.flush()
	h.clock.now = h.clock.now.Add(20 * time.Minute)
	h.seal()
}

func (h *harness) sealedFiles() []string {
	h.t.Helper()
	return h.reader().files(treeEvents)
}

func TestAnHourThatIsLateForDaysHasFewFiles(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.maxLate = 4 })
	h.accept(event("acme", "first", 1, testTime))
	h.sealAll()
	first := h.sealedFiles()[0]
	kept, err := os.ReadFile(first)
	if err != nil {
		t.Fatal(err)
	}
	const lates = 70
	for i := range lates {
		h.late(fmt.Sprint(i))
		h.wantTotal("acme", fmt.Sprint(i+2))
		if files := h.sealedFiles(); len(files) > 1+3*4 { // at most 3 of each of 1, 4, 16 and 64
			t.Fatalf("%d files after %d seals of late usage: %s", len(files), i+1, files)
		}
	}
	if files := h.sealedFiles(); len(files) != 1+1+1+2 { // 64, 4, 1 and 1
		t.Errorf("%d files after %d seals of late usage: %s", len(files), lates, files)
	}
	h.restart()
	for i := range lates {
		h.duplicate(event("acme", fmt.Sprint(i), 1, testTime))
	}
	h.accept(correction("acme", "c", "7", -1, testTime))
	h.reject(usage.ReasonExceedsTarget, correction("acme", "c2", "7", -1, testTime))
	h.reject(usage.ReasonConflict, event("acme", "65", 2, testTime))
	h.sealAll()
	h.wantTotal("acme", fmt.Sprint(lates))
	if now, err := os.ReadFile(first); err != nil || string(now) != string(kept) {
		t.Errorf("the part that was sealed first has changed: %v", err)
	}
}

func TestCorrectionsFindEventsThatAreBeingMerged(t *testing.T) {
	var minutes atomic.Int64
	h := newHarness(t, func(o *Options) {
		o.maxLate = 2
		o.Clock = func() time.Time { return testTime.Add(time.Duration(minutes.Load()) * time.Minute) }
	})
	late := func(id string) {
		h.accept(event("acme", id, 1, testTime))
		h.flush()
		minutes.Add(40)
		h.seal()
	}
	for i := range 4 {
		late(fmt.Sprint(i))
	}
	var corrections sync.WaitGroup
	stop := make(chan struct{})
	corrections.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			// Taking away more than is there reads the event and changes nothing.
			h.reject(usage.ReasonExceedsTarget, correction("acme", "c", fmt.Sprint(n%3), -5, testTime))
		}
	})
	for i := range 12 {
		late(fmt.Sprint("more", i))
	}
	close(stop)
	corrections.Wait()
}

func TestADamagedLatePartIsNotMergedAndHoldsNothingUp(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.maxLate = 2 })
	h.accept(event("acme", "first", 1, testTime))
	h.sealAll()
	h.late("1")
	path := h.sealedFiles()[1]
	kept, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damaged := slices.Clone(kept)
	damaged[len(damaged)/2] ^= 1
	if err := os.WriteFile(path, damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	h.accept(event("acme", "2", 1, testTime), event("acme", "other hour", 1, testTime.Add(3*time.Hour)))
	h.flush()
	h.clock.now = h.clock.now.Add(6 * time.Hour)
	if err := h.Seal(t.Context()); err == nil || !strings.Contains(err.Error(), path) {
		t.Fatalf("got %v, want the name of the damaged part", err)
	}
	h.wantTotal("acme", "4")
	if n := h.Stats().OpenEvents; n != 0 {
		t.Errorf("%d events are open", n)
	}
	if err := os.WriteFile(path, kept, 0o600); err != nil {
		t.Fatal(err)
	}
	h.late("3")
	h.wantTotal("acme", "5")
	if files := h.sealedFiles(); len(files) != 3 { // first, other hour, and one of all that was late
		t.Errorf("%d files: %s", len(files), files)
	}
}
