package tracestore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"go.uber.org/zap"

	"github.com/usagebox/otelcol-usagebox/internal/attribution"
	"github.com/usagebox/otelcol-usagebox/internal/factlog"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// Known is all that the store knows of a trace.
type Known struct {
	Facts    []attribution.Fact // copies included
	Arrivals int                // the number of times that some came
	Settled  usage.Micros       // when it settled last; 0: never
	Emitted  attribution.Emitted
	Forgot   bool // its facts were forgotten, and what was emitted
	Lost     bool // it settled, and facts from then are gone: nothing is known of what was emitted
	Old      bool // some facts lie where they may be dropped before the trace is forgotten

	last settled
	open []factlog.Place
}

// Fresh says whether facts came that no settlement has looked at.
func (k *Known) Fresh() bool { return len(k.open) > 0 }

// Shown is the digest of what others could see when it settled last; 0: unknown.
func (k *Known) Shown() uint64 { return k.last.shown }

// Counted is what metrics have counted of it.
func (k *Known) Counted() attribution.Tally { return k.last.counted }

// settled is what is kept of a trace that settled: when; an offset before which every record of it was looked at; the places of its facts; after what was
// emitted, a digest of what others see of it, its notes, and what metrics have counted of it.
type settled struct {
	at      usage.Micros
	handled uint64
	places  []factlog.Place
	shown   uint64
	notes   []noteRef
	counted attribution.Tally
}

func (e *settled) append(b []byte, emitted *attribution.Emitted) []byte {
	b = binary.AppendVarint(b, int64(e.at))
	b = binary.AppendUvarint(b, e.handled)
	b = binary.AppendUvarint(b, uint64(len(e.places)))
	before := uint64(0)
	for _, p := range e.places {
		b = binary.AppendUvarint(b, p.Offset-before)
		b = binary.AppendUvarint(b, uint64(p.Length))
		before = p.Offset
	}
	return e.appendNotes(emitted.AppendBinary(b))
}

// read gives what follows: what was emitted.
func (e *settled) read(b []byte) (rest []byte, err error) {
	at, n := binary.Varint(b)
	if n <= 0 {
		return nil, attribution.ErrCorrupt
	}
	e.at, b = usage.Micros(at), b[n:]
	bad := false
	next := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			bad = true
			return 0
		}
		b = b[n:]
		return v
	}
	e.handled = next()
	count := next()
	if bad || count > uint64(len(b)/2) {
		return nil, attribution.ErrCorrupt
	}
	e.places = make([]factlog.Place, count)
	offset := uint64(0)
	for i := range e.places {
		offset += next()
		e.places[i] = factlog.Place{Offset: offset, Length: uint32(next())}
	}
	if bad {
		return nil, attribution.ErrCorrupt
	}
	return b, nil
}

// has says whether a settlement looked at a record.
func (e *settled) has(p factlog.Place) bool {
	return p.Offset < e.handled || slices.Contains(e.places, p)
}

// Before is what the embedded store has of a trace from before.
type Before struct {
	settled []byte // what keyEmitted has; nil: it never settled, or was forgotten
	handled uint64 // what was forgotten lay before this offset; 0: nothing was
}

// Before tells what is known from before of traces, in one pass over the embedded store: most are new, which the filters of its tables tell.
func (s *Store) Before(traces []attribution.TraceID) (befores []Before, err error) {
	befores = make([]Before, len(traces))
	order := make([]int, len(traces))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return bytes.Compare(traces[a][:], traces[b][:]) })
	err = s.each(keyEmitted, traces, order, func(i int, value []byte) { befores[i].settled = slices.Clone(value) })
	if err != nil {
		return nil, err
	}
	order = slices.DeleteFunc(order, func(i int) bool { return befores[i].settled != nil })
	return befores, s.each(keyForgot, traces, order, func(i int, value []byte) { befores[i].handled = forgotten(value) })
}

// each tells of those traces, in the order of their keys, of which there is an entry.
func (s *Store) each(kind byte, traces []attribution.TraceID, order []int, tell func(i int, value []byte)) (err error) {
	if len(order) == 0 {
		return nil
	}
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{kind}, UpperBound: []byte{kind + 1}, UseL6Filters: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	key := traceKey(kind, attribution.TraceID{})
	for _, i := range order {
		copy(key[1:], traces[i][:])
		if !it.SeekPrefixGE(key) || !bytes.Equal(it.Key(), key) {
			if err := it.Error(); err != nil {
				return err
			}
			continue
		}
		value, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		tell(i, value)
	}
	return nil
}

// read gives what there is of a settlement; all zero for a trace that never settled.
func (b *Before) read(trace attribution.TraceID) (e settled, emitted attribution.Emitted, err error) {
	if b.settled == nil {
		return e, emitted, nil
	}
	rest, err := e.read(b.settled)
	if err == nil {
		emitted, rest, err = attribution.DecodeEmitted(rest)
	}
	if err == nil {
		err = e.readNotes(rest, trace)
	}
	return e, emitted, err
}

// Trace reads all that is known of a trace. Facts that are damaged on disk are logged and passed over.
func (s *Store) Trace(trace attribution.TraceID) (Known, error) {
	before, err := s.Before([]attribution.TraceID{trace})
	if err != nil {
		return Known{}, err
	}
	return s.Read(trace, before[0], nil)
}

// Read does what Trace does when it is known what the embedded store has. facts is room for the trace's.
func (s *Store) Read(trace attribution.TraceID, before Before, facts []attribution.Fact) (k Known, err error) {
	k.Facts = facts[:0]
	s.mu.Lock()
	k.open = s.open.places(trace)
	s.mu.Unlock()
	if k.last, k.Emitted, err = before.read(trace); err != nil {
		return k, fmt.Errorf("trace %s: %w", trace, err)
	}
	k.Settled, k.Forgot = k.last.at, before.handled > 0
	var b []byte
	for _, p := range k.last.places {
		if k.Facts, b, err = s.read(trace, p, k.Facts, b); err != nil {
			if s.damaged(trace, err) != nil {
				return k, err
			}
			k = Known{Facts: k.Facts[:0], Lost: true, open: k.open, last: settled{handled: k.last.handled, notes: k.last.notes}}
			break
		}
	}
	for _, p := range k.open {
		if k.Facts, b, err = s.read(trace, p, k.Facts, b); err != nil && s.damaged(trace, err) != nil {
			return k, err
		}
	}
	k.Arrivals = len(k.last.places) + len(k.open)
	if s.retention > 0 && len(k.last.places) > 0 && len(k.open) > 0 {
		began, _ := s.log.Created(k.last.places[0])
		newest, _ := s.log.Created(k.open[len(k.open)-1])
		k.Old = newest-began > int64(s.retention/4)
	}
	return k, nil
}

// damaged gives back errors other than facts that are gone or damaged.
func (s *Store) damaged(trace attribution.TraceID, err error) error {
	var corrupt *factlog.CorruptError
	switch {
	case errors.Is(err, factlog.ErrGone):
		return nil
	case errors.As(err, &corrupt), errors.Is(err, attribution.ErrCorrupt):
		s.logger.Error("facts of a trace are damaged on disk: they are passed over, what was emitted stays", zap.Stringer("trace_id", trace), zap.Error(err))
		return nil
	}
	return err
}

func (s *Store) read(trace attribution.TraceID, p factlog.Place, facts []attribution.Fact, b []byte) ([]attribution.Fact, []byte, error) {
	payload, err := s.log.Read(p, b)
	if err != nil {
		return facts, b, err
	}
	_, _, rest, err := readRecord(payload)
	known := len(facts)
	if err == nil {
		facts, err = attribution.DecodeFacts(rest, facts)
	}
	if err != nil {
		return facts[:known], b, fmt.Errorf("facts of trace %s: %w", trace, err)
	}
	return facts, payload, nil
}

// Facts reads the facts of a trace, copies included.
func (s *Store) Facts(trace attribution.TraceID) ([]attribution.Fact, error) {
	k, err := s.Trace(trace)
	return k.Facts, err
}
