package attributionprocessor

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/usagebox/otelcol-usagebox/internal/attribution"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// machine is a disk that loses what was not synced when the power goes, and whose log of facts can fail.
type machine struct {
	mem  *vfs.MemFS
	skip int // operations until one on the log of facts fails; below 0 none does
}

func (*machine) String() string { return "machine" }

func (m *machine) MaybeError(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() != errorfs.OpIsWrite || !strings.Contains(op.Path, "/facts") || m.skip < 0 {
		return nil
	}
	if m.skip--; m.skip < 0 {
		return errors.New("input/output error")
	}
	return nil
}

// powerCut ends the processor as it is and starts it on what the disk holds.
func (r *rig) powerCut(m *machine, unsynced int, random *rand.Rand) {
	r.t.Helper()
	after := m.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: unsynced, RNG: random})
	if err := r.p.close(); err != nil {
		r.t.Fatal(err)
	}
	m.mem = after
	r.fs = errorfs.Wrap(m.mem, m)
	r.start()
}

// Power cuts between any two steps, failing writes, a pipeline that takes events and dies before it says so: exact in the end, and no event ever has two contents.
func TestPowerCutsAndFailingWritesLoseNothingAndCountOnce(t *testing.T) {
	for _, c := range captures(t) {
		t.Run(c.Name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(11, uint64(len(c.Name))))
			m := &machine{mem: vfs.NewCrashableMem(), skip: -1}
			r := newRigOn(t, errorfs.Wrap(m.mem, m), func(c *Config) { c.Directory = "/state/attribution" })
			cut := func() { r.powerCut(m, []int{0, 50, 100}[random.IntN(3)], random) }
			spans := requests(t, c)
			random.Shuffle(len(spans), func(i, j int) { spans[i], spans[j] = spans[j], spans[i] })
			refused := 0
			for _, td := range spans {
				if random.IntN(4) == 0 {
					m.skip = random.IntN(4)
				}
				for r.p.consumeTraces(t.Context(), td) != nil { // the sender sends it again
					refused++
				}
				m.skip = -1
				switch random.IntN(25) {
				case 0:
					cut()
				case 1:
					r.now = r.now.Add(31 * time.Second)
					for range random.IntN(4) {
						r.p.round(context.Background())
					}
					cut()
				case 2:
					took := r.sink.refuse
					r.sink.refuse = func(ptrace.Traces) error { return errors.New("it is away") }
					r.pass(31 * time.Second)
					r.sink.refuse = took
					cut()
				case 3:
					r.pass(31 * time.Second)
				}
			}
			for range 3 {
				r.pass(time.Minute)
				cut()
			}
			r.pass(time.Minute)
			r.exact(&c.Expect)
			if len(spans) > 40 && refused == 0 {
				t.Error("no write failed: the test looks at nothing")
			}
		})
	}
}

// What lies in the outbox when the power goes is sent with the same bytes, although all other spans of the trace came since.
func TestAfterAPowerCutTheSameEventsGoOut(t *testing.T) {
	for round := range 6 {
		m := &machine{mem: vfs.NewCrashableMem(), skip: -1}
		r := newRigOn(t, errorfs.Wrap(m.mem, m), func(c *Config) { c.Directory = "/state/attribution" })
		c := captures(t)[2]
		spans := requests(t, c)
		half := len(spans) * (round + 1) / 7
		for _, td := range spans[:half] {
			r.send(td)
		}
		r.sink.fail = errors.New("the ledger is away")
		r.pass(time.Minute)
		for _, td := range spans[half:] {
			r.send(td)
		}
		r.powerCut(m, 0, nil)
		r.pass(time.Minute)
		if n := len(r.sink.attempts); n != 0 && (n != 2 || string(r.sink.attempts[0]) != string(r.sink.attempts[1])) {
			t.Fatalf("%d attempts, or another batch", n)
		}
		r.sink.fail = nil
		r.pass(time.Minute)
		r.pass(time.Minute)
		r.exact(&c.Expect)
	}
}

// A sender that never stops to add to a trace costs a bounded share: looks at a trace of n spans are at least n milliseconds apart.
func TestATraceThatGrowsForADayIsNotReadForEachOfItsSpans(t *testing.T) {
	r := newRig(t, nil)
	r.send(crowd(20_000, func(i int, s ptrace.Span) {
		if i > 0 {
			s.SetParentSpanID(number(1))
		}
	}))
	looks := 0
	for i := range 200 {
		r.send(crowd(1, func(_ int, s ptrace.Span) {
			s.SetSpanID(number(30_000 + i))
			s.SetParentSpanID(number(1))
			call(s, "gpt-4o", 10)
		}))
		before := r.p.traces.heavy[attribution.TraceID{1}]
		r.pass(3 * time.Second)
		if r.p.traces.heavy[attribution.TraceID{1}] != before {
			looks++
		}
	}
	if limit := 200*3/20 + 2; looks > limit || looks < limit/2 {
		t.Errorf("%d looks in %d seconds, expected about %d", looks, 200*3, limit)
	}
	r.pass(time.Hour)
	if got := r.total(usage.MeterLLMRequests); got != usage.Units(200) {
		t.Errorf("%s calls", got)
	}
}
