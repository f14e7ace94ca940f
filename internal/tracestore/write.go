package tracestore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/usagebox/otelcol-usagebox/internal/attribution"
	"github.com/usagebox/otelcol-usagebox/internal/factlog"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// Settlement is what one look at a trace leads to.
type Settlement struct {
	Trace   attribution.TraceID
	At      usage.Micros
	Known   Known // what was looked at
	Emitted attribution.Emitted
	Events  []Event               // to emit, in order
	Links   []attribution.TraceID // traces that it links to
	Pending bool                  // more facts came meanwhile: it stays open
	Wake    []attribution.TraceID // traces to look at again, because of what is known of this one; Settle adds those that notes concern
	Shown   uint64                // digest of what others can see of it by links; 0: not looked at
	Notes   []attribution.Note    // what it tells others, in their order
	Counted attribution.Tally     // what metrics have counted of it, when this is recorded

	rewritten []factlog.Place
	value     []byte // of keyEmitted, if it is not pending
}

// Rewrite writes the facts of a settlement anew, without copies, at the end of the log. What was written before stays until it is dropped.
func (s *Store) Rewrite(t *Settlement, facts []attribution.Fact) error {
	if err := s.room(s.free / 2); err != nil {
		return err
	}
	var records [][]byte
	for len(facts) > 0 {
		var b []byte
		b, facts = appendRecord(nil, t.Trace, t.At, facts)
		records = append(records, b)
	}
	var err error
	t.rewritten, err = s.log.Append(records, int64(t.At))
	return err
}

// Round is settlements that are about to be recorded.
type Round struct {
	store       *Store
	batch       *pebble.Batch
	settlements []*Settlement
}

// Begin works out what the notes of settlements mean for other traces. Nothing else may settle until the round is closed.
func (s *Store) Begin(settlements []*Settlement) (*Round, error) {
	if err := s.room(s.free / 2); err != nil { // what was appended must still get through when nothing more is taken
		return nil, err
	}
	if err := s.topics.read(s, topicsAtOnce); err != nil {
		return nil, err
	}
	r := &Round{store: s, batch: s.db.NewBatch(), settlements: settlements}
	for _, t := range settlements {
		if len(t.Notes) > 0 || len(t.Known.last.notes) > 0 {
			r.batch = s.db.NewIndexedBatch()
			break
		}
	}
	news := map[attribution.Topic]bool{}
	for _, t := range settlements {
		if err := post(r.batch, &s.topics, t, news); err != nil {
			return nil, errors.Join(err, r.Close())
		}
	}
	return r, nil
}

// Close gives up what was not recorded.
func (r *Round) Close() error { return r.batch.Close() }

// Settle records them in one transaction: what was emitted and the outbox are never apart. They are durable when it answers nil.
func (r *Round) Settle() error {
	s, b, settlements := r.store, r.batch, r.settlements
	_ = b.Set(meta("pinned"), binary.BigEndian.AppendUint64(nil, s.log.Pinned()), nil)
	for _, trace := range s.lookedAt(settlements) { // before any is woken again
		_ = b.Delete(traceKey(keyPending, trace), nil)
	}
	for _, t := range settlements {
		t.Wake = sortedTraces(t.Wake)
		if t.value == nil || t.Pending {
			t.Prepare()
		}
		_ = b.Set(traceKey(keyEmitted, t.Trace), t.value, nil)
		for _, l := range t.Links {
			_ = b.Set(append(traceKey(keyWaiting, l), t.Trace[:]...), nil, nil)
		}
		for _, w := range t.Wake {
			_ = b.Set(traceKey(keyPending, w), binary.AppendVarint(nil, int64(t.At)), nil)
		}
	}
	s.expireLater(b, settlements)
	out := s.outgoing(b, settlements)
	if err := b.Commit(pebble.Sync); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range settlements {
		if !t.Pending {
			delete(s.woken, t.Trace)
		}
	}
	for _, t := range settlements {
		s.settled(t)
	}
	for _, t := range settlements {
		for _, w := range t.Wake {
			s.woken[w] = struct{}{}
		}
	}
	s.outbox.add(out)
	return nil
}

// lookedAt are traces that settle, and need not be looked at again although another one said so.
func (s *Store) lookedAt(settlements []*Settlement) (traces []attribution.TraceID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range settlements {
		if _, ok := s.woken[t.Trace]; ok && !t.Pending {
			traces = append(traces, t.Trace)
		}
	}
	return traces
}

// expireLater notes when settlements are to be forgotten.
func (s *Store) expireLater(b *pebble.Batch, settlements []*Settlement) {
	for rest := settlements; len(rest) > 0; {
		hour, n := rest[0].At.Hour(), 0
		var traces []byte
		for n < len(rest) && rest[n].At.Hour() == hour {
			traces = append(traces, rest[n].Trace[:]...)
			n++
		}
		key := binary.BigEndian.AppendUint64([]byte{keyExpiry}, uint64(hour))
		_ = b.Set(binary.BigEndian.AppendUint64(key, s.sequence()), traces, nil)
		rest = rest[n:]
	}
}

// Prepare does what Settle would do when all else is known, so that it can be done for many settlements at once.
func (t *Settlement) Prepare() {
	e := settled{at: t.At, handled: t.Known.last.handled, places: t.rewritten, shown: t.Shown, notes: remember(t.Notes), counted: t.Counted}
	if len(e.places) == 0 {
		e.places = slices.Concat(t.Known.last.places, t.Known.open)
	}
	if !t.Pending {
		for _, p := range e.places {
			e.handled = max(e.handled, p.Offset+1)
		}
		for _, p := range t.Known.open {
			e.handled = max(e.handled, p.Offset+1)
		}
	}
	t.value = e.append(make([]byte, 0, 64+128*t.Emitted.Len()), &t.Emitted)
}

// settled notes a settlement in memory.
func (s *Store) settled(t *Settlement) {
	s.log.Release(t.Known.open)
	s.log.Release(t.rewritten)
	for _, l := range t.Links {
		s.linked.add(l)
	}
	s.open.looked(t.Trace, len(t.Known.open), t.At)
}

// Wait notes that a trace links to others, before they are looked at, so that what comes of them meanwhile wakes it.
func (s *Store) Wait(trace attribution.TraceID, links []attribution.TraceID) error {
	b := s.db.NewBatch()
	defer b.Close()
	s.mu.Lock()
	for _, l := range links {
		s.linked.add(l)
		_ = b.Set(append(traceKey(keyWaiting, l), trace[:]...), nil, nil)
	}
	s.mu.Unlock()
	return b.Commit(pebble.NoSync)
}

// LinkedTo is false when no trace links to this one.
func (s *Store) LinkedTo(trace attribution.TraceID) bool { return s.linkedTo(trace) }

// Expire forgets the facts of traces that settled last before a time, oldest first, about limit of them, or as many as take about so many bytes beside their facts. A
// trace that is forgotten stays known as such until its mark is as old as marks allows.
func (s *Store) Expire(before usage.Micros, limit int, size int64, now, marksBefore usage.Micros) (forgotten int, err error) {
	expired, traces, err := s.expired(before, limit)
	if err != nil {
		return 0, err
	}
	befores, err := s.Before(traces)
	if err != nil {
		return 0, err
	}
	b := s.db.NewIndexedBatch()
	defer b.Close()
	seen := make(map[attribution.TraceID]struct{}, len(traces))
	for i, trace := range traces {
		if size <= 0 && len(expired) > 0 && expired[0].from == i {
			break
		}
		for len(expired) > 0 && expired[0].from <= i {
			_ = b.Delete(expired[0].key, nil)
			expired = expired[1:]
		}
		if _, ok := seen[trace]; ok {
			continue
		}
		seen[trace] = struct{}{}
		last, _, err := befores[i].read(trace)
		if err != nil {
			return 0, fmt.Errorf("trace %s: %w", trace, err)
		}
		if befores[i].settled == nil || last.at.Hour() >= before.Hour() || s.pending(trace) {
			continue // it is forgotten already, settled again later, or is about to
		}
		if s.linkedTo(trace) {
			prefix := traceKey(keyWaiting, trace)
			_ = b.DeleteRange(prefix, after(prefix), nil)
		}
		if err := withdraw(b, last.notes); err != nil {
			return 0, err
		}
		_ = b.Delete(traceKey(keyEmitted, trace), nil)
		size -= int64(len(befores[i].settled)) + noteBytes*int64(len(last.notes))
		_ = b.Set(traceKey(keyForgot, trace), binary.AppendUvarint(binary.AppendVarint(nil, int64(now)), last.handled), nil)
		forgotten++
	}
	if err := s.expireMarks(b, marksBefore, limit); err != nil {
		return 0, err
	}
	return forgotten, b.Commit(pebble.NoSync)
}

// expiry is an entry of traces that settled in one hour; from is the first of them among all.
type expiry struct {
	key  []byte
	from int
}

// expired are entries of traces that settled before a time, at least once, until they hold about limit of them.
func (s *Store) expired(before usage.Micros, limit int) (entries []expiry, traces []attribution.TraceID, err error) {
	upper := binary.BigEndian.AppendUint64([]byte{keyExpiry}, uint64(max(0, before.Hour())))
	err = s.scanFrom([]byte{keyExpiry}, upper, func(key, value []byte) error {
		if len(traces) >= limit {
			return errStop
		}
		entries = append(entries, expiry{key: bytes.Clone(key), from: len(traces)})
		for ; len(value) >= 16; value = value[16:] {
			traces = append(traces, attribution.TraceID(value))
		}
		return nil
	})
	if errors.Is(err, errStop) {
		err = nil
	}
	return entries, traces, err
}

func (s *Store) pending(trace attribution.TraceID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, open := s.open.traces[trace]
	_, woken := s.woken[trace]
	return open || woken
}

// Drop gives the room of facts back: of those that belong to no trace any more, and when there are more than limit bytes, of the oldest
// settled ones. A trace whose facts are dropped is forgotten.
func (s *Store) Drop(now usage.Micros, limit int64) error {
	before := int64(now - s.retention - s.retention/2)
	for {
		ok, err := s.log.Drop(before)
		if !ok && err == nil && s.DiskBytes() > limit && s.log.Bytes() > limit/4 {
			ok, err = s.log.Drop(math.MaxInt64)
		}
		if !ok || err != nil {
			return err
		}
	}
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
	if !iter.First() || len(iter.Key()) != 17 {
		return 0, iter.Error()
	}
	return usage.Hour(binary.BigEndian.Uint64(iter.Key()[1:])).Start(), nil
}
