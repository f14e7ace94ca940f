package tracestore

import (
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"github.com/usagebox/otelcol-usagebox/internal/attribution"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// maxLinkDepth is how far links are followed from trace to trace.
const maxLinkDepth = 16

// Others tells a trace of the others that the store knows. It is of one decision. A link that leads back is not followed.
type Others struct {
	store   *Store
	signals bool
	open    map[attribution.TraceID]bool
	facts   map[attribution.TraceID][]attribution.Fact
	failed  error
}

// Others makes one for a decision about a trace. signals: what services tell of on other signals is looked at, too.
func (s *Store) Others(of attribution.TraceID, signals bool) *Others {
	return &Others{store: s, signals: signals, open: map[attribution.TraceID]bool{of: true}, facts: map[attribution.TraceID][]attribution.Fact{}}
}

// Signals says whether services may tell of something on several signals.
func (o *Others) Signals() bool { return o.signals }

// Err is what could not be read: the decision must not be used then.
func (o *Others) Err() error { return o.failed }

// Span resolves a span as its own trace does.
func (o *Others) Span(p attribution.Place) (attribution.Linked, bool) {
	if o.open[p.Trace] || len(o.open) > maxLinkDepth {
		return attribution.Linked{}, false
	}
	o.open[p.Trace] = true
	defer delete(o.open, p.Trace)
	facts, ok := o.facts[p.Trace]
	if !ok {
		var err error
		if facts, err = o.store.Facts(p.Trace); err != nil {
			o.failed = errors.Join(o.failed, err)
			return attribution.Linked{}, false
		}
		o.facts[p.Trace] = facts
	}
	return attribution.Identify(facts, p.Span, o)
}

// Claims reads what is said of a conversation.
func (o *Others) Claims(t attribution.Topic, but attribution.TraceID) ([][]byte, bool) {
	if !o.store.topics.may(t) {
		return nil, true
	}
	switch _, closer, err := o.store.db.Get(topicKey(keyTopic, t)); {
	case errors.Is(err, pebble.ErrNotFound):
		return nil, true
	case err != nil:
		o.failed = errors.Join(o.failed, err)
		return nil, true
	default:
		o.failed = errors.Join(o.failed, closer.Close())
	}
	values, ok, err := claims(o.store.db, t, but)
	o.failed = errors.Join(o.failed, err)
	return values, ok
}

// Calls reads notes of calls.
func (o *Others) Calls(t attribution.Topic, sub uint64, from, to usage.Micros, but attribution.TraceID) []attribution.Note {
	if !o.store.topics.may(t) {
		return nil
	}
	only, err := alone(o.store.db, t, sub)
	if only || err != nil {
		o.failed = errors.Join(o.failed, err)
		return nil
	}
	found, err := calls(o.store.db, t, from, to, but)
	o.failed = errors.Join(o.failed, err)
	return found
}

// Notes are those that may find something: without other signals, nobody looks for what services tell of on them.
func (o *Others) Notes(d *attribution.Decision) (notes []attribution.Note) {
	for _, n := range d.Notes() {
		if o.signals || n.Kind != attribution.NoteSignal {
			notes = append(notes, n)
		}
	}
	return notes
}
