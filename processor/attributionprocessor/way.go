package attributionprocessor

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// Settling gives way to requests: while some are in flight it takes a quarter of the time, so that senders are answered at nearly the rate at which facts are made
// durable. That holds as long as what is due is overdue by less than giveWayFor, and as long as there is room for twice as many open traces.
const (
	giveWayTimes = 3 // as long as a round took
	giveWayFor   = time.Minute
)

// calm is how long no request is in flight when no more are on their way.
const calm = 5 * time.Millisecond

// inflight are the requests that are being answered.
type inflight struct {
	count atomic.Int64
	begun atomic.Int64
	none  chan struct{} // has an entry when there were none
	seen  int64         // of begun, when none was in flight last
}

func newInflight() *inflight { return &inflight{none: make(chan struct{}, 1)} }

func (r *inflight) begin() {
	r.begun.Add(1)
	r.count.Add(1)
}

func (r *inflight) end() {
	if r.count.Add(-1) == 0 {
		select {
		case r.none <- struct{}{}:
		default:
		}
	}
}

// wait returns when no request has been in flight for a moment, or after limit; at once when none has begun since it returned so last. It is for one goroutine.
func (r *inflight) wait(ctx context.Context, limit time.Duration) {
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	for {
		var quiet <-chan time.Time
		if r.count.Load() == 0 {
			begun := r.begun.Load()
			if begun == r.seen {
				return
			}
			r.seen, quiet = begun, time.After(calm)
		}
		select {
		case <-quiet:
		case <-r.none:
		case <-timeout.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// giveWay waits after a round that took some time.
func (p *attributionProcessor) giveWay(ctx context.Context, took time.Duration) {
	if overdue, crowded := p.traces.pressed(usage.MicrosOf(p.now())); !crowded && overdue < giveWayFor {
		p.requests.wait(ctx, giveWayTimes*took)
	}
}
