package ledger

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
)

var (
	simSeeds = flag.Int("sim.seeds", 100, "how many seeds TestSimulation runs")
	simFirst = flag.Uint64("sim.first", 1, "the first of them")
)

const (
	simDirectory = "/usage"
	simSteps     = 30
	simAttempts  = 100
)

type panicker struct{ testing.TB }

func (panicker) Helper() {}

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
	{"waves", 2},
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
	{"retain", 1},
	{"leave", 2},
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

// simulate runs steps and gives the number of the one that went wrong, and why.
func simulate(steps []simStep, plant sabotage) (failed int, err error) {
	w := newSimWorld(plant)
	defer func() {
		if r := recover(); r != nil {
			buf := make([]byte, 64<<10)
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
				if t.Failed() {
					continue
				}
				if report := simulateSeed(seed, 0); report != "" {
					t.Error(report)
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

// simulateSeed says what goes wrong with a seed, in as few steps as show it; "" when nothing does.
func simulateSeed(seed uint64, plant sabotage) string {
	steps := simPlan(seed)
	failed, err := simulate(steps, plant)
	if err == nil {
		return ""
	}
	steps, err = simShrink(steps[:failed+1], err, plant)
	return fmt.Sprintf("seed %d: %v\nafter %v\nrun it again with -sim.first=%d -sim.seeds=1", seed, err, steps, seed)
}

func TestASeedThatFailsIsShrunkAndSaysItsSteps(t *testing.T) {
	const plant = lateNotRolledUp
	seed := uint64(1)
	steps := simPlan(seed)
	failed, err := simulate(steps, plant)
	for ; err == nil; failed, err = simulate(steps, plant) {
		seed++
		steps = simPlan(seed)
	}
	shrunk, reason := simShrink(steps[:failed+1], err, plant)
	for i := range shrunk {
		if _, err := simulate(append(append([]simStep(nil), shrunk[:i]...), shrunk[i+1:]...), plant); err != nil {
			t.Errorf("it fails without step %d of %v, too: %v", i, shrunk, err)
		}
	}
	if again, err := simulate(shrunk, plant); err == nil || again != len(shrunk)-1 {
		t.Errorf("%v fail at step %d with %v, at first with %v", shrunk, again, err, reason)
	}
	report := simulateSeed(seed, plant)
	for _, want := range []string{fmt.Sprint(shrunk), fmt.Sprintf("-sim.first=%d", seed)} {
		if !strings.Contains(report, want) {
			t.Errorf("the report has no %q:\n%s", want, report)
		}
	}
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
