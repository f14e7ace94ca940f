package ledger

import (
	"context"
	"fmt"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// Refuse keeps in refused/ what others did not take. It takes no part in the counts of what the ledger received. After an error nothing may be assumed.
func (l *Ledger) Refuse(ctx context.Context, refused []usage.Refusal) error {
	if len(refused) == 0 {
		return nil
	}
	if !l.enter() {
		return ErrClosed
	}
	defer l.closed.Done()
	now := l.now()
	r := &request{done: make(chan struct{})}
	for i := range refused {
		f := &refused[i]
		r.refusals = append(r.refusals, newRefusal(now, usage.Rejection{Key: f.Event.Key(), Reason: f.Reason, Detail: f.Detail}, &f.Event))
	}
	select {
	case l.queue <- r:
	case <-ctx.Done():
		return fmt.Errorf("nothing was taken, send again: %w", ctx.Err())
	}
	<-r.done
	return r.err
}
