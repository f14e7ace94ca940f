package tracestore

import (
	"encoding/binary"

	"github.com/cockroachdb/pebble/v2"

	"github.com/usagebox/otelcol-usagebox/internal/attribution"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// Settlement is what one look at a trace leads to.
type Settlement struct {
	Trace   attribution.TraceID
	At      usage.Micros
	Emitted attribution.Emitted
	Events  []Event               // to emit, in order
	Links   []attribution.TraceID // traces that it links to
	Pending bool                  // more facts came meanwhile: it stays pending
	Wake    []attribution.TraceID // traces to look at again, because of what is known of this one
	Compact []attribution.Fact    // when not nil: what to keep of its facts, without copies
}

// Settle records settlements in one transaction: what was emitted and the outbox are never apart. It is durable after Sync.
func (s *Store) Settle(settlements []Settlement) error {
	if err := s.room(s.free / 2); err != nil { // what was appended must still get through when nothing more is taken
		return err
	}
	b := s.db.NewBatch()
	defer b.Close()
	for i := range settlements {
		t := &settlements[i]
		value := binary.AppendVarint(nil, int64(t.At))
		value = t.Emitted.AppendBinary(value)
		_ = b.Set(traceKey(keyEmitted, t.Trace), value, nil)
		_ = b.Set(expiryKey(t.At, t.Trace), nil, nil)
		if !t.Pending {
			_ = b.Delete(traceKey(keyPending, t.Trace), nil)
		}
		for _, l := range t.Links {
			_ = b.Set(append(traceKey(keyWaiting, l), t.Trace[:]...), nil, nil)
		}
		for _, w := range t.Wake {
			_ = b.Set(traceKey(keyPending, w), binary.AppendVarint(nil, int64(t.At)), nil)
		}
		if t.Compact != nil && !t.Pending {
			s.compact(b, t)
		}
		if len(t.Events) > 0 {
			o := Outgoing{Trace: t.Trace, Events: t.Events}
			_ = b.Set(outboxKey(s.sequence()), o.encode(), nil)
		}
	}
	return b.Commit(pebble.NoSync)
}

func (s *Store) compact(b *pebble.Batch, t *Settlement) {
	prefix := traceKey(keyFacts, t.Trace)
	_ = b.DeleteRange(prefix, after(prefix), nil)
	value := binary.AppendVarint(nil, int64(t.At))
	for i := range t.Compact {
		value = t.Compact[i].AppendBinary(value)
	}
	_ = b.Set(binary.BigEndian.AppendUint64(prefix, s.sequence()), value, nil)
}

func outboxKey(seq uint64) []byte { return binary.BigEndian.AppendUint64([]byte{keyOutbox}, seq) }

func expiryKey(at usage.Micros, trace attribution.TraceID) []byte {
	key := binary.BigEndian.AppendUint64([]byte{keyExpiry}, uint64(at.Hour()))
	return append(key, trace[:]...)
}

// Emit forgets what the pipeline has taken.
func (s *Store) Emit(out []Outgoing) error {
	b := s.db.NewBatch()
	defer b.Close()
	for i := range out {
		_ = b.Delete(outboxKey(out[i].seq), nil)
	}
	return b.Commit(pebble.NoSync)
}

// Expire forgets the facts of traces that settled last before a time, oldest first, at most limit of them. A trace that is forgotten stays known as
// such until its mark is as old as marks allows.
func (s *Store) Expire(before usage.Micros, limit int, now, marksBefore usage.Micros) (forgotten int, err error) {
	var expired [][]byte
	upper := binary.BigEndian.AppendUint64([]byte{keyExpiry}, uint64(max(0, before.Hour())))
	iter, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{keyExpiry}, UpperBound: upper})
	if err != nil {
		return 0, err
	}
	for ok := iter.First(); ok && len(expired) < limit; ok = iter.Next() {
		expired = append(expired, append([]byte(nil), iter.Key()...))
	}
	if err := iter.Close(); err != nil {
		return 0, err
	}
	b := s.db.NewBatch()
	defer b.Close()
	for _, key := range expired {
		_ = b.Delete(key, nil)
		if len(key) != 25 {
			continue
		}
		trace := attribution.TraceID(key[9:])
		_, settled, err := s.Emitted(trace)
		if err != nil {
			return 0, err
		}
		if settled.Hour() > usage.Hour(binary.BigEndian.Uint64(key[1:])) || s.pending(trace) {
			continue // it settled again later, or is about to
		}
		for _, kind := range [...]byte{keyFacts, keyWaiting} {
			prefix := traceKey(kind, trace)
			_ = b.DeleteRange(prefix, after(prefix), nil)
		}
		_ = b.Delete(traceKey(keyEmitted, trace), nil)
		_ = b.Set(traceKey(keyForgot, trace), binary.AppendVarint(nil, int64(now)), nil)
		forgotten++
	}
	if err := s.expireMarks(b, marksBefore, limit); err != nil {
		return 0, err
	}
	return forgotten, b.Commit(pebble.NoSync)
}

func (s *Store) pending(trace attribution.TraceID) bool {
	_, closer, err := s.db.Get(traceKey(keyPending, trace))
	if err != nil {
		return false
	}
	_ = closer.Close()
	return true
}

// expireMarks looks at some marks after a place that moves on, so that every mark is looked at in time.
func (s *Store) expireMarks(b *pebble.Batch, before usage.Micros, limit int) error {
	from := append([]byte{keyForgot}, s.marks...)
	iter, err := s.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: []byte{keyForgot + 1}})
	if err != nil {
		return err
	}
	s.marks = nil
	seen := 0
	for ok := iter.First(); ok; ok = iter.Next() {
		if seen++; seen > limit {
			s.marks = append([]byte(nil), iter.Key()[1:]...)
			break
		}
		if at, n := binary.Varint(iter.Value()); n > 0 && usage.Micros(at) < before {
			_ = b.Delete(append([]byte(nil), iter.Key()...), nil)
		}
	}
	return iter.Close()
}

// OldestSettled is the start of the hour in which the oldest kept trace settled; 0 when there is none.
func (s *Store) OldestSettled() (usage.Micros, error) {
	iter, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{keyExpiry}, UpperBound: []byte{keyExpiry + 1}})
	if err != nil {
		return 0, err
	}
	defer iter.Close()
	if !iter.First() || len(iter.Key()) != 25 {
		return 0, iter.Error()
	}
	return usage.Hour(binary.BigEndian.Uint64(iter.Key()[1:])).Start(), nil
}
