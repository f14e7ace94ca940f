package tracestore

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/usagebox/otelcol-usagebox/internal/attribution"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// Waiting tells of every trace that links to trace.
func (s *Store) Waiting(trace attribution.TraceID) (traces []attribution.TraceID, err error) {
	if !s.linkedTo(trace) {
		return nil, nil
	}
	err = s.scan(traceKey(keyWaiting, trace), func(key, _ []byte) error {
		if len(key) == 33 {
			traces = append(traces, attribution.TraceID(key[17:]))
		}
		return nil
	})
	return traces, err
}

// Forgot says whether a trace's facts were forgotten.
func (s *Store) Forgot(trace attribution.TraceID) (bool, error) {
	handled, err := s.forgottenBefore(trace)
	return handled > 0, err
}

// forgottenBefore is the offset before which the records of a trace were forgotten; 0 when it was not.
func (s *Store) forgottenBefore(trace attribution.TraceID) (handled uint64, err error) {
	value, closer, err := s.db.Get(traceKey(keyForgot, trace))
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer closer.Close()
	if _, n := binary.Varint(value); n > 0 {
		handled, _ = binary.Uvarint(value[n:])
	}
	return max(1, handled), nil
}

// Outgoing is events that are about to be emitted for a trace.
type Outgoing struct {
	seq    uint64
	Trace  attribution.TraceID
	Events []Event
}

// Event is one of them; Start is the time at which its span began.
type Event struct {
	usage.Event
	Start usage.Micros
}

// Outbox reads the oldest entries that hold about limit events, without those of traces to pass over.
func (s *Store) Outbox(limit int, passOver map[attribution.TraceID]struct{}) (out []Outgoing, err error) {
	n := 0
	first := true
	err = s.scanFrom(outboxKey(s.from), []byte{keyOutbox + 1}, func(key, value []byte) error {
		if n >= limit {
			return errStop
		}
		o, err := decodeOutgoing(key, value)
		if err != nil {
			return err
		}
		if first {
			first, s.from = false, o.seq
		}
		if _, ok := passOver[o.Trace]; ok {
			return nil
		}
		n += len(o.Events)
		out = append(out, o)
		return nil
	})
	if errors.Is(err, errStop) {
		err = nil
	}
	return out, err
}

func (o *Outgoing) encode() []byte {
	b := append([]byte(nil), o.Trace[:]...)
	for i := range o.Events {
		b = binary.AppendVarint(b, int64(o.Events[i].Start))
		b = o.Events[i].AppendBinary(b)
	}
	return b
}

func decodeOutgoing(key, value []byte) (o Outgoing, err error) {
	if len(key) != 9 || len(value) < 16 {
		return o, fmt.Errorf("outbox: %w", attribution.ErrCorrupt)
	}
	o.seq = binary.BigEndian.Uint64(key[1:])
	o.Trace = attribution.TraceID(value[:16])
	for value = value[16:]; len(value) > 0; {
		start, n := binary.Varint(value)
		if n <= 0 {
			return o, fmt.Errorf("outbox: %w", attribution.ErrCorrupt)
		}
		e := Event{Start: usage.Micros(start)}
		if value, err = usage.DecodeBinary(value[n:], &e.Event); err != nil {
			return o, fmt.Errorf("outbox: %w", err)
		}
		o.Events = append(o.Events, e)
	}
	return o, nil
}

func (s *Store) scan(prefix []byte, each func(key, value []byte) error) error {
	return s.scanFrom(prefix, after(prefix), each)
}

func (s *Store) scanFrom(lower, upper []byte, each func(key, value []byte) error) (err error) {
	iter, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, iter.Close()) }()
	for ok := iter.First(); ok; ok = iter.Next() {
		if err := each(iter.Key(), iter.Value()); err != nil {
			return err
		}
	}
	return iter.Error()
}

// after is the first key that doesn't have the prefix.
func after(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		end[i]++
		if end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}
