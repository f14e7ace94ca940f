package ledger

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/usagebox/otelcol-usagebox/usage"
)

func TestIDsAreKnownWhereverTheyAre(t *testing.T) {
	for _, c := range []struct {
		name     string
		cache    int64
		perTable int
		before   func(h *harness)
		tables   int
	}{
		{"in memory", 4 << 20, 0, func(*harness) {}, 0},
		{"in memory, read from chunks", 4 << 20, 0, func(h *harness) { h.restart() }, 0},
		{"in tables", 4 << 20, 1000, func(*harness) {}, 5},
		{"in tables, after a restart", 4 << 20, 1000, func(h *harness) { h.restart() }, 5},
		{"in tables whose filters don't fit", 2, 1000, func(*harness) {}, 5},
		{"in tables, sealed", 4 << 20, 700, func(h *harness) { h.sealAll(); h.restart() }, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHarness(t, func(o *Options) { o.CacheBytes, o.memTable, o.idsPerTable = c.cache, 64<<10, c.perTable })
			const batches, size = 12, 1000
			for n := range int64(batches) {
				h.accept(benchEvents(n*size, size)...)
			}
			c.before(h)
			if n := len(h.state.ids.tables); n != c.tables {
				t.Errorf("%d tables, want %d", n, c.tables)
			}
			for _, table := range h.state.ids.tables {
				seeming := 0
				for n := range 100 {
					if table.MayHave((*[16]byte)(&digest{byte(n * 5), 1, 8: byte(n), byte(n * 3), byte(n * 7), byte(n * 11)})) {
						seeming++
					}
				}
				if want := map[bool]int{true: 100}[c.cache == 2]; seeming > max(10, want) || seeming < want {
					t.Errorf("in a table with %d ids %d of 100 absent ones seem to be", table.IDs, seeming)
				}
			}
			for n := range int64(batches) {
				known := benchEvents(n*size, size)
				at := h.known(t, known[0])
				for i := range known {
					known[i].Timestamp = at + usage.Micros(i)
				}
				h.duplicate(known...)
				known[7].Lines[0].Quantity++
				h.reject(usage.ReasonConflict, known[7])
			}
			h.accept(benchEvents(batches*size, size)...)
		})
	}
}

// known is when the ledger says that an event happened.
func (h *harness) known(t *testing.T, e usage.Event) usage.Micros {
	t.Helper()
	k, found, err := h.state.known(digestOf(e.Key()))
	if err != nil || !found {
		t.Fatalf("%v, %v", found, err)
	}
	stored, err := h.readEvent(h.state, k, e.Key())
	if err != nil {
		t.Fatal(err)
	}
	return stored.Timestamp
}

func TestTheIDsOfAStoreThatHasThemItselfStayKnown(t *testing.T) {
	h := newHarness(t)
	sealed, open := event("acme", "1", 10, testTime), event("acme", "2", 5, testTime.Add(time.Hour))
	h.accept(sealed)
	h.sealAll()
	waits, corrects := correction("acme", "c", "3", -1, testTime), correction("acme", "d", "2", -1, testTime.Add(time.Hour))
	h.accept(open, waits, corrects)
	b := h.state.store.db.NewBatch()
	for _, e := range []usage.Event{sealed, open, waits, corrects} {
		k, found, err := h.state.known(digestOf(e.Key()))
		if err != nil || !found {
			t.Fatal(found, err)
		}
		must(b.Set(digestKey(keyOldID, digestOf(e.Key())), k.append(nil), nil))
	}
	for _, kind := range []byte{keyTable, keyPending} {
		must(b.DeleteRange([]byte{kind}, []byte{kind + 1}, nil))
	}
	must(b.Delete(metaKey(metaIDs), nil))
	must(setNumber(b, metaVersion, 2))
	must(h.state.store.commit(b))
	must(h.Close())
	must(os.RemoveAll(h.paths.ids()))
	h.open()
	for range 2 {
		h.duplicate(sealed, open, waits, corrects)
		h.reject(usage.ReasonConflict, event("acme", "1", 11, testTime))
		h.reject(usage.ReasonConflict, event("acme", "d", 1, testTime))
		h.restart()
	}
	h.accept(event("acme", "3", 2, testTime))
	h.sealAll()
	h.wantTotal("acme", "15")
}

func TestAStoreOfTheVersionBeforeIsRefusedByProgramsOfItOnceItIsOpened(t *testing.T) {
	h := newHarness(t)
	sealed, open := event("acme", "1", 10, testTime), event("acme", "2", 5, testTime.Add(time.Hour))
	h.accept(sealed)
	h.sealAll()
	h.accept(open)
	b := h.state.store.db.NewBatch()
	must(setNumber(b, metaVersion, 3))
	must(h.state.store.commit(b))
	h.restart()
	if v, err := h.state.store.getNumber(metaVersion); err != nil || v != stateVersion {
		t.Fatal(v, err)
	}
	h.duplicate(sealed, open)
	h.wantTotal("acme", "15")
}

func TestATableOfIDsThatIsMissingOrDamagedIsNamed(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(path string) error
		says   string
	}{
		"missing":  {os.Remove, "is missing"},
		"cut off":  {func(path string) error { return os.Truncate(path, 5000) }, "no number of pages"},
		"emptied":  {func(path string) error { return os.Truncate(path, 0) }, "no number of pages"},
		"replaced": {func(path string) error { return os.WriteFile(path, make([]byte, 3*4096), 0o600) }, "checksum"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			h.accept(event("acme", "1", 10, testTime))
			h.sealAll()
			file := idFile(h.state.ids.tables[0].File)
			must(h.Close())
			must(c.damage(h.paths.join(h.paths.ids(), file)))
			var corrupt *CorruptError
			if _, err := Open(h.o); !errors.As(err, &corrupt) || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("got %v", err)
			}
			h.o.Directory = t.TempDir()
			h.open()
		})
	}
}

func TestADamagedPageOfIDsIsFoundAndNothingIsTakenOrForgotten(t *testing.T) {
	h := newHarness(t)
	h.accept(benchEvents(0, 1000)...)
	must(h.writeIDsBelow(h.state, h.state.next))
	path := h.paths.idTable(h.state.ids.tables[0].File)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(err)
	_, err = f.WriteAt([]byte{1, 2, 3}, 3*4096)
	must(errors.Join(err, f.Close()))
	var corrupt *CorruptError
	if _, err := h.Append(t.Context(), benchEvents(0, 1000)); !errors.As(err, &corrupt) || !strings.Contains(err.Error(), idFile(h.state.ids.tables[0].File)) {
		t.Fatalf("got %v", err)
	}
	if h.state.next != 1001 {
		t.Fatalf("%d events", h.state.next-1)
	}
}

func TestAForgottenIDIsForgottenInEveryForm(t *testing.T) {
	for _, perTable := range []int{1, 2, 3, 100} {
		for _, restart := range []bool{false, true} {
			h := newHarness(t, func(o *Options) { o.idsPerTable = perTable })
			again := func() {
				if restart {
					h.restart()
				}
			}
			c := correction("acme", "c", "1", -1, testTime)
			for range 3 {
				h.accept(c)
				again()
				h.duplicate(c)
				h.clock.now = h.clock.now.Add(25 * time.Hour)
				must(h.Expire())
				again()
			}
			h.accept(event("acme", "c", 7, testTime)) // its id is free
			again()
			h.reject(usage.ReasonConflict, c)
			h.sealAll()
			again()
			h.reject(usage.ReasonConflict, c)
			h.wantTotal("acme", "7")
		}
	}
}

func TestTablesOfIDsStayFewAndAreSeldomWritten(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, sizes := range []func() int64{
		func() int64 { return idsPerTable },
		func() int64 { return 1 + rng.Int64N(10) },
		func() int64 { return 1 << rng.IntN(20) },
	} {
		var tables []*idTable
		var total, written int64
		for range 20_000 {
			n := sizes()
			total, written = total+n, written+n
			tables = append(tables, &idTable{idTableRecord: idTableRecord{IDs: n}})
			for first := toMerge(tables); first >= 0; first = toMerge(tables) {
				sum := int64(0)
				for _, t := range tables[first:] {
					sum += t.IDs
				}
				written += sum
				tables = append(tables[:first], &idTable{idTableRecord: idTableRecord{IDs: sum}})
			}
			if len(tables) > 24 {
				t.Fatalf("%d tables of %d ids", len(tables), total)
			}
		}
		if times := float64(written) / float64(total); times > 8 {
			t.Errorf("each id was written %.1f times", times)
		} else {
			t.Logf("%d ids in %d tables, each written %.1f times", total, len(tables), times)
		}
	}
}

func TestTablesOfIDsAreMadeAndMergedBesideAppends(t *testing.T) {
	h := newHarness(t, func(o *Options) {
		o.Manual, o.FlushInterval, o.idsPerTable, o.SealAfter = false, 5*time.Millisecond, 150, 0
		o.Clock = func() time.Time { return testTime.Add(48 * time.Hour) } // every hour is sealed as soon as it has a part
	})
	const callers, batches, size = 4, 25, 50
	var g errgroup.Group
	for c := range int64(callers) {
		g.Go(func() error {
			for n := range int64(batches) {
				for attempt := range 2 {
					events := benchEvents((c*batches+n)*size, size)
					for i := range events {
						events[i].Timestamp = usage.MicrosOf(testTime) - usage.Micros(i)*usage.MicrosPerHour/10
					}
					r, err := h.Append(t.Context(), events)
					if err != nil {
						return err
					}
					if fresh := size * (1 - attempt); r.Accepted != fresh || r.Accepted+r.Duplicates != size {
						return fmt.Errorf("caller %d, batch %d, attempt %d: %+v", c, n, attempt, r)
					}
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	h.restart()
	for n := range int64(callers * batches) {
		known := benchEvents(n*size, size)
		for i := range known {
			known[i].Timestamp = usage.MicrosOf(testTime) - usage.Micros(i)*usage.MicrosPerHour/10
		}
		h.duplicate(known...)
	}
	h.o.Manual = true // nothing is under way from here on
	h.restart()
	h.state.ids.mu.RLock()
	defer h.state.ids.mu.RUnlock()
	if n := len(h.state.ids.tables); n == 0 || n > 24 {
		t.Errorf("%d tables", n)
	}
	names, err := h.paths.list(h.paths.ids(), "")
	if err != nil || len(names) != len(h.state.ids.tables) {
		t.Errorf("%v, %v, %d tables", names, err, len(h.state.ids.tables))
	}
}
