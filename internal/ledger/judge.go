package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// judge decides on every event of r, in their order, but corrections after usage, so that one Append may hold both an event and what
// corrects it. An error is about the store: nothing was decided.
func (g *group) judge(r *request) error {
	if r.expire {
		return g.expire()
	}
	g.refusals = append(g.refusals, r.refusals...)
	for _, corrections := range [...]bool{false, true} {
		for i := range r.items {
			it := &r.items[i]
			if (it.event.Kind != usage.KindUsage) != corrections {
				continue
			}
			if err := g.judgeItem(r, it); err != nil {
				return err
			}
		}
	}
	return nil
}

func (g *group) judgeItem(r *request, it *item) error {
	k, found, err := g.find(it.digest, true)
	if err != nil {
		return err
	}
	if found {
		if bytes.Equal(k.Payload[:], it.payload[:len(k.Payload)]) {
			r.result.Duplicates++
			return nil
		}
		g.reject(r, it, usage.ReasonConflict, "an event with this id is there with another payload: the first one stays")
		return nil
	}
	if it.event.Kind != usage.KindUsage {
		return g.judgeCorrection(r, it)
	}
	if err := g.accept(r, it); err != nil {
		return err
	}
	return g.applyWaiting(it)
}

// find is where an event is, those of this group included. looked says that lookUp has asked for its id.
func (g *group) find(d digest, looked bool) (known, bool, error) {
	if c, ok := g.ids[d]; ok {
		return c.known, c.known.Seq != forgotten, nil
	}
	k, found := g.known[d]
	if !found && !looked {
		var err error
		if k, found, err = g.s.known(d); err != nil {
			return known{}, false, err
		}
	}
	switch {
	case found && g.l.o.sabotage == leaveForgets:
		left, err := g.s.hasLeft(k)
		return k, !left, err
	case found && g.l.o.sabotage == forgetSealedIDs:
		e, err := g.s.readOpen(k)
		return k, e != nil, err
	}
	return k, found, nil
}

// reject refuses an event of a request. r is nil for a correction that was acknowledged when it began to wait.
func (g *group) reject(r *request, it *item, reason, detail string) {
	rejection := usage.Rejection{Key: it.event.Key(), Payload: it.payload, Reason: reason, Detail: detail}
	if r != nil {
		r.result.Rejections = append(r.result.Rejections, rejection)
	}
	g.refusals = append(g.refusals, newRefusal(g.now, rejection, it.event))
}

// accept takes an event into its hour. r is nil for a correction that was counted when it began to wait.
func (g *group) accept(r *request, it *item) error {
	h := it.event.Timestamp.Hour()
	hg, err := g.hourOf(h)
	if err != nil {
		return err
	}
	g.l.mu.Lock()
	late := hg.hour.Sealed
	g.l.mu.Unlock()
	if late {
		it.change(func(e *usage.Event) {
			e.Flags = slices.Clone(e.Flags)
			e.AddFlag(usage.FlagLate)
		})
	}
	g.ids[it.digest] = idChange{known: known{Hour: h, Payload: [8]byte(it.payload[:8])}, accepted: it}
	hg.items = append(hg.items, it)
	hg.bytes += int64(len(it.encoded))
	if r == nil {
		return nil
	}
	r.result.Accepted++
	if late {
		r.result.Late++
	}
	if it.event.Customer == usage.Unattributed {
		r.result.Unattributed++
	}
	return nil
}

func (g *group) judgeCorrection(r *request, it *item) error {
	t, found, err := g.target(targetOf(it))
	if it.amends && (errors.Is(err, errLeft) || err == nil && (!found || t.moved(it.seen))) {
		r.result.Moved++
		return nil
	}
	if errors.Is(err, errLeft) {
		g.reject(r, it, usage.ReasonTargetLeft, leftDetail(it))
		return nil
	}
	if err != nil {
		return err
	}
	if !found {
		if g.l.o.CorrectionWait > 0 {
			g.wait(r, it)
			return nil
		}
		g.reject(r, it, usage.ReasonUnknownTarget, fmt.Sprintf("event %q of this customer is not there", it.event.Corrects))
		return nil
	}
	settle := g.l.o.Settle
	if it.amends {
		settle = nil // its amounts are what it is about
	}
	var refused *usage.Invalid
	it.change(func(e *usage.Event) { refused = t.apply(e, settle) })
	if refused != nil {
		g.reject(r, it, refused.Reason, refused.Detail)
		return nil
	}
	return g.accept(r, it)
}

func targetOf(it *item) usage.Key {
	return usage.Key{Customer: it.event.Customer, ID: it.event.Corrects}
}
