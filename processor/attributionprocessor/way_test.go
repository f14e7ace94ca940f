package attributionprocessor

import (
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace"
)

// A test that waits for the limit, an hour, or for a request that never ends, does not end in time.
func TestSettlingGivesWayUntilNoRequestIsInFlight(t *testing.T) {
	r := newRig(t, nil)
	r.p.giveWay(t.Context(), time.Hour) // none is

	r.p.requests.begin()
	r.p.requests.begin()
	waited := make(chan struct{})
	go func() {
		r.p.giveWay(t.Context(), time.Hour)
		close(waited)
	}()
	r.p.requests.end()
	select {
	case <-waited:
		t.Fatal("one request is still in flight")
	default:
	}
	r.p.requests.end()
	<-waited
}

func TestSettlingGivesWayForALimitedTimeAlone(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MemoryLimit = 1 << 20 })
	r.p.requests.begin()
	defer r.p.requests.end()
	r.p.giveWay(t.Context(), time.Nanosecond)

	r.send(job(1, func(_, _ ptrace.Span) {}))
	r.now = r.now.Add(r.config.Settle.Grace + giveWayFor)
	r.p.giveWay(t.Context(), time.Hour) // what is due has waited for long enough
	r.pass(0)

	for trace := range r.p.traces.max/2 + 1 {
		td := job(0, func(root, call ptrace.Span) {
			for _, s := range []ptrace.Span{root, call} {
				s.SetTraceID([16]byte{9, byte(trace), byte(trace >> 8)})
			}
		})
		r.send(td)
	}
	r.p.giveWay(t.Context(), time.Hour) // there are many open traces
}
