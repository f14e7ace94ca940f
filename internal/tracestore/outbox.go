package tracestore

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/usagebox/otelcol-usagebox/internal/attribution"
	"github.com/usagebox/otelcol-usagebox/usage"
)

const (
	entryEvents = 256    // of traces in one entry of the outbox, about
	queueEvents = 32_768 // of entries that are in memory, too
)

// outbox is what of the outbox is in memory: entries after the last one that is on disk alone, in their order, each of them durable.
type outbox struct {
	from  uint64 // no entry that is on disk alone lies before it; of the goroutine that emits
	disk  uint64 // the last entry that is on disk alone; 0: none
	queue []Outgoing
	held  int // events in queue
}

// Outgoing is events that are about to be emitted for a trace.
type Outgoing struct {
	seq    uint64 // of its entry
	others int    // traces in the entry beside it, when it was read
	Trace  attribution.TraceID
	Events []Event
}

// Event is one of them; Start is the time at which its span began.
type Event struct {
	usage.Event
	Start usage.Micros
}

// add puts what is durable behind all else.
func (o *outbox) add(out []Outgoing) {
	if len(out) == 0 {
		return
	}
	o.queue = append(o.queue, out...)
	for i := range out {
		o.held += len(out[i].Events)
	}
	if o.held > queueEvents {
		o.disk, o.queue, o.held = out[len(out)-1].seq, nil, 0
	}
}

// Outbox gives the oldest traces that hold about limit events, without those to pass over. It and Emit are for one goroutine.
func (s *Store) Outbox(limit int, passOver map[attribution.TraceID]struct{}) (out []Outgoing, err error) {
	n := 0
	take := func(o *Outgoing) (more bool) {
		if _, ok := passOver[o.Trace]; !ok {
			n += len(o.Events)
			out = append(out, *o)
		}
		return n < limit
	}
	s.mu.Lock()
	disk := s.outbox.disk
	s.mu.Unlock()
	if s.outbox.from <= disk {
		first := true
		err := s.scanFrom(outboxKey(s.outbox.from), outboxKey(disk+1), func(key, value []byte) error {
			entry, err := decodeEntry(key, value)
			if err != nil {
				return err
			}
			if first {
				first, s.outbox.from = false, entry[0].seq
			}
			for i := range entry {
				if !take(&entry[i]) {
					return errStop
				}
			}
			return nil
		})
		if errors.Is(err, errStop) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		if first {
			s.outbox.from = disk + 1
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.outbox.disk != disk {
		return out, nil // what was in memory is on disk alone
	}
	if len(s.outbox.queue) > 0 && s.outbox.from > disk {
		s.outbox.from = s.outbox.queue[0].seq
	}
	for i := range s.outbox.queue {
		if !take(&s.outbox.queue[i]) {
			break
		}
	}
	return out, nil
}

// Emit forgets what the pipeline has taken, which Outbox gave.
func (s *Store) Emit(out []Outgoing) error {
	b := s.db.NewBatch()
	defer b.Close()
	for rest := out; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].seq == rest[0].seq {
			n++
		}
		if err := s.shorten(b, rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	if err := b.Commit(pebble.NoSync); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outbox.remove(out)
	return nil
}

// shorten takes traces out of their entry.
func (s *Store) shorten(b *pebble.Batch, taken []Outgoing) error {
	key := outboxKey(taken[0].seq)
	if taken[0].others+1 == len(taken) {
		return b.Delete(key, nil)
	}
	value, closer, err := s.db.Get(key)
	if err != nil {
		return fmt.Errorf("outbox: %w", err)
	}
	entry, err := decodeEntry(key, value)
	if err = errors.Join(err, closer.Close()); err != nil {
		return err
	}
	gone := make(map[attribution.TraceID]struct{}, len(taken))
	for i := range taken {
		gone[taken[i].Trace] = struct{}{}
	}
	var left []byte
	var c attribution.Chain
	for i := range entry {
		if _, ok := gone[entry[i].Trace]; !ok {
			left = entry[i].append(left, &c)
		}
	}
	if len(left) == 0 {
		return b.Delete(key, nil)
	}
	return b.Set(key, left, nil)
}

// remove takes out of memory what was emitted: out is in the order of the queue.
func (o *outbox) remove(out []Outgoing) {
	var kept []Outgoing
	i := 0
	for ; i < len(o.queue) && len(out) > 0; i++ {
		q := &o.queue[i]
		for len(out) > 0 && out[0].seq < q.seq {
			out = out[1:] // it was on disk alone
		}
		if len(out) > 0 && out[0].seq == q.seq && out[0].Trace == q.Trace {
			o.held -= len(q.Events)
			out = out[1:]
		} else {
			kept = append(kept, *q)
		}
	}
	clear(o.queue[:i])
	if o.queue = o.queue[i:]; len(kept) > 0 {
		o.queue = append(kept, o.queue...)
	}
}

// restoreOutbox finds what the last run left in the outbox.
func (s *Store) restoreOutbox() error {
	iter, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{keyOutbox}, UpperBound: []byte{keyOutbox + 1}})
	if err != nil {
		return err
	}
	if iter.Last() && len(iter.Key()) == 9 {
		s.outbox.disk = binary.BigEndian.Uint64(iter.Key()[1:])
	}
	return errors.Join(iter.Error(), iter.Close())
}

// outgoing adds what settlements mean to emit to a batch, some traces to an entry.
func (s *Store) outgoing(b *pebble.Batch, settlements []*Settlement) (all []Outgoing) {
	var entry []byte
	var c attribution.Chain
	first, events := 0, 0
	end := func() {
		if first == len(all) {
			return
		}
		seq := s.sequence()
		for i := range all[first:] {
			all[first+i].seq, all[first+i].others = seq, len(all)-first-1
		}
		_ = b.Set(outboxKey(seq), entry, nil)
		entry, c, first, events = entry[:0], attribution.Chain{}, len(all), 0
	}
	for _, t := range settlements {
		if len(t.Events) == 0 {
			continue
		}
		all = append(all, Outgoing{Trace: t.Trace, Events: t.Events})
		entry = all[len(all)-1].append(entry, &c)
		if events += len(t.Events); events >= entryEvents {
			end()
		}
	}
	end()
	return all
}

// append writes a trace of an entry: its id, the number of its events, and for each how long its span took and the event, in a chain through the entry.
func (o *Outgoing) append(b []byte, c *attribution.Chain) []byte {
	b = append(b, o.Trace[:]...)
	b = binary.AppendUvarint(b, uint64(len(o.Events)))
	for i := range o.Events {
		e := &o.Events[i]
		b = binary.AppendVarint(b, int64(e.Timestamp-e.Start))
		b = c.Append(b, &e.Event)
	}
	return b
}

func decodeEntry(key, value []byte) (entry []Outgoing, err error) {
	bad := fmt.Errorf("outbox: %w", attribution.ErrCorrupt)
	if len(key) != 9 || len(value) == 0 {
		return nil, bad
	}
	seq := binary.BigEndian.Uint64(key[1:])
	var c attribution.Chain
	for s := string(value); s != ""; {
		o := Outgoing{seq: seq}
		if len(s) < len(o.Trace) {
			return nil, bad
		}
		copy(o.Trace[:], s)
		s = s[len(o.Trace):]
		count, n := binary.Uvarint([]byte(s[:min(len(s), binary.MaxVarintLen64)]))
		if n <= 0 || count > uint64(len(s)) {
			return nil, bad
		}
		s = s[n:]
		o.Events = make([]Event, count)
		for i := range o.Events {
			e := &o.Events[i]
			took, n := binary.Varint([]byte(s[:min(len(s), binary.MaxVarintLen64)]))
			if n <= 0 {
				return nil, bad
			}
			if s, err = c.Read(s[n:], &e.Event); err != nil {
				return nil, bad
			}
			e.Start = e.Timestamp - usage.Micros(took)
		}
		entry = append(entry, o)
	}
	for i := range entry {
		entry[i].others = len(entry) - 1
	}
	return entry, nil
}

func outboxKey(seq uint64) []byte { return binary.BigEndian.AppendUint64([]byte{keyOutbox}, seq) }
