package ledger

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

var (
	simSeeds = flag.Int("sim.seeds", 200, "how many seeds TestSimulation runs")
	simFirst = flag.Uint64("sim.first", 1, "the first of them")
)

const (
	simDirectory = "/usage"
	simSteps     = 30
	simAttempts  = 100
)

type panicker struct{ testing.TB }

func (panicker) Helper()           {}
func (panicker) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

// simStep is one step of a simulation. What it does is a function of the step alone, so that steps can be left out when a
// failure is shrunk.
type simStep struct {
	Op    string
	Seed  uint64
	Fault *simFault
}

func (s simStep) String() string {
	if s.Fault == nil {
		return fmt.Sprintf("{%s %d}", s.Op, s.Seed)
	}
	return fmt.Sprintf("{%s %d, fault %+v}", s.Op, s.Seed, *s.Fault)
}

var simOps = []struct {
	name   string
	weight int
}{
	{"ingest", 14},
	{"late", 4},
	{"retry", 5},
	{"conflict", 2},
	{"correct", 6},
	{"retract", 3},
	{"early", 2},
	{"invalid", 1},
	{"together", 3},
	{"flush", 8},
	{"seal", 6},
	{"advance", 6},
	{"back", 1},
	{"expire", 2},
	{"restart", 2},
	{"crash", 3},
}

func simPlan(seed uint64) []simStep {
	rng := rand.New(rand.NewPCG(seed, 1))
	total := 0
	for _, op := range simOps {
		total += op.weight
	}
	steps := make([]simStep, simSteps)
	for i := range steps {
		n := rng.IntN(total)
		for _, op := range simOps {
			if n -= op.weight; n < 0 {
				steps[i] = simStep{Op: op.name, Seed: rng.Uint64N(1 << 32)}
				break
			}
		}
		if rng.IntN(4) == 0 {
			kind := []string{"crash", "crash", "error", "full"}[rng.IntN(4)]
			steps[i].Fault = &simFault{Kind: kind, After: rng.IntN(1 << rng.IntN(7)), For: 1 + rng.IntN(40), Unsynced: []int{0, 0, 30, 70, 100}[rng.IntN(5)]}
		}
	}
	return steps
}

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
	armed   bool
}

// simulate runs steps and gives the number of the one that went wrong, and why.
func simulate(steps []simStep, plant sabotage) (failed int, err error) {
	w := newSimWorld(plant)
	defer func() {
		if r := recover(); r != nil {
			buf := make([]byte, 4<<10)
			err = fmt.Errorf("panic: %v\n%s", r, buf[:runtime.Stack(buf, false)])
		}
		if w.ledger != nil {
			w.fs.arm(nil)
			_ = w.ledger.Close() // what it would have said was asked for before
		}
	}()
	if err := w.open(); err != nil {
		return 0, err
	}
	for i, s := range steps {
		failed = i
		w.rng = rand.New(rand.NewPCG(s.Seed, 2))
		w.arm(s.Fault)
		if err := w.step(s.Op); err != nil {
			return i, err
		}
		w.arm(nil)
		if err := w.survive(); err != nil {
			return i, err
		}
		if err := w.check(false); err != nil {
			return i, err
		}
	}
	if err := w.settled(); err != nil {
		return failed, err
	}
	return failed, nil
}

func newSimWorld(plant sabotage) *simWorld {
	w := &simWorld{clock: testClock{testTime}, model: newSimModel(5 * time.Hour), reader: newSimReader(), crashes: rand.New(rand.NewPCG(7, 7))}
	w.fs = newSimFS(vfs.NewCrashableMem(), w.crashes)
	w.options = Options{
		Directory: simDirectory, WriterID: "main", SealAfter: 15 * time.Minute, CorrectionWait: w.model.wait,
		CacheBytes: 1 << 20, SealBytes: 4 << 10, Clock: w.clock.Now, Manual: true, sabotage: plant, memTable: 256 << 10,
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
	w.reboot()
	return w.open()
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
	if err := w.maintain((*Ledger).Seal); err != nil {
		return err
	}
	if err := w.check(true); err != nil {
		return err
	}
	if n := w.ledger.Stats().OpenEvents; n != 0 {
		return fmt.Errorf("%d events are open after everything was sealed", n)
	}
	return w.checkChain()
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
	head, err := ReadChain(text, func(r *ChainRecord) error {
		for _, f := range r.Files {
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
	for _, tree := range trees {
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

// append sends events until they are answered, as a sender does, and compares the verdicts.
func (w *simWorld) append(events ...usage.Event) error {
	var result Result
	var err error
	attempts := 0
	for ; attempts < simAttempts; attempts++ {
		if result, err = w.ledger.Append(context.Background(), events); err == nil {
			break
		}
		if err := w.recover(err); err != nil {
			return err
		}
	}
	if err != nil {
		return fmt.Errorf("it is not taken after the fault is over: %w", err)
	}
	w.sent = append(w.sent, events...)
	// An attempt that failed may be durable all the same. Then the last one judged again what the first refused, after what the first took.
	for range attempts + 1 {
		want := w.model.append(w.clock.now, events)
		if err = compareVerdicts(result, events, want, attempts == 0); err == nil {
			return nil
		}
	}
	return err
}

func compareVerdicts(result Result, events []usage.Event, want []string, exact bool) error {
	accepted, duplicates := 0, 0
	reasons := map[string]int{}
	for i, v := range want {
		switch v {
		case "":
			accepted++
		case "duplicate":
			duplicates++
		default:
			reasons[events[i].ID+" "+v]++
		}
	}
	for _, r := range result.Rejections {
		reasons[r.ID+" "+r.Reason]--
	}
	for k, n := range reasons {
		if n != 0 {
			return fmt.Errorf("rejections %+v, want %v (%s)", result.Rejections, want, k)
		}
	}
	if got := result.Accepted + result.Duplicates; got != accepted+duplicates || exact && result.Accepted != accepted {
		return fmt.Errorf("accepted %d, duplicates %d, want %v", result.Accepted, result.Duplicates, want)
	}
	return nil
}

func (w *simWorld) step(op string) error {
	switch op {
	case "ingest", "late", "invalid", "early", "correct", "retract", "retry", "conflict":
		return w.append(w.events(op)...)
	case "together":
		return w.together()
	case "flush":
		return w.flush()
	case "seal":
		return w.maintain((*Ledger).Seal)
	case "advance":
		w.clock.now = w.clock.now.Add(time.Duration(w.rng.IntN(100)) * time.Minute)
	case "later":
		w.clock.now = w.clock.now.Add(3 * time.Hour)
	case "back":
		w.clock.now = w.clock.now.Add(-time.Duration(w.rng.IntN(30)) * time.Minute)
	case "expire":
		return w.expire()
	case "restart":
		err := w.ledger.Close()
		w.ledger = nil
		if err != nil && !w.armed {
			return err
		}
		w.reboot()
		return w.open()
	case "crash":
		w.fs.kill([]int{0, 0, 50, 100}[w.rng.IntN(4)])
	}
	return nil
}

func (w *simWorld) expire() error {
	var err error
	for range simAttempts {
		if err = w.ledger.Expire(); err == nil {
			w.model.expire(w.clock.now)
			return nil
		}
		if err := w.recover(err); err != nil {
			return err
		}
	}
	return err
}

// together sends from two callers at once: events that have nothing to do with each other, so that the order doesn't matter.
func (w *simWorld) together() error {
	w.arm(nil)
	a, b := w.events("ingest"), w.events("ingest")
	for i := range a {
		a[i].Customer = "left"
	}
	for i := range b {
		b[i].Customer = "right"
	}
	var wg sync.WaitGroup
	var errs [2]error
	for i, events := range [][]usage.Event{a, b} {
		wg.Add(1)
		go func() {
			defer wg.Done()
			_, errs[i] = w.ledger.Append(context.Background(), events)
		}()
	}
	wg.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	w.model.append(w.clock.now, a)
	w.model.append(w.clock.now, b)
	return nil
}

// events are what a step sends.
func (w *simWorld) events(op string) []usage.Event {
	events := make([]usage.Event, 0, 4)
	for range 1 + w.rng.IntN(4) {
		e := w.event(op)
		for i := range events {
			if events[i].Key() == e.Key() {
				return events // a call that contradicts itself is another test's
			}
		}
		events = append(events, e)
	}
	return events
}

func (w *simWorld) event(op string) usage.Event {
	e := w.fresh()
	switch op {
	case "late":
		e.Timestamp -= usage.Micros(w.rng.IntN(6)) * usage.MicrosPerHour
	case "invalid":
		e.Lines[0].Quantity = -1
		e.ID = "invalid" // refused whenever it comes, never known
	case "early":
		// An id that may come later, and one that never does.
		e.Corrects = fmt.Sprintf("e%d", w.rng.IntN(60))
		if w.rng.IntN(3) == 0 {
			e.Corrects = "never"
		}
		w.correct(&e)
	case "correct", "retract", "retry", "conflict":
		if len(w.sent) == 0 {
			return e
		}
		old := w.sent[w.rng.IntN(len(w.sent))]
		switch op {
		case "retry":
			return old
		case "conflict":
			old.Lines = append([]usage.Line(nil), old.Lines...)
			if len(old.Lines) > 0 {
				old.Lines[0].Quantity++
			} else {
				old.Timestamp++
			}
			if w.rng.IntN(2) == 0 {
				old = w.sentBefore(old)
				old.Timestamp += usage.MicrosPerHour
			}
			return old
		}
		e.Customer, e.Corrects = old.Customer, old.ID
		if op == "correct" {
			w.correct(&e)
			break
		}
		e.Kind, e.ID, e.Lines, e.Model, e.Feature, e.RunID = usage.KindRetraction, fmt.Sprintf("r%d", w.rng.IntN(1000)), nil, "", "", ""
	}
	e.Normalize()
	return e
}

func (w *simWorld) sentBefore(e usage.Event) usage.Event {
	for i := range w.sent {
		if w.sent[i].Key() == e.Key() {
			return w.sent[i]
		}
	}
	return e
}

func (w *simWorld) correct(e *usage.Event) {
	e.Kind, e.ID, e.RunID = usage.KindCorrection, fmt.Sprintf("c%d", w.rng.IntN(1000)), ""
	if w.rng.IntN(5) > 0 {
		e.Model, e.Feature = "", ""
	}
	for i := range e.Lines {
		if w.rng.IntN(3) > 0 {
			e.Lines[i].Quantity = -e.Lines[i].Quantity / 4
			e.Lines[i].Cost.Amount = -e.Lines[i].Cost.Amount / 4
		}
	}
}

// fresh is usage that may or may not have an id that is known.
func (w *simWorld) fresh() usage.Event {
	rng := w.rng
	e := usage.Event{
		ID: fmt.Sprintf("e%d", rng.IntN(60)), Customer: []string{"acme", "zeta", usage.Unattributed}[rng.IntN(3)],
		Timestamp: usage.MicrosOf(w.clock.now) - usage.Micros(rng.IntN(3600))*1e6,
		Model:     []string{"", "claude", "gpt"}[rng.IntN(3)], Feature: []string{"", "chat"}[rng.IntN(2)],
		RunID: []string{"", strings.Repeat("a", 32), strings.Repeat("b", 32)}[rng.IntN(3)],
	}
	if rng.IntN(20) == 0 {
		e.Timestamp = e.Timestamp.Hour().Start() // at the hour, to the microsecond
	}
	for _, meter := range []string{usage.MeterLLMRequests, usage.MeterTokensIn}[rng.IntN(2):] {
		l := usage.Line{Meter: meter, Quantity: usage.Quantity(rng.Int64N(1e9))}
		if rng.IntN(3) > 0 {
			l.Cost = usage.Charge{Amount: usage.Amount(rng.Int64N(1e12)), Currency: []string{"USD", "USD", "EUR"}[rng.IntN(3)], Rate: "v1"}
		}
		e.Lines = append(e.Lines, l)
	}
	e.Normalize()
	return e
}

func TestSimulation(t *testing.T) {
	seeds := *simSeeds
	if testing.Short() {
		seeds = min(seeds, 50)
	}
	next := make(chan uint64)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for seed := range next {
				if !t.Failed() {
					simulateSeed(t, seed)
				}
			}
		}()
	}
	for i := range seeds {
		next <- *simFirst + uint64(i)
	}
	close(next)
	workers.Wait()
}

func simulateSeed(t *testing.T, seed uint64) {
	steps := simPlan(seed)
	failed, err := simulate(steps, 0)
	if err == nil {
		return
	}
	steps, err = simShrink(steps[:failed+1], err, 0)
	t.Errorf("seed %d: %v\nafter %v\nrun it again with -sim.first=%d -sim.seeds=1", seed, err, steps, seed)
}

// simShrink leaves out steps and faults without which it fails as well.
func simShrink(steps []simStep, err error, plant sabotage) ([]simStep, error) {
	try := func(shorter []simStep) bool {
		_, e := simulate(shorter, plant)
		if e == nil {
			return false
		}
		steps, err = shorter, e
		return true
	}
	for again := true; again; {
		again = false
		for i := len(steps) - 1; i >= 0; i-- {
			shorter := append(append([]simStep(nil), steps[:i]...), steps[i+1:]...)
			if try(shorter) {
				again = true
				continue
			}
			if steps[i].Fault != nil {
				without := append([]simStep(nil), steps...)
				without[i].Fault = nil
				again = try(without) || again
			}
		}
	}
	return steps, err
}

// simEveryOperation is a life of a ledger in which the machine dies at the n-th operation of one of its rounds.
func simEveryOperation(round string, n int, unsynced int) []simStep {
	steps := []simStep{{Op: "ingest", Seed: 1}, {Op: "ingest", Seed: 2}, {Op: "flush"}, {Op: "ingest", Seed: 3}, {Op: "correct", Seed: 4}}
	switch round {
	case "seal":
		steps = append(steps, simStep{Op: "later"})
	case "late":
		steps = append(steps, simStep{Op: "later"}, simStep{Op: "seal"}, simStep{Op: "late", Seed: 5}, simStep{Op: "later"})
		round = "seal"
	}
	steps = append(steps, simStep{Op: round, Seed: 6, Fault: &simFault{Kind: "crash", After: n, Unsynced: unsynced}})
	return append(steps, simStep{Op: "retry", Seed: 7})
}

const (
	simOperations = 120  // more than any of simRounds has
	simAll        = 1000 // seeds from which on everything is tried that takes long
)

var simRounds = []string{"ingest", "restart", "late", "flush", "seal"}

func TestDyingAtAnyOperationLosesNothing(t *testing.T) {
	for _, round := range simRounds {
		t.Run(round, func(t *testing.T) {
			t.Parallel()
			survive, step := []int{0}, 5
			if *simSeeds >= simAll {
				survive, step = []int{0, 50, 100}, 1
			}
			for n := 0; n < simOperations; n += step {
				for _, unsynced := range survive {
					if _, err := simulate(simEveryOperation(round, n, unsynced), 0); err != nil {
						t.Fatalf("operation %d, %d%% of unsynced data survives: %v", n, unsynced, err)
					}
				}
			}
		})
	}
}

// TestPlantedBugsAreFound shows that the simulation can fail: each of these bugs is found.
func TestPlantedBugsAreFound(t *testing.T) {
	const seeds = 20
	names := [sabotages]string{
		ackBeforeSync: "answers before the fsync", skipFolderSync: "a folder is not synced", skipFileSync: "a file is not synced",
		doneBeforeMade: "a part is recorded before it is made", sealBeforeExchange: "a seal is recorded before the folders are exchanged",
		lateNotRolledUp: "late usage doesn't enter the totals", forgetSealedIDs: "ids of sealed hours are forgotten",
		sealTakesAll: "a seal removes what came after it was planned", retractTwice: "a retraction works twice",
		answerFailure: "a failed commit is answered as durable", reuseNames: "a name is used twice",
		forgetWaiting: "a waiting correction is not applied", totalsApart: "totals and part are recorded apart",
	}
	for plant := sabotage(1); plant < sabotages; plant++ {
		t.Run(names[plant], func(t *testing.T) {
			t.Parallel()
			for seed := uint64(1); seed <= seeds; seed++ {
				if _, err := simulate(simPlan(seed), plant); err != nil {
					t.Logf("found by seed %d: %.200v", seed, err)
					return
				}
			}
			for _, round := range slices.Backward(simRounds) {
				for n := range simOperations {
					if _, err := simulate(simEveryOperation(round, n, 0), plant); err != nil {
						t.Logf("found at operation %d of %s: %.200v", n, round, err)
						return
					}
				}
			}
			t.Error("not found")
		})
	}
}
