package tracestore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/usagebox/otelcol-usagebox/internal/attribution"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// noteBytes is the length of a note's key: the kind of key, topic, sub, end, trace, span.
const noteBytes = 1 + 16 + 8 + 8 + 16 + 8

func noteKey(n *attribution.Note) []byte {
	key := append(make([]byte, 0, noteBytes), keyNote)
	key = append(key, n.Topic[:]...)
	key = binary.BigEndian.AppendUint64(key, n.Sub)
	key = binary.BigEndian.AppendUint64(key, uint64(n.End)^1<<63)
	key = append(key, n.Trace[:]...)
	return append(key, n.Span[:]...)
}

func noteValue(n *attribution.Note) []byte {
	return append(binary.AppendVarint([]byte{byte(n.Kind)}, int64(n.Start)), n.Value...)
}

func decodeNote(key, value []byte) (n attribution.Note, ok bool) {
	if len(key) != noteBytes || len(value) < 2 {
		return n, false
	}
	copy(n.Topic[:], key[1:])
	n.Sub = binary.BigEndian.Uint64(key[17:])
	n.End = usage.Micros(binary.BigEndian.Uint64(key[25:]) ^ 1<<63)
	copy(n.Trace[:], key[33:])
	copy(n.Span[:], key[49:])
	n.Kind = attribution.NoteKind(value[0])
	start, size := binary.Varint(value[1:])
	n.Start, n.Value = usage.Micros(start), bytes.Clone(value[1+max(0, size):])
	return n, size > 0
}

func topicKey(kind byte, t attribution.Topic) []byte { return append([]byte{kind}, t[:]...) }

func subKey(t attribution.Topic, sub uint64) []byte {
	return binary.BigEndian.AppendUint64(topicKey(keyNote, t), sub)
}

// alone says whether all notes of a topic are of one sub. It is one look that most often finds nothing. The value is that sub; or, when there are several, in
// a byte how many notes of forgotten traces there are.
func alone(v pebble.Reader, t attribution.Topic, sub uint64) (bool, error) {
	value, closer, err := v.Get(topicKey(keyTopic, t))
	if errors.Is(err, pebble.ErrNotFound) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer closer.Close()
	return len(value) == 8 && binary.BigEndian.Uint64(value) == sub, nil
}

// maxFound is how many notes are read of one topic and time.
const maxFound = 256

// calls are the notes of a topic, all subs, that lie in a time at least in part.
func calls(v pebble.Reader, t attribution.Topic, from, to usage.Micros, but attribution.TraceID) (found []attribution.Note, err error) {
	lower := topicKey(keyNote, t)
	iter, err := v.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: after(lower)})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, iter.Close()) }()
	for ok := iter.First(); ok && len(found) < maxFound; {
		sub := binary.BigEndian.Uint64(iter.Key()[17:])
		seek := binary.BigEndian.AppendUint64(subKey(t, sub), uint64(from)^1<<63)
		started := 0
		for ok = iter.SeekGE(seek); ok && binary.BigEndian.Uint64(iter.Key()[17:]) == sub && len(found) < maxFound; ok = iter.Next() {
			n, whole := decodeNote(iter.Key(), iter.Value())
			if !whole || n.Trace == but {
				continue
			}
			if n.Start <= to {
				found = append(found, n)
			} else if started++; started > maxFound {
				break
			}
		}
		if sub == 1<<64-1 {
			break
		}
		ok = iter.SeekGE(subKey(t, sub+1))
	}
	return found, iter.Error()
}

// claims are the values of a conversation's notes, one of each sub, but for those of one trace.
func claims(v pebble.Reader, t attribution.Topic, but attribution.TraceID) (values [][]byte, ok bool, err error) {
	lower := topicKey(keyNote, t)
	iter, err := v.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: after(lower)})
	if err != nil {
		return nil, false, err
	}
	defer func() { err = errors.Join(err, iter.Close()) }()
	for more := iter.First(); more; {
		n, whole := decodeNote(iter.Key(), iter.Value())
		if whole && n.Trace == but {
			more = iter.Next()
			continue
		}
		if len(values) == attribution.MaxClaims {
			return nil, false, iter.Error()
		}
		if whole {
			values = append(values, n.Value)
		}
		if n.Sub == 1<<64-1 {
			break
		}
		more = iter.SeekGE(subKey(t, n.Sub+1))
	}
	return values, true, iter.Error()
}

// noteRef is what a settlement remembers of a note.
type noteRef struct {
	attribution.Note // without its value
	digest           uint64
}

func (e *settled) appendNotes(b []byte) []byte {
	counted := e.counted.AppendBinary(nil)
	if e.shown == 0 && len(e.notes) == 0 && len(counted) == 0 {
		return b
	}
	b = binary.LittleEndian.AppendUint64(b, e.shown)
	b = binary.AppendUvarint(b, uint64(len(e.notes)))
	for i := range e.notes {
		n := &e.notes[i]
		b = append(b, byte(n.Kind))
		b = append(b, n.Topic[:]...)
		b = binary.LittleEndian.AppendUint64(b, n.Sub)
		b = binary.AppendVarint(b, int64(n.Start))
		b = binary.AppendVarint(b, int64(n.End-n.Start))
		b = append(b, n.Span[:]...)
		b = binary.LittleEndian.AppendUint64(b, n.digest)
	}
	return append(b, counted...)
}

func (e *settled) readNotes(b []byte, trace attribution.TraceID) (err error) {
	if len(b) == 0 {
		return nil
	}
	const least = 1 + 16 + 8 + 1 + 1 + 8 + 8
	if len(b) < 9 {
		return attribution.ErrCorrupt
	}
	e.shown, b = binary.LittleEndian.Uint64(b), b[8:]
	count, size := binary.Uvarint(b)
	if size <= 0 || count > uint64(len(b)/least) {
		return attribution.ErrCorrupt
	}
	b = b[size:]
	e.notes = make([]noteRef, count)
	for i := range e.notes {
		n := &e.notes[i]
		if len(b) < least {
			return attribution.ErrCorrupt
		}
		n.Trace, n.Kind = trace, attribution.NoteKind(b[0])
		copy(n.Topic[:], b[1:])
		n.Sub = binary.LittleEndian.Uint64(b[17:])
		b = b[25:]
		start, s1 := binary.Varint(b)
		long, s2 := binary.Varint(b[max(0, s1):])
		if s1 <= 0 || s2 <= 0 || len(b) < s1+s2+16 {
			return attribution.ErrCorrupt
		}
		n.Start, n.End = usage.Micros(start), usage.Micros(start+long)
		b = b[s1+s2:]
		copy(n.Span[:], b)
		n.digest, b = binary.LittleEndian.Uint64(b[8:]), b[16:]
	}
	e.counted, err = attribution.DecodeTally(b)
	return err
}

// remember is the references to notes.
func remember(notes []attribution.Note) []noteRef {
	refs := make([]noteRef, len(notes))
	for i := range notes {
		refs[i] = noteRef{notes[i], notes[i].Digest()}
		refs[i].Value = nil
	}
	return refs
}

// post replaces a trace's notes, and adds to Wake the traces whose decision that may change. Notes are in their order, before and after. news is the
// conversations of which traces of the same round say something new.
func post(b *pebble.Batch, known *topics, t *Settlement, news map[attribution.Topic]bool) error {
	before, now := t.Known.last.notes, remember(t.Notes)
	for i, k := 0, 0; i < len(before) || k < len(now); {
		order := -1
		if i == len(before) {
			order = 1
		} else if k < len(now) {
			order = before[i].Compare(&now[k].Note)
		}
		var err error
		switch {
		case order < 0:
			err = t.take(b, &before[i].Note, news)
			i++
		case order > 0:
			err = t.put(b, known, &t.Notes[k], news)
			k++
		default:
			if before[i].digest != now[k].digest {
				err = errors.Join(t.take(b, &before[i].Note, news), t.put(b, known, &t.Notes[k], news))
			}
			i, k = i+1, k+1
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *Settlement) take(b *pebble.Batch, n *attribution.Note, news map[attribution.Topic]bool) error {
	value, err := valueOf(b, noteKey(n))
	if err != nil || value == nil {
		return err
	}
	if whole, ok := decodeNote(noteKey(n), value); ok {
		if err := t.stir(b, &whole, news); err != nil {
			return err
		}
	}
	return b.Delete(noteKey(n), nil)
}

func (t *Settlement) put(b *pebble.Batch, known *topics, n *attribution.Note, news map[attribution.Topic]bool) error {
	if n.Kind == attribution.NoteConversation && news[n.Topic] {
		t.Wake = append(t.Wake, t.Trace) // it was decided before they were told
	}
	var about []byte
	if known.may(n.Topic) {
		var err error
		if about, err = valueOf(b, topicKey(keyTopic, n.Topic)); err != nil {
			return err
		}
	}
	if err := b.Set(noteKey(n), noteValue(n), nil); err != nil {
		return err
	}
	if about == nil { // nobody told of it before
		news[n.Topic] = attribution.News(n, nil, true)
		known.put(n.Topic)
		return b.Set(topicKey(keyTopic, n.Topic), binary.BigEndian.AppendUint64(nil, n.Sub), nil)
	}
	if len(about) == 8 && binary.BigEndian.Uint64(about) != n.Sub {
		if err := b.Set(topicKey(keyTopic, n.Topic), []byte{0}, nil); err != nil {
			return err
		}
	}
	return t.stir(b, n, news)
}

// stir finds the traces that a note which comes or goes may concern.
func (t *Settlement) stir(b *pebble.Batch, n *attribution.Note, news map[attribution.Topic]bool) error {
	if only, err := alone(b, n.Topic, n.Sub); only || err != nil {
		return err
	}
	if n.Kind == attribution.NoteConversation {
		return t.stirConversation(b, n, news)
	}
	var failed error
	for _, m := range attribution.Affected(n, func(from, to usage.Micros) []attribution.Note {
		found, err := calls(b, n.Topic, from, to, attribution.TraceID{})
		failed = errors.Join(failed, err)
		return found
	}) {
		if m.Trace != t.Trace || m.Span != n.Span {
			t.Wake = append(t.Wake, m.Trace, t.Trace)
		}
	}
	return failed
}

// stirConversation lets all of a conversation be looked at again, if something else is known of it with the note than without.
func (t *Settlement) stirConversation(b *pebble.Batch, n *attribution.Note, news map[attribution.Topic]bool) error {
	others, ok, err := claims(b, n.Topic, n.Trace)
	if err != nil || !attribution.News(n, others, ok) {
		return err
	}
	news[n.Topic] = true
	return b.Set(topicKey(keyStirred, n.Topic), nil, nil)
}

// WakeConversations gives traces of conversations of which something new is said, at most limit. They stay to be looked at until they are.
func (s *Store) WakeConversations(limit int, now usage.Micros) (woken []attribution.TraceID, err error) {
	b := s.db.NewBatch()
	defer b.Close()
	err = s.scan([]byte{keyStirred}, func(key, cursor []byte) error {
		if len(key) != 17 || len(woken) >= limit {
			return nil
		}
		lower := append(topicKey(keyNote, attribution.Topic(key[1:])), cursor...)
		upper := after(topicKey(keyNote, attribution.Topic(key[1:])))
		var last []byte
		err := s.scanFrom(lower, upper, func(k, _ []byte) error {
			if len(k) == noteBytes && !bytes.Equal(k[17:], cursor) {
				if trace := attribution.TraceID(k[33:49]); trace != (attribution.TraceID{}) {
					woken = append(woken, trace)
				}
			}
			if len(woken) >= limit {
				last = bytes.Clone(k[17:])
				return errStop
			}
			return nil
		})
		if last == nil {
			_ = b.Delete(bytes.Clone(key), nil)
		} else {
			_ = b.Set(bytes.Clone(key), last, nil)
		}
		if errors.Is(err, errStop) {
			return nil
		}
		return err
	})
	if err != nil || b.Empty() {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range woken {
		_ = b.Set(traceKey(keyPending, w), binary.AppendVarint(nil, int64(now)), nil)
	}
	if err := b.Commit(pebble.NoSync); err != nil {
		return nil, err
	}
	for _, w := range woken {
		s.woken[w] = struct{}{}
	}
	return woken, nil
}

// withdraw removes the notes of a trace that is forgotten. What it said of a conversation stays while others are in it.
func withdraw(b *pebble.Batch, notes []noteRef) error {
	for i := range notes {
		if err := withdrawNote(b, &notes[i].Note); err != nil {
			return fmt.Errorf("notes of trace %s: %w", notes[i].Trace, err)
		}
	}
	return nil
}

func withdrawNote(b *pebble.Batch, n *attribution.Note) error {
	value, err := valueOf(b, noteKey(n))
	if err != nil || value == nil {
		return err
	}
	_ = b.Delete(noteKey(n), nil)
	lives, err := anyNote(b, topicKey(keyNote, n.Topic), true)
	if err != nil {
		return err
	}
	if !lives {
		_ = b.Delete(topicKey(keyTopic, n.Topic), nil)
		_ = b.Delete(topicKey(keyStirred, n.Topic), nil)
		if n.Kind == attribution.NoteConversation {
			_ = b.DeleteRange(topicKey(keyNote, n.Topic), after(topicKey(keyNote, n.Topic)), nil)
		}
		return nil
	}
	if n.Kind != attribution.NoteConversation {
		return nil
	}
	same, err := anyNote(b, subKey(n.Topic, n.Sub), false)
	if err != nil || same {
		return err
	}
	about, err := valueOf(b, topicKey(keyTopic, n.Topic))
	if err != nil || len(about) != 1 || about[0] >= attribution.MaxClaims {
		return err
	}
	left := *n
	left.Trace = attribution.TraceID{}
	_ = b.Set(topicKey(keyTopic, n.Topic), []byte{about[0] + 1}, nil)
	return b.Set(noteKey(&left), value, nil)
}

// valueOf is nil for a key that isn't there.
func valueOf(b *pebble.Batch, key []byte) ([]byte, error) {
	value, closer, err := b.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return append([]byte{}, value...), closer.Close()
}

// anyNote says whether there is a note with a prefix; known: of a trace that is not forgotten.
func anyNote(b *pebble.Batch, prefix []byte, known bool) (found bool, err error) {
	iter, err := b.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, iter.Close()) }()
	for ok := iter.First(); ok && !found; ok = iter.Next() {
		k := iter.Key()
		found = !known || len(k) == noteBytes && attribution.TraceID(k[33:49]) != attribution.TraceID{}
	}
	return found, iter.Error()
}

var errStop = errors.New("enough")

func sortedTraces(traces []attribution.TraceID) []attribution.TraceID {
	slices.SortFunc(traces, func(a, b attribution.TraceID) int { return bytes.Compare(a[:], b[:]) })
	return slices.Compact(traces)
}
