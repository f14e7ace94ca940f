package ledger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usagebox/otelcol-usagebox/internal/decimal"
	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// nextDay moves the clock to after the end of testTime's day, when it may be summed.
func (h *harness) nextDay() {
	h.clock.now = testTime.Truncate(24 * time.Hour).Add(24*time.Hour + 16*time.Minute)
}

// daily is what daily/ says of a customer's tokens, and how many rows say so.
func (h *harness) daily(customer string) (quantity string, rows int) {
	h.t.Helper()
	var sum decimal.Int128
	for _, path := range h.reader().files(treeDaily) {
		h.readDaily(path, func(r *parquetfile.RollupRow) {
			if r.Customer == customer {
				sum, _ = sum.Add(r.Quantity)
				rows++
			}
		})
	}
	return string(sum.Append(nil, usage.QuantityScale)), rows
}

func (h *harness) readDaily(path string, each func(*parquetfile.RollupRow)) {
	h.t.Helper()
	f, err := os.Open(path)
	if err != nil {
		h.t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		h.t.Fatal(err)
	}
	if err := parquetfile.ReadDaily(f, info.Size(), func(r *parquetfile.RollupRow) error { each(r); return nil }); err != nil {
		h.t.Fatal(err)
	}
}

func (h *harness) wantDaily(quantity string, rows, files int) {
	h.t.Helper()
	got, n := h.daily("acme")
	if paths := h.reader().files(treeDaily); got != quantity || n != rows || len(paths) != files {
		h.t.Errorf("daily/ has %s in %d rows of %q, want %s in %d rows of %d files", got, n, paths, quantity, rows, files)
	}
}

func TestADayIsSummedWhenItIsOverAndItsHoursAreSealed(t *testing.T) {
	h := newHarness(t)
	h.accept(event("acme", "1", 10, testTime), event("acme", "2", 5, testTime.Add(-3*time.Hour)), event("zeta", "1", 1, testTime))
	h.sealAll()
	h.wantDaily("0", 0, 0)
	h.nextDay()
	h.accept(event("acme", "3", 7, testTime.Add(-5*time.Hour))) // an hour that was not there
	h.flush()
	h.seal()
	h.wantDaily("0", 0, 0)
	h.clock.now = h.clock.now.Add(16 * time.Minute)
	h.seal()
	h.wantDaily("22", 1, 1)
	for range 3 {
		h.seal()
		h.restart()
	}
	h.wantDaily("22", 1, 1)
	if q, rows := h.daily("zeta"); q != "1" || rows != 1 {
		t.Errorf("zeta has %s in %d rows", q, rows)
	}
}

func TestWhatIsLateEntersAFurtherDailyPartAndManyBecomeOne(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.maxDaily = 4 })
	h.accept(event("acme", "first", 1, testTime))
	h.sealAll()
	h.nextDay()
	h.seal()
	for i, files := range []int{2, 3, 1, 2, 3, 1, 2} {
		h.accept(event("acme", fmt.Sprint(i), 1, testTime.Add(-time.Duration(i)*time.Hour)))
		h.flush()
		h.wantDaily(fmt.Sprint(i+1), max(1, len(h.reader().files(treeDaily))), len(h.reader().files(treeDaily)))
		h.clock.now = h.clock.now.Add(20 * time.Minute)
		h.seal()
		h.wantDaily(fmt.Sprint(i+2), files, files)
	}
}

func TestWhereFoldersCannotBeExchangedDailyPartsStay(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.FS, o.maxDaily = noExchangeFS{OS}, 2 })
	for i := range 4 {
		h.accept(event("acme", fmt.Sprint(i), 1, testTime))
		h.sealAll()
		h.nextDay()
		h.clock.now = h.clock.now.Add(time.Duration(i) * time.Hour)
		h.seal()
		h.wantDaily(fmt.Sprint(i+1), i+1, i+1)
	}
}

type noExchangeFS struct{ FS }

func (noExchangeFS) Exchange(string, string) error { return ErrExchangeUnsupported }

func TestADayOfDamagedRollupsIsNamedAndHoldsUpNoOther(t *testing.T) {
	h := newHarness(t)
	h.accept(event("acme", "1", 10, testTime))
	h.sealAll()
	path := h.reader().files(treeRollups)[0]
	whole, err := os.ReadFile(path)
	must(err)
	damaged := slices.Clone(whole)
	damaged[len(damaged)/2] ^= 1
	must(os.WriteFile(path, damaged, 0o644))
	h.accept(event("acme", "2", 5, testTime.Add(24*time.Hour)))
	h.flush()
	h.clock.now = testTime.Add(48 * time.Hour)
	err = h.Seal(context.Background())
	var corrupt *CorruptError
	if !errors.As(err, &corrupt) || corrupt.What != path {
		t.Fatalf("%v, want that %s is corrupt", err, path)
	}
	h.wantDaily("0", 0, 0)
	h.seal()
	h.wantDaily("5", 1, 1)
	h.clock.now = h.clock.now.Add(time.Minute)
	if err := h.Seal(context.Background()); !errors.As(err, &corrupt) {
		t.Errorf("%v: it is not tried again", err)
	}
	must(os.Remove(path))
	h.clock.now = h.clock.now.Add(time.Hour)
	if err := h.Seal(context.Background()); !errors.As(err, &corrupt) || corrupt.What != path {
		t.Errorf("%v, want that %s is missing", err, path)
	}
	must(os.WriteFile(path, whole, 0o644))
	h.clock.now = h.clock.now.Add(time.Hour)
	h.seal()
	h.wantDaily("15", 2, 2)
}

func TestALedgerOfManyDaysIsSummedADayInARoundTheOldestFirst(t *testing.T) {
	h := newHarness(t)
	const days = 5
	for i := range days {
		h.accept(event("acme", fmt.Sprint(i), 1, testTime.Add(-time.Duration(i)*24*time.Hour)))
	}
	h.flush()
	h.clock.now = testTime.Add(25 * time.Hour)
	// A store of the version before has the same records, none of which names a daily part.
	b := h.state.store.db.NewBatch()
	must(setNumber(b, metaVersion, 4))
	must(h.state.store.commit(b))
	h.restart()
	if v, err := h.state.store.getNumber(metaVersion); err != nil || v != stateVersion {
		t.Fatal(v, err)
	}
	for i := range days {
		if i == 2 {
			h.restart()
		}
		h.seal()
		files := h.reader().files(treeDaily)
		if date := "date=" + testTime.Add(-time.Duration(days-1-i)*24*time.Hour).Format(time.DateOnly); len(files) != i+1 || !strings.Contains(fmt.Sprint(files), date) {
			t.Fatalf("after %d rounds there are %q", i+1, files)
		}
	}
}

func TestADayOfSeveralGroupingsHasTheDimensionsOfAll(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.RollupDimensions = []string{"model", "user_id", "dimensions.team"} })
	e := func(id string, user, team string, at time.Time) usage.Event {
		e := event("acme", id, 1, at)
		e.UserID, e.Feature = user, "chat"
		if team != "" {
			e.Dimensions = []usage.Dimension{{Key: "team", Value: team}}
		}
		return e
	}
	h.accept(e("1", "u", "red", testTime), e("2", "v", "", testTime.Add(-time.Hour)))
	h.sealAll()
	h.o.RollupDimensions = []string{"feature", "service", "user_id"}
	h.restart()
	h.accept(e("3", "u", "red", testTime.Add(-2*time.Hour)), e("4", "u", "blue", testTime.Add(-3*time.Hour)), e("5", "u", "", testTime))
	h.sealAll()
	h.nextDay()
	h.seal()
	h.wantDaily("5", 3, 1)
	var got []string
	h.readDaily(h.reader().files(treeDaily)[0], func(r *parquetfile.RollupRow) {
		got = append(got, fmt.Sprintf("%s %v %d", r.Feature, r.Extra, r.Events))
	})
	// The earliest hours are of the second grouping; team is the first's.
	if want := []string{" [ u red] 1", " [ v ] 1", "chat [gateway u ] 3"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestRollupsStayUntilTheirDayIsSummedAndDailyPartsLeaveInTheirTurn(t *testing.T) {
	h := newHarness(t, func(o *Options) {
		o.Retention = Retention{Events: time.Hour, Runs: time.Hour, Rollups: time.Hour, Daily: 30 * time.Hour}
	})
	h.accept(event("acme", "1", 10, testTime))
	h.flush()
	h.clock.now = testTime.Add(4 * time.Hour)
	h.seal()
	if n, m := len(h.reader().files(treeEvents)), len(h.reader().files(treeRollups)); n != 0 || m != 1 {
		t.Fatalf("%d events files, %d rollups files: want rollups alone", n, m)
	}
	h.nextDay()
	h.seal()
	h.seal()
	h.wantDaily("10", 1, 1)
	if files := h.reader().files(treeRollups); len(files) > 0 {
		t.Errorf("%q are there after their day was summed", files)
	}
	h.clock.now = h.clock.now.Add(20 * time.Hour)
	h.accept(event("acme", "2", 1, testTime))
	h.flush()
	h.clock.now = h.clock.now.Add(time.Hour)
	h.seal()
	h.wantDaily("11", 2, 2)
	h.clock.now = h.clock.now.Add(10 * time.Hour)
	h.seal()
	h.wantDaily("0", 0, 0)
	h.restart()
	h.seal()
	h.duplicate(event("acme", "1", 10, testTime))
}
