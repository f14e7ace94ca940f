package tracestore

import (
	"encoding/binary"
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"github.com/usagebox/otelcol-usagebox/internal/attribution"
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
	before, err := s.Before([]attribution.TraceID{trace})
	return err == nil && before[0].handled > 0, err
}

// forgotten is the offset before which the records of a forgotten trace lay, from what keyForgot has; never 0.
func forgotten(value []byte) (handled uint64) {
	if _, n := binary.Varint(value); n > 0 {
		handled, _ = binary.Uvarint(value[n:])
	}
	return max(1, handled)
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
