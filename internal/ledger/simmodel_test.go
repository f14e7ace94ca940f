package ledger

import (
	"fmt"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// simModel is what a ledger has to do, written down without looking at how it does it. It never reads the ledger's state.
type simModel struct {
	sent    map[usage.Key]usage.Event // what was acknowledged, as it was sent
	counted map[usage.Key]usage.Event // what has to be in events/, with the lines that count
	remains map[usage.Key][]usage.Line
	gone    map[usage.Key]bool // retracted
	waiting []simWaiting
	refused map[string]bool // key and reason of all that has to be in refused/
	wait    time.Duration
	left    map[string]map[usage.Key]bool // events whose file in a tree has left
}

type simWaiting struct {
	event usage.Event
	at    time.Time
}

func newSimModel(wait time.Duration) *simModel {
	return &simModel{
		sent: map[usage.Key]usage.Event{}, counted: map[usage.Key]usage.Event{}, remains: map[usage.Key][]usage.Line{},
		gone: map[usage.Key]bool{}, refused: map[string]bool{}, wait: wait,
		left: map[string]map[usage.Key]bool{treeEvents: {}, treeRollups: {}, treeRuns: {}},
	}
}

// said is what of an event is the sender's.
var said = cmp.Options{
	cmpopts.IgnoreFields(usage.Event{}, "IngestedAt", "Flags", "Source"),
	cmpopts.IgnoreFields(usage.Line{}, "Cost", "Price"),
	cmpopts.EquateEmpty(),
}

// append is the verdict on every event of one call: "", "duplicate" or a reason.
func (m *simModel) append(now time.Time, events []usage.Event) []string {
	verdicts := make([]string, len(events))
	for _, corrections := range []bool{false, true} {
		for i := range events {
			if (events[i].Kind != usage.KindUsage) != corrections {
				continue
			}
			verdicts[i] = m.one(now, events[i])
			if v := verdicts[i]; v != "" && v != "duplicate" {
				m.refuse(&events[i], v)
			}
		}
	}
	return verdicts
}

func (m *simModel) refuse(e *usage.Event, reason string) {
	m.refused[fmt.Sprintf("%s/%s %s", e.Customer, e.ID, reason)] = true
}

func (m *simModel) one(now time.Time, e usage.Event) string {
	if e.Kind == usage.KindUsage && e.Lines[0].Quantity < 0 {
		return usage.ReasonNegativeQuantity
	}
	if e.Corrects == e.ID {
		return usage.ReasonInvalidTarget
	}
	if known, ok := m.sent[e.Key()]; ok {
		a, b := known, e
		if a.Kind == usage.KindRetraction {
			a.Lines, b.Lines = nil, nil
		}
		if cmp.Equal(a, b, said) {
			return "duplicate"
		}
		return usage.ReasonConflict
	}
	if e.Kind == usage.KindUsage {
		m.sent[e.Key()] = e
		m.counted[e.Key()] = e
		m.remains[e.Key()] = append([]usage.Line(nil), e.Lines...)
		m.arrived(e.Key())
		return ""
	}
	target := usage.Key{Customer: e.Customer, ID: e.Corrects}
	if _, ok := m.sent[target]; !ok {
		if m.wait == 0 {
			return usage.ReasonUnknownTarget
		}
		m.sent[e.Key()] = e
		m.waiting = append(m.waiting, simWaiting{e, now})
		return ""
	}
	if reason := m.correct(e); reason != "" {
		return reason
	}
	m.sent[e.Key()] = e
	return ""
}

// arrived applies what waited for a target.
func (m *simModel) arrived(target usage.Key) {
	var rest []simWaiting
	for _, w := range m.waiting {
		if (usage.Key{Customer: w.event.Customer, ID: w.event.Corrects}) != target {
			rest = append(rest, w)
			continue
		}
		if reason := m.correct(w.event); reason != "" {
			delete(m.sent, w.event.Key())
			m.refuse(&w.event, reason)
		}
	}
	m.waiting = rest
}

// expire refuses what has waited too long.
func (m *simModel) expire(now time.Time) {
	var rest []simWaiting
	for _, w := range m.waiting {
		if now.Sub(w.at) < m.wait {
			rest = append(rest, w)
			continue
		}
		delete(m.sent, w.event.Key())
		m.refuse(&w.event, usage.ReasonUnknownTarget)
	}
	m.waiting = rest
}

// correct counts a correction or retraction of an event that is there, or says why not.
func (m *simModel) correct(e usage.Event) string {
	target := usage.Key{Customer: e.Customer, ID: e.Corrects}
	t, ok := m.counted[target]
	switch {
	case m.left[treeEvents][target]:
		return usage.ReasonTargetLeft
	case !ok || t.Kind != usage.KindUsage:
		return usage.ReasonInvalidTarget
	case m.gone[target]:
		return usage.ReasonAlreadyRetracted
	case e.Model != "" && e.Model != t.Model, e.Feature != "" && e.Feature != t.Feature:
		return usage.ReasonInvalidTarget
	}
	e.Model, e.Feature, e.RunID = t.Model, t.Feature, t.RunID
	left := append([]usage.Line(nil), m.remains[target]...)
	if e.Kind == usage.KindRetraction {
		e.Lines = nil
		for _, l := range left {
			l.Quantity, l.Cost.Amount = -l.Quantity, -l.Cost.Amount
			e.Lines = append(e.Lines, l)
		}
		m.gone[target] = true
		m.counted[e.Key()] = e
		return ""
	}
	for _, d := range e.Lines {
		found := false
		for i := range left {
			l := &left[i]
			if l.Meter != d.Meter {
				continue
			}
			found = true
			if l.Quantity+d.Quantity < 0 {
				return usage.ReasonExceedsTarget
			}
			l.Quantity += d.Quantity
			if d.Cost.Rate != "" {
				if l.Cost.Rate != "" && l.Cost.Currency != d.Cost.Currency {
					return usage.ReasonInvalidTarget
				}
				if l.Cost.Rate == "" {
					l.Cost = d.Cost
				} else {
					l.Cost.Amount += d.Cost.Amount
				}
			}
		}
		if !found {
			return usage.ReasonInvalidTarget
		}
	}
	m.remains[target] = left
	m.counted[e.Key()] = e
	return ""
}
