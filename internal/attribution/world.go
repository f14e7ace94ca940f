package attribution

import (
	"bytes"
	"maps"
	"slices"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// World is a set of traces in memory that know of each other.
type World struct {
	facts   map[TraceID][]Fact
	notes   map[TraceID][]Note
	byTopic map[Topic][]Note
	open    map[TraceID]bool // being looked at: what leads back to it is not followed
	rules   Rules
}

// NewWorld is the world of the traces of facts.
func NewWorld(facts []Fact) *World {
	w := &World{facts: map[TraceID][]Fact{}, notes: map[TraceID][]Note{}, open: map[TraceID]bool{}}
	for i := range facts {
		w.facts[facts[i].Trace] = append(w.facts[facts[i].Trace], facts[i])
	}
	return w
}

// maxPasses bounds how often all traces are looked at. What is told goes no further than from one trace to the next, links apart, which are followed at once.
const maxPasses = 8

// Decide decides all traces, again while one tells others something new.
func (w *World) Decide() map[TraceID]Decision {
	ids := slices.SortedFunc(maps.Keys(w.facts), func(a, b TraceID) int { return bytes.Compare(a[:], b[:]) })
	out := make(map[TraceID]Decision, len(ids))
	for range maxPasses {
		changed := false
		told := map[TraceID][]Note{}
		for _, id := range ids {
			w.open[id] = true
			d := decide(w.facts[id], w, w.rules)
			notes := d.Notes()
			delete(w.open, id)
			out[id], told[id] = d, notes
			changed = changed || !slices.EqualFunc(w.notes[id], notes, func(a, b Note) bool { return a.Compare(&b) == 0 && a.Digest() == b.Digest() })
		}
		if !changed {
			break
		}
		w.notes, w.byTopic = told, map[Topic][]Note{}
		for _, id := range ids {
			for _, n := range told[id] {
				w.byTopic[n.Topic] = append(w.byTopic[n.Topic], n)
			}
		}
	}
	return out
}

// Span resolves a span as its own trace does.
func (w *World) Span(p Place) (Linked, bool) {
	if w.open[p.Trace] {
		return Linked{}, false
	}
	w.open[p.Trace] = true
	defer delete(w.open, p.Trace)
	return Identify(w.facts[p.Trace], p.Span, w)
}

// Claims gives one value of each Sub.
func (w *World) Claims(t Topic, but TraceID) (values [][]byte, ok bool) {
	seen := map[uint64]bool{}
	for _, n := range w.byTopic[t] {
		if n.Trace != but && !seen[n.Sub] {
			seen[n.Sub] = true
			values = append(values, n.Value)
		}
	}
	return values, len(values) <= MaxClaims
}

// Calls gives the notes of a time.
func (w *World) Calls(t Topic, sub uint64, from, to usage.Micros, but TraceID) (found []Note) {
	alone := !w.rules.off(RuleEmitter)
	for _, n := range w.byTopic[t] {
		alone = alone && n.Sub == sub
		if n.Trace != but && (n.Start <= to && n.End >= from || w.rules.off(RuleOverlap)) {
			found = append(found, n)
		}
	}
	if alone {
		return nil
	}
	return found
}
