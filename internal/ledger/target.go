package ledger

import (
	"errors"
	"fmt"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// target is what is left of an event that was corrected: its lines are the sums of its own and those of its corrections.
// In the store it is a flag byte, 1 when it was retracted, and the event.
type target struct {
	event     usage.Event
	retracted bool
	changed   bool // since it was read
	sabotage  sabotage
}

func (t *target) append(b []byte) []byte {
	flag := byte(0)
	if t.retracted && t.sabotage != retractTwice {
		flag = 1
	}
	return t.event.AppendBinary(append(b, flag))
}

func decodeTarget(b []byte) (*target, error) {
	if len(b) == 0 || b[0] > 1 {
		return nil, corrupt("the record of a corrected event", errors.New("it has no flag"))
	}
	t := &target{retracted: b[0] == 1}
	if _, err := usage.DecodeBinary(b[1:], &t.event); err != nil {
		return nil, corrupt("the record of a corrected event", err)
	}
	return t, nil
}

// target is what is left of an event, those of this group included; found is false when no such event is there; the error is
// errLeft when it is there no more.
func (g *group) target(key usage.Key) (t *target, found bool, err error) {
	d := digestOf(key)
	if t := g.targets[d]; t != nil {
		return t, true, nil
	}
	k, found, err := g.find(d, false)
	if err != nil || !found {
		return nil, false, err
	}
	if left, err := g.s.hasLeft(k); err != nil {
		return nil, false, err
	} else if left {
		return nil, false, errLeft
	}
	v, corrected, err := g.s.store.get(digestKey(keyTarget, d))
	switch {
	case err != nil:
		return nil, false, err
	case corrected:
		t, err = decodeTarget(v)
	default:
		t, err = g.readTarget(d, key, k)
	}
	if err != nil {
		return nil, false, err
	}
	t.sabotage = g.l.o.sabotage
	g.targets[d] = t
	return t, true, nil
}

// readTarget finds the event itself: in this group, in the store, or in a sealed part.
func (g *group) readTarget(d digest, key usage.Key, k known) (*target, error) {
	if c := g.ids[d]; c.accepted != nil {
		e := *c.accepted.event
		e.IngestedAt = c.accepted.ingestedAt
		e.Lines = append([]usage.Line(nil), e.Lines...)
		return &target{event: e}, nil
	}
	if k.Seq == 0 { // it is a correction that waits
		return &target{event: usage.Event{Kind: usage.KindCorrection}}, nil
	}
	e, err := g.l.readEvent(g.s, k, key)
	if err != nil {
		return nil, err
	}
	return &target{event: *e}, nil
}

// apply lets a correction or retraction take effect on its target, and completes it: what identifies the usage and is empty
// becomes its target's, a retraction gets its lines, a correction its amounts from settle, which may be nil. Or it says why it can't be, and changes nothing.
func (t *target) apply(e *usage.Event, settle func(target, correction *usage.Event)) *usage.Invalid {
	if t.event.Kind != usage.KindUsage {
		return &usage.Invalid{Reason: usage.ReasonInvalidTarget, Detail: fmt.Sprintf("event %q is itself a %s: correct what it corrects", e.Corrects, t.event.Kind)}
	}
	if t.retracted && t.sabotage != retractTwice {
		return &usage.Invalid{Reason: usage.ReasonAlreadyRetracted, Detail: fmt.Sprintf("event %q was taken away whole", e.Corrects)}
	}
	if refused := t.identify(e); refused != nil {
		return refused
	}
	if e.Kind == usage.KindRetraction {
		e.Lines = t.takeAway()
		t.retracted, t.changed = true, true
		return nil
	}
	if settle != nil && t.covers(e) {
		settle(&t.event, e)
	}
	lines, refused := t.sum(e)
	if refused != nil {
		return refused
	}
	t.event.Lines, t.changed = lines, true
	return nil
}

// identify completes e's fields from the target's. Those that rollups and runs are grouped by can't differ, or the sums would
// not be netted; what was counted under the wrong ones is retracted and sent again.
func (t *target) identify(e *usage.Event) *usage.Invalid {
	type field struct {
		name      string
		own, its  *string
		groupedBy bool
	}
	fields := [...]field{
		{"feature", &e.Feature, &t.event.Feature, true},
		{"step", &e.Step, &t.event.Step, true},
		{"agent", &e.Agent, &t.event.Agent, true},
		{"operation", &e.Operation, &t.event.Operation, true},
		{"provider", &e.Provider, &t.event.Provider, true},
		{"model", &e.Model, &t.event.Model, true},
		{"run_id", &e.RunID, &t.event.RunID, true},
		{"user_id", &e.UserID, &t.event.UserID, false},
		{"session_id", &e.SessionID, &t.event.SessionID, false},
		{"conversation_id", &e.ConversationID, &t.event.ConversationID, false},
		{"trace_id", &e.TraceID, &t.event.TraceID, false},
		{"span_id", &e.SpanID, &t.event.SpanID, false},
	}
	for _, f := range fields {
		if f.groupedBy && *f.own != "" && *f.own != *f.its {
			return &usage.Invalid{Reason: usage.ReasonInvalidTarget, Detail: fmt.Sprintf("its %s is %.64q, its target's %.64q: to move usage, retract it and send it again", f.name, *f.own, *f.its)}
		}
	}
	for _, f := range fields {
		if *f.own == "" {
			*f.own = *f.its
		}
	}
	if len(e.Dimensions) == 0 {
		e.Dimensions = t.event.Dimensions
	}
	return nil
}

// takeAway are lines that undo what is left.
func (t *target) takeAway() []usage.Line {
	lines := make([]usage.Line, len(t.event.Lines))
	for i, l := range t.event.Lines {
		l.Quantity = -l.Quantity
		l.Cost.Amount = -l.Cost.Amount
		l.Price.Amount = -l.Price.Amount
		lines[i] = l
	}
	return lines
}

// covers says whether what e takes away is there.
func (t *target) covers(e *usage.Event) bool {
	for i := range e.Lines {
		l := t.event.Line(e.Lines[i].Meter)
		if l == nil || l.Unit != e.Lines[i].Unit || l.Quantity+e.Lines[i].Quantity < 0 {
			return false
		}
	}
	return true
}

// sum is the target's lines with those of e added.
func (t *target) sum(e *usage.Event) ([]usage.Line, *usage.Invalid) {
	lines := append([]usage.Line(nil), t.event.Lines...)
	sum := usage.Event{Lines: lines}
	for i := range e.Lines {
		delta := &e.Lines[i]
		l := sum.Line(delta.Meter)
		if l == nil || l.Unit != delta.Unit {
			return nil, &usage.Invalid{Reason: usage.ReasonInvalidTarget, Detail: fmt.Sprintf("event %q has no %.64q in %.64q", e.Corrects, delta.Meter, delta.Unit)}
		}
		left, ok := addDigits(int64(l.Quantity), int64(delta.Quantity))
		if !ok {
			return nil, &usage.Invalid{Reason: usage.ReasonOverflow, Detail: fmt.Sprintf("%.64q would have more than %d digits", delta.Meter, usage.Digits)}
		}
		if left < 0 {
			return nil, &usage.Invalid{Reason: usage.ReasonExceedsTarget, Detail: fmt.Sprintf("takes %s of %.64q away, %s are left", -delta.Quantity, delta.Meter, l.Quantity)}
		}
		l.Quantity = usage.Quantity(left)
		for _, c := range [...]struct{ own, its *usage.Charge }{{&delta.Cost, &l.Cost}, {&delta.Price, &l.Price}} {
			if refused := addCharge(c.its, c.own, delta.Meter); refused != nil {
				return nil, refused
			}
		}
	}
	return lines, nil
}

func addCharge(sum, delta *usage.Charge, meter string) *usage.Invalid {
	if !delta.Known() {
		return nil
	}
	if !sum.Known() {
		*sum = *delta
		return nil
	}
	if sum.Currency != delta.Currency {
		return &usage.Invalid{Reason: usage.ReasonInvalidTarget, Detail: fmt.Sprintf("its %.64q is charged in %s, its target's in %s", meter, delta.Currency, sum.Currency)}
	}
	amount, ok := addDigits(int64(sum.Amount), int64(delta.Amount))
	if !ok {
		return &usage.Invalid{Reason: usage.ReasonOverflow, Detail: fmt.Sprintf("the charge for %.64q would have more than %d digits", meter, usage.Digits)}
	}
	sum.Amount, sum.Rate = usage.Amount(amount), delta.Rate // the last one is in force
	return nil
}

// addDigits is a + b, which each have at most 18 digits; ok is false when the sum has more.
func addDigits(a, b int64) (int64, bool) {
	const most = 999_999_999_999_999_999
	sum := a + b // can't wrap: twice 10^18 fits
	return sum, sum <= most && sum >= -most
}
