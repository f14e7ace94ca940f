package ledger

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// simWorld is a ledger on a simulated machine, with the model beside it.
type simWorld struct {
	fs      *simFS
	clock   testClock
	ledger  *Ledger
	model   *simModel
	reader  *simReader
	options Options
	rng     *rand.Rand // of the step
	crashes *rand.Rand
	sent    []usage.Event

	keepFrom usage.Hour
	armed    bool
}

func newSimWorld(plant sabotage) *simWorld {
	w := &simWorld{clock: testClock{testTime}, model: newSimModel(5 * time.Hour), reader: newSimReader(), keepFrom: math.MaxInt64, crashes: rand.New(rand.NewPCG(7, 7))}
	w.fs = newSimFS(vfs.NewCrashableMem(), w.crashes)
	w.options = Options{
		Directory: simDirectory, WriterID: "main", SealAfter: 15 * time.Minute, CorrectionWait: w.model.wait,
		KeepFrom:   func() (usage.Hour, error) { return w.keepFrom, nil },
		CacheBytes: 1 << 20, SealBytes: 4 << 10, Clock: w.clock.Now, Manual: true, sabotage: plant, memTable: 256 << 10, maxParts: 3, maxLate: 2, idsPerTable: 6, idReads: 1, maxDaily: 3, maxDayFiles: 4,
	}
	return w
}

func (w *simWorld) arm(f *simFault) {
	w.armed = f != nil
	if f != nil {
		c := *f
		f = &c
	}
	w.fs.arm(f)
}

// open opens the ledger; while a fault is armed it may fail, and is tried again as an operator would.
func (w *simWorld) open() error {
	var err error
	for range simAttempts {
		w.options.FS = w.fs
		var l *Ledger
		l, err = Open(w.options)
		if err == nil {
			w.ledger = l
			return nil
		}
		if !w.armed {
			return fmt.Errorf("open: %w", err)
		}
		w.reboot()
	}
	return fmt.Errorf("the ledger doesn't open: %w", err)
}

// reboot starts the machine again if it died.
func (w *simWorld) reboot() {
	if left := w.fs.crashed(); left != nil {
		fault := w.fs.fault
		w.fs = newSimFS(left, w.crashes)
		if fault != nil && fault.Kind != "crash" {
			w.fs.arm(fault)
		} else {
			w.armed = false
		}
	}
}

// survive opens the ledger again if the machine died.
func (w *simWorld) survive() error {
	if w.fs.crashed() == nil {
		return nil
	}
	_ = w.ledger.Close() // of a dead machine
	w.ledger = nil
	died := w.fs.mem
	w.reboot()
	if err := w.explained(died); err != nil {
		return err
	}
	return w.open()
}

// explained says whether the chain's file, as the machine left it when it died, knows where each of its events files is: there, in a part that has
// taken its place, or gone. Of a file whose end is torn, what was synced has to know it.
func (w *simWorld) explained(died *vfs.MemFS) error {
	fs := directFS{w.fs.mem}
	p := paths{fs: fs, dir: simDirectory, writer: w.options.WriterID}
	text, err := (&Ledger{o: Options{FS: fs}}).readAll(p.chain())
	if err != nil {
		return err
	}
	var torn *ChainError
	if _, err := ReadChain(text, func(*ChainRecord) error { return nil }); errors.As(err, &torn) {
		fs := directFS{died.CrashClone(vfs.CrashCloneCfg{})}
		if text, err = (&Ledger{o: Options{FS: fs}}).readAll(p.chain()); err != nil {
			return err
		}
	}
	left, replaced, named := map[string]bool{}, map[string]bool{}, []string{}
	if _, err := ReadChain(text, func(r *ChainRecord) error {
		for _, f := range r.Left {
			left[f.Path] = true
		}
		if r.Day != "" {
			return nil // checkDays says what is wrong with them
		}
		for _, name := range r.Replaces {
			replaced[path.Join(path.Dir(r.Files[0].Path), name+extension)] = name != r.Part
		}
		if r.Part != "" {
			named = append(named, r.Files[0].Path)
		}
		return nil
	}); err != nil {
		return err
	}
	for _, file := range named {
		if left[file] || replaced[file] {
			continue
		}
		var from, to int
		if _, err := fmt.Sscanf(path.Base(file), "sealed-%d-%d", &from, &to); err != nil {
			return err
		}
		names, err := p.list(path.Join(simDirectory, path.Dir(file)), extension)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(names, func(name string) bool {
			var low, high int
			_, err := fmt.Sscanf(name, "sealed-%d-%d", &low, &high)
			return err == nil && low <= from && to <= high
		}) {
			return fmt.Errorf("%s is in the chain and not there, and nothing says why", file)
		}
	}
	return nil
}

func (w *simWorld) check(complete bool) error {
	return w.reader.check(directFS{w.fs.mem}, w.model, complete)
}

// settled makes parts of everything and seals it, and compares all of it.
func (w *simWorld) settled() error {
	w.arm(nil)
	if err := w.flush(); err != nil {
		return err
	}
	w.clock.now = w.clock.now.Add(6 * time.Hour)
	if err := w.seal(); err != nil {
		return err
	}
	if err := w.check(true); err != nil {
		return err
	}
	if err := w.allLeft(treeEvents, treeRuns); err != nil {
		return err
	}
	if n := w.ledger.Stats().OpenEvents; n != 0 {
		return fmt.Errorf("%d events are open after everything was sealed", n)
	}
	if err := w.checkChain(); err != nil {
		return err
	}
	return w.settledDays()
}

// flush makes parts until it succeeds, and compares everything.
func (w *simWorld) flush() error {
	if err := w.maintain((*Ledger).Flush); err != nil {
		return err
	}
	w.arm(nil)
	if err := w.survive(); err != nil {
		return err
	}
	if err := w.check(true); err != nil {
		return err
	}
	return w.checkTotals()
}

// seal seals until it succeeds, and takes down what left then: what was acknowledged and is not there, if its time is over.
func (w *simWorld) seal() error {
	if w.options.Retention != (Retention{}) { // so that every event is seen before it leaves
		if err := w.maintain((*Ledger).Flush); err != nil {
			return err
		}
		if err := w.survive(); err != nil {
			return err
		}
		events, err := w.reader.parts(directFS{w.fs.mem}, treeEvents)
		if err != nil {
			return err
		}
		w.reader.place(events)
	}
	if err := w.maintain((*Ledger).Seal); err != nil || w.options.Retention == (Retention{}) {
		return err
	}
	w.arm(nil)
	if err := w.survive(); err != nil {
		return err
	}
	for _, tree := range trees {
		parts, err := w.reader.parts(directFS{w.fs.mem}, tree)
		if err != nil {
			return err
		}
		w.reader.place(parts)
		for k, e := range w.model.counted {
			place, seen := w.reader.places[k]
			switch hour := e.Timestamp.Hour(); {
			case w.model.left[tree][k] || seen && covered(parts[simFolder(hour)], place) == coveredWhole:
			case !w.due(hour, tree):
				return fmt.Errorf("%s of event %v was acknowledged and is not there, before its time", tree, k)
			default:
				w.model.left[tree][k] = true
			}
		}
	}
	return nil
}

// due says whether files of an hour in a tree are to leave at present.
func (w *simWorld) due(h usage.Hour, tree string) bool {
	stay := map[string]time.Duration{treeEvents: w.options.Retention.Events, treeRuns: w.options.Retention.Runs, treeRollups: w.options.Retention.Rollups, treeDaily: w.options.Retention.Daily}[tree]
	return stay > 0 && h < w.keepFrom && !(h + 1).Start().Time().Add(stay).After(w.clock.now)
}

// allLeft says whether everything has left of some trees whose time is over, when all is sealed, and whether the chain says what.
func (w *simWorld) allLeft(trees ...string) error {
	if w.options.Retention == (Retention{}) {
		return nil
	}
	for k, e := range w.model.counted {
		for _, tree := range trees {
			if w.due(e.Timestamp.Hour(), tree) && !w.model.left[tree][k] {
				return fmt.Errorf("%s of event %v is still there after its time", tree, k)
			}
		}
	}
	text, err := (&Ledger{o: Options{FS: directFS{w.fs.mem}}}).readAll(w.ledger.paths.chain())
	if err != nil {
		return err
	}
	var said parquetfile.Totals
	if _, err := ReadChain(text, func(r *ChainRecord) (err error) {
		if len(r.Left) > 0 && strings.HasPrefix(r.Left[0].Path, treeEvents) {
			said, err = said.Plus(r.Totals)
		}
		return err
	}); err != nil {
		return err
	}
	var sums parquetfile.TotalSums
	for k := range w.model.left[treeEvents] {
		e := w.model.counted[k]
		if err := sums.Add(&e); err != nil {
			return err
		}
	}
	want := sums.Totals()
	if d := cmp.Diff(want, said); want.Events > 0 && d != "" || want.Events != said.Events {
		return fmt.Errorf("the chain's totals of what left (-want +got):\n%s", d)
	}
	return nil
}

// checkTotals compares the totals in the store with the model.
func (w *simWorld) checkTotals() error {
	got, want := simSums{}, simSums{}
	hours := map[usage.Hour]bool{}
	for k := range w.model.counted {
		e := w.model.counted[k]
		hours[e.Timestamp.Hour()] = true
		want.addEvent(&e)
	}
	for h := range hours {
		if err := w.ledger.Totals(h, "", func(r *parquetfile.RollupRow) error { got.addRollup(r); return nil }); err != nil {
			return err
		}
	}
	if d := got.diff(want); d != "" {
		return fmt.Errorf("totals in the store: %s", d)
	}
	changes, err := w.ledger.Changes(0, 1000)
	if err != nil {
		return err
	}
	for _, c := range changes {
		if !hours[c.Hour] {
			return fmt.Errorf("%s changed and has no events", hourText(c.Hour))
		}
		delete(hours, c.Hour)
	}
	if len(hours) > 0 {
		return fmt.Errorf("changes lack %d hours", len(hours))
	}
	return nil
}

// checkChain verifies the chain's file against the files that it names.
func (w *simWorld) checkChain() error {
	fs := directFS{w.fs.mem}
	l := &Ledger{o: Options{FS: fs}, paths: w.ledger.paths}
	text, err := l.readAll(w.ledger.paths.chain())
	if err != nil {
		return err
	}
	live := map[string]bool{}
	replaced, left := map[string]bool{}, map[string]bool{} // by a later record
	if _, err := ReadChain(text, func(r *ChainRecord) error {
		for _, f := range r.Left {
			left[f.Path] = true
		}
		for _, name := range r.Replaces {
			if name != r.Part {
				replaced[r.Hour+r.Day+name] = true
			}
		}
		return nil
	}); err != nil {
		return err
	}
	head, err := ReadChain(text, func(r *ChainRecord) error {
		if replaced[r.Hour+r.Day+r.Part] {
			return nil
		}
		for _, f := range r.Files {
			if left[f.Path] {
				if there, err := l.paths.exists(simDirectory + "/" + f.Path); err != nil {
					return err
				} else if there {
					return fmt.Errorf("%s has left and is there", f.Path)
				}
				continue
			}
			size, digest, err := l.digestFile(simDirectory + "/" + f.Path)
			if err != nil {
				return err
			}
			if size != f.Bytes || digest != f.SHA256 {
				return fmt.Errorf("%s is not what the chain says", f.Path)
			}
			live[simDirectory+"/"+f.Path] = true
		}
		return nil
	})
	if err != nil {
		return err
	}
	st, err := w.ledger.StatusNow()
	if err != nil {
		return err
	}
	if st.Chain.Head != head {
		return fmt.Errorf("the chain's file ends with %q, the store's with %q", head, st.Chain.Head)
	}
	for _, tree := range leavingTrees {
		for _, file := range (reader{t: panicker{}, fs: fs, dir: simDirectory}).files(tree) {
			if !live[file] {
				return fmt.Errorf("%s is not in the chain", file)
			}
		}
	}
	return nil
}

// maintain runs a round until it succeeds.
func (w *simWorld) maintain(round func(*Ledger, context.Context) error) error {
	var err error
	for range simAttempts {
		if err = round(w.ledger, context.Background()); err == nil {
			return nil
		}
		if err := w.recover(err); err != nil {
			return err
		}
	}
	return fmt.Errorf("it doesn't succeed after the fault is over: %w", err)
}

// recover is what follows an error: the machine starts again if it died; an error without a fault is the ledger's own.
func (w *simWorld) recover(err error) error {
	var corrupt *CorruptError
	if errors.As(err, &corrupt) {
		return err
	}
	if !w.armed {
		return fmt.Errorf("an error without a fault: %w", err)
	}
	if w.fs.crashed() != nil {
		return w.survive()
	}
	if _, err := w.ledger.revive(); err != nil && w.fs.crashed() != nil {
		return w.survive()
	}
	return nil
}
