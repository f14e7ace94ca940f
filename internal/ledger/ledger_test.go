package ledger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/usagebox/otelcol-usagebox/internal/decimal"
	"github.com/usagebox/otelcol-usagebox/internal/dirlock"
	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// testClock is a clock that only tests move.
type testClock struct{ now time.Time }

func (c *testClock) Now() time.Time { return c.now }

var testTime = time.Date(2026, 5, 16, 18, 42, 11, 0, time.UTC)

// harness is a ledger on a folder of its own, with a clock that stands still, whose rounds are made by hand.
type harness struct {
	*Ledger
	t     *testing.T
	o     Options
	clock *testClock
}

func newHarness(t *testing.T, change ...func(*Options)) *harness {
	t.Helper()
	clock := &testClock{testTime}
	h := &harness{t: t, clock: clock, o: Options{
		Directory: t.TempDir(), WriterID: "main", SealAfter: 15 * time.Minute, CorrectionWait: 24 * time.Hour,
		CacheBytes: 1 << 20, Clock: clock.Now, Manual: true,
	}}
	for _, c := range change {
		c(&h.o)
	}
	h.open()
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func (h *harness) open() {
	h.t.Helper()
	l, err := Open(h.o)
	if err != nil {
		h.t.Fatal(err)
	}
	h.Ledger = l
}

func (h *harness) restart() {
	h.t.Helper()
	if err := h.Close(); err != nil {
		h.t.Fatal(err)
	}
	h.open()
}

func (h *harness) append(events ...usage.Event) Result {
	h.t.Helper()
	r, err := h.Append(context.Background(), events)
	if err != nil {
		h.t.Fatal(err)
	}
	if n := r.Accepted + r.Duplicates + len(r.Rejections); n != len(events) {
		h.t.Fatalf("%d verdicts on %d events: %+v", n, len(events), r)
	}
	return r
}

func (h *harness) accept(events ...usage.Event) {
	h.t.Helper()
	if r := h.append(events...); r.Accepted != len(events) {
		h.t.Fatalf("accepted %d of %d: %+v", r.Accepted, len(events), r)
	}
}

func (h *harness) reject(reason string, e usage.Event) {
	h.t.Helper()
	if r := h.append(e); len(r.Rejections) != 1 || r.Rejections[0].Reason != reason || r.Rejections[0].Key != e.Key() {
		h.t.Fatalf("got %+v, want the rejection %s", r, reason)
	}
}

func (h *harness) duplicate(events ...usage.Event) {
	h.t.Helper()
	if r := h.append(events...); r.Duplicates != len(events) {
		h.t.Fatalf("got %+v, want %d duplicates", r, len(events))
	}
}

func (h *harness) flush() {
	h.t.Helper()
	if err := h.Flush(context.Background()); err != nil {
		h.t.Fatal(err)
	}
}

func (h *harness) seal() {
	h.t.Helper()
	if err := h.Seal(context.Background()); err != nil {
		h.t.Fatal(err)
	}
}

// sealAll moves the clock on until every hour so far is due.
func (h *harness) sealAll() {
	h.t.Helper()
	h.flush()
	h.clock.now = h.clock.now.Add(2 * time.Hour)
	h.seal()
}

// event is usage of one meter.
func event(customer, id string, quantity int64, at time.Time) usage.Event {
	e := usage.Event{
		ID: id, Customer: customer, Timestamp: usage.MicrosOf(at), Model: "claude", Source: usage.SourceAPI, Service: "gateway",
		Lines: []usage.Line{{Meter: "llm_tokens_in", Quantity: usage.Units(quantity)}},
	}
	e.Normalize()
	return e
}

func correction(customer, id, corrects string, quantity int64, at time.Time) usage.Event {
	e := event(customer, id, quantity, at)
	e.Kind, e.Corrects, e.Model = usage.KindCorrection, corrects, ""
	return e
}

func retraction(customer, id, corrects string, at time.Time) usage.Event {
	e := correction(customer, id, corrects, 0, at)
	e.Kind, e.Lines = usage.KindRetraction, nil
	return e
}

// reader reads a ledger's files as an engine would: all that match *.parquet.
type reader struct {
	t   testing.TB
	fs  FS
	dir string
}

func (h *harness) reader() reader { return reader{h.t, h.Ledger.o.FS, h.o.Directory} }

func (r reader) files(tree string) (paths []string) {
	r.t.Helper()
	var walk func(dir string)
	walk = func(dir string) {
		names, err := r.fs.List(dir)
		if err != nil {
			if errors.Is(err, os.ErrNotExist) {
				return
			}
			r.t.Fatal(err)
		}
		for _, name := range names {
			path := r.fs.PathJoin(dir, name)
			if filepath.Ext(name) == extension {
				paths = append(paths, path)
				continue
			}
			if info, err := r.fs.Stat(path); err == nil && info.IsDir() {
				walk(path)
			}
		}
	}
	walk(r.fs.PathJoin(r.dir, tree))
	return paths
}

func (r reader) open(path string) (vfs.File, int64) {
	r.t.Helper()
	file, err := r.fs.Open(path)
	if err != nil {
		r.t.Fatal(err)
	}
	info, err := file.Stat()
	if err != nil {
		r.t.Fatal(err)
	}
	return file, info.Size()
}

// rollups is the sum of all rollups by customer and meter.
func (r reader) rollups() map[string]string {
	r.t.Helper()
	sums := map[string]decimal.Int128{}
	for _, path := range r.files(treeRollups) {
		file, size := r.open(path)
		if err := parquetfile.ReadRollups(file, size, func(row *parquetfile.RollupRow) error {
			k := row.Customer + "/" + row.Meter
			sums[k], _ = sums[k].Add(row.Quantity)
			return nil
		}); err != nil {
			r.t.Fatal(err)
		}
		file.Close()
	}
	out := map[string]string{}
	for k, v := range sums {
		out[k] = string(v.Append(nil, usage.QuantityScale))
	}
	return out
}

func (h *harness) wantTotal(customer, want string) {
	h.t.Helper()
	if got := h.reader().rollups()[customer+"/llm_tokens_in"]; got != want {
		h.t.Fatalf("%s has %q, want %s", customer, got, want)
	}
}

func TestWhatIsAcknowledgedAppearsOnce(t *testing.T) {
	h := newHarness(t)
	e := event("acme", "1", 12450, testTime)
	h.accept(e, event("acme", "2", 1, testTime), event("other", "1", 3, testTime))
	h.duplicate(e)
	h.flush()
	h.wantTotal("acme", "12451")
	h.wantTotal("other", "3")
	h.duplicate(e)
	h.restart()
	h.duplicate(e)
	h.sealAll()
	h.duplicate(e)
	h.wantTotal("acme", "12451")
	changed := e
	changed.Lines = []usage.Line{{Meter: "llm_tokens_in", Unit: "token", Quantity: 1}}
	h.reject(usage.ReasonConflict, changed)
	moved := e
	moved.Timestamp += usage.MicrosPerHour
	h.reject(usage.ReasonConflict, moved)
	h.accept(event("acme", "late", 9, testTime))
	h.restart()
	h.sealAll()
	h.wantTotal("acme", "12460")
	if n := len(h.reader().files(treeEvents)); n != 2 {
		t.Fatalf("%d sealed files, want the hour's and the late one", n)
	}
}

func TestASecondOwnerIsTold(t *testing.T) {
	h := newHarness(t)
	_, err := Open(h.o)
	var held *dirlock.HeldError
	if !errors.As(err, &held) {
		t.Fatalf("got %v, want a *dirlock.HeldError", err)
	}
}

func TestManyAppendsShareOneCommit(t *testing.T) {
	h := newHarness(t)
	const callers = 50
	errs := make(chan error, callers)
	for i := range callers {
		go func() {
			_, err := h.Append(context.Background(), []usage.Event{event("acme", fmt.Sprint(i), 1, testTime)})
			errs <- err
		}()
	}
	for range callers {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	h.flush()
	h.wantTotal("acme", fmt.Sprint(callers))
}

func TestCorrectionsAreNetted(t *testing.T) {
	h := newHarness(t)
	h.accept(event("acme", "1", 100, testTime))
	h.accept(correction("acme", "c1", "1", -30, testTime))
	h.reject(usage.ReasonExceedsTarget, correction("acme", "c2", "1", -71, testTime))
	h.flush()
	h.wantTotal("acme", "70")
	h.sealAll()
	h.accept(correction("acme", "c3", "1", 5, testTime))
	h.accept(retraction("acme", "r1", "1", testTime))
	h.duplicate(retraction("acme", "r1", "1", testTime))
	h.reject(usage.ReasonAlreadyRetracted, retraction("acme", "r2", "1", testTime))
	h.reject(usage.ReasonAlreadyRetracted, correction("acme", "c4", "1", 1, testTime))
	h.reject(usage.ReasonInvalidTarget, correction("acme", "c5", "c1", 1, testTime))
	h.flush()
	h.wantTotal("acme", "0")
	h.accept(retraction("acme", "early", "not yet", testTime))
	h.flush()
	h.accept(event("acme", "not yet", 8, testTime))
	h.flush()
	h.wantTotal("acme", "0")
}
