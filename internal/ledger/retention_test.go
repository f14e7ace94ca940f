package ledger

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

func withRetention(o *Options) {
	o.Retention = Retention{Events: 10 * time.Hour, Runs: 20 * time.Hour, Rollups: 30 * time.Hour}
	o.maxLate = 2
}

// at moves the clock to so long after the end of the hour of testTime, and seals.
func (h *harness) at(d time.Duration) {
	h.t.Helper()
	h.flush()
	h.clock.now = testTime.Truncate(time.Hour).Add(time.Hour + d)
	h.seal()
}

func (h *harness) wantFiles(events, runs, rollups int) {
	h.t.Helper()
	for i, want := range []int{events, runs, rollups} {
		if files := h.reader().files(trees[i]); len(files) != want {
			h.t.Fatalf("%s has %q, want %d files", trees[i], files, want)
		}
	}
}

func TestFilesLeaveTableByTableWhenTheirTimeIsOver(t *testing.T) {
	h := newHarness(t, withRetention)
	h.accept(event("acme", "1", 10, testTime))
	h.at(10*time.Hour - time.Microsecond)
	h.wantFiles(1, 1, 1)
	h.at(10 * time.Hour)
	h.wantFiles(0, 1, 1)
	h.wantTotal("acme", "10")
	h.at(20 * time.Hour)
	h.wantFiles(0, 0, 1)
	h.restart()
	h.at(30 * time.Hour)
	h.wantFiles(0, 0, 0)
	h.wantStored("acme", "10")
	for _, tree := range trees {
		if left, err := filepath.Glob(filepath.Join(h.o.Directory, tree, "*")); err != nil || len(left) > 0 {
			t.Errorf("empty folders stay: %q, %v", left, err)
		}
	}
}

func TestTheIDsOfEventsThatLeftAreKnownForEver(t *testing.T) {
	h := newHarness(t, withRetention, func(o *Options) { o.CorrectionWait = 0 })
	h.accept(event("acme", "1", 10, testTime), event("acme", "2", 5, testTime))
	h.accept(correction("acme", "c", "2", -1, testTime))
	h.at(10 * time.Hour)
	h.wantFiles(0, 1, 1)
	for range 2 {
		h.duplicate(event("acme", "1", 10, testTime), correction("acme", "c", "2", -1, testTime))
		h.reject(usage.ReasonConflict, event("acme", "1", 11, testTime))
		h.reject(usage.ReasonConflict, event("acme", "1", 10, h.clock.now))
		h.reject(usage.ReasonTargetLeft, correction("acme", "c1", "1", -1, h.clock.now))
		h.reject(usage.ReasonTargetLeft, retraction("acme", "c2", "2", h.clock.now)) // also one that was corrected before
		h.reject(usage.ReasonUnknownTarget, retraction("acme", "c3", "3", h.clock.now))
		h.restart()
	}
	h.flush()
	h.wantTotal("acme", "14")
}

func TestUsageThatComesAfterItsHourHasLeftIsCountedAndLeavesInItsTurn(t *testing.T) {
	h := newHarness(t, withRetention)
	h.accept(event("acme", "1", 10, testTime))
	h.at(12 * time.Hour)
	h.wantFiles(0, 1, 1)
	h.accept(event("acme", "2", 5, testTime))
	h.flush()
	h.wantFiles(1, 2, 2)
	h.wantTotal("acme", "15")
	h.wantStored("acme", "15")
	h.accept(correction("acme", "c", "2", -1, testTime))
	h.at(13 * time.Hour)
	h.wantFiles(0, 2, 2)
	h.wantTotal("acme", "14")
	h.at(31 * time.Hour)
	h.wantFiles(0, 0, 0)
	h.wantStored("acme", "14")
}

func TestNothingLeavesThatIsToBeKept(t *testing.T) {
	kept, failure := usage.MicrosOf(testTime).Hour(), errors.New("not known at present")
	h := newHarness(t, withRetention, func(o *Options) {
		o.KeepFrom = func() (usage.Hour, error) { return kept, failure }
	})
	h.accept(event("acme", "1", 10, testTime), event("acme", "0", 10, testTime.Add(-time.Hour)))
	h.flush()
	h.clock.now = testTime.Add(40 * time.Hour)
	if err := h.Seal(t.Context()); !errors.Is(err, failure) {
		t.Fatalf("%v, want %v", err, failure)
	}
	h.wantFiles(2, 2, 2)
	failure = nil
	h.seal()
	h.wantFiles(1, 1, 1)
	kept++
	h.seal()
	h.wantFiles(0, 0, 0)
}

func TestTheChainHasWhatLeftWithItsTotals(t *testing.T) {
	h := newHarness(t, withRetention)
	h.accept(event("acme", "1", 10, testTime), event("zeta", "1", 7, testTime))
	h.at(time.Hour)
	h.accept(event("acme", "2", 5, testTime))
	h.at(2 * time.Hour)
	before := h.reader().files(treeEvents)
	h.at(11 * time.Hour)
	var last *ChainRecord
	text, err := os.ReadFile(h.paths.chain())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ReadChain(text, func(r *ChainRecord) error {
		if len(r.Left) > 0 {
			last = r
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, f := range last.Left {
		paths = append(paths, filepath.Join(h.o.Directory, f.Path))
	}
	if !slices.Equal(paths, before) || last.Part != "" || len(last.Files) != 0 {
		t.Errorf("%+v, want %q", last, before)
	}
	if got := last.Totals; got.Events != 3 || got.Rows != 3 || len(got.Quantities) != 1 || got.Quantities[0].Quantity != "22" {
		t.Errorf("%+v", got)
	}
}

func TestRetentionThatWouldLeaveSumsShorterIsRefused(t *testing.T) {
	for text, r := range map[string]Retention{
		"":         {Events: time.Hour, Runs: time.Hour, Rollups: 2 * time.Hour},
		"rollups":  {Events: 3 * time.Hour, Runs: 3 * time.Hour, Rollups: 2 * time.Hour},
		"runs":     {Runs: time.Hour},
		"negative": {Events: -1},
	} {
		err := r.Validate()
		if (err == nil) != (text == "") || err != nil && !strings.Contains(err.Error(), text) {
			t.Errorf("%+v: %v, want %q", r, err, text)
		}
	}
	if err := (Retention{}).Validate(); err != nil {
		t.Error(err)
	}
}

func TestTotalsOfPartsAddUpExactly(t *testing.T) {
	var all, odd, even parquetfile.TotalSums
	events := benchEvents(1, 50)
	for i := range events {
		events[i].Lines[0].Quantity = usage.Quantity(1 + i*999_999_999_999)
		for _, s := range []*parquetfile.TotalSums{&all, []*parquetfile.TotalSums{&even, &odd}[i%2]} {
			if err := s.Add(&events[i]); err != nil {
				t.Fatal(err)
			}
		}
	}
	sum, err := odd.Totals().Plus(even.Totals())
	if err != nil {
		t.Fatal(err)
	}
	if want := all.Totals(); !equalTotals(sum, want) {
		t.Errorf("got  %+v\nwant %+v", sum, want)
	}
}

func equalTotals(a, b parquetfile.Totals) bool {
	return a.Rows == b.Rows && a.Events == b.Events && a.FirstAt == b.FirstAt && a.LastAt == b.LastAt &&
		slices.Equal(a.Quantities, b.Quantities) && slices.Equal(a.Costs, b.Costs) && slices.Equal(a.Prices, b.Prices)
}
