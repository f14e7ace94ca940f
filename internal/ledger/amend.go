package ledger

import (
	"context"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// Amendment is a correction that counts only when its target is as it was seen.
type Amendment struct {
	Event usage.Event
	// Seen are the target's lines as they were seen: what was left of each quantity, and what it was charged, with all corrections.
	Seen []usage.Line
}

// Amend is Append for corrections that were computed from what can be read of the ledger. Those whose target is not as it was seen any more, or is not
// there, are not taken and leave no trace but in the result's Moved: so what came meanwhile makes no amount wrong.
func (l *Ledger) Amend(ctx context.Context, list []Amendment) (Result, error) {
	events := make([]usage.Event, len(list))
	seen := make([][]usage.Line, len(list))
	for i := range list {
		events[i], seen[i] = list[i].Event, list[i].Seen
	}
	if len(events) == 0 {
		return Result{}, nil
	}
	r, err := l.append(ctx, events, nil, seen)
	if err != nil {
		l.o.Observer.Failed(len(events))
		return Result{}, err
	}
	l.o.Observer.Appended(len(events)-r.result.Moved, &r.result)
	return r.result, nil
}

// moved says whether an amendment's target is not as it was seen.
func (t *target) moved(seen []usage.Line) bool {
	if t.event.Kind != usage.KindUsage || t.retracted || len(seen) != len(t.event.Lines) {
		return true
	}
	for i := range seen {
		is := t.event.Line(seen[i].Meter)
		if is == nil || is.Unit != seen[i].Unit || is.Quantity != seen[i].Quantity || !sameCharge(is.Cost, seen[i].Cost) || !sameCharge(is.Price, seen[i].Price) {
			return true
		}
	}
	return false
}

func sameCharge(a, b usage.Charge) bool {
	return a.Known() == b.Known() && a.Amount == b.Amount && a.Currency == b.Currency
}
