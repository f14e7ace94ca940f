package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// A group commit ends when it has this many events or bytes; one Append is never divided.
const (
	groupEvents = 50_000
	groupBytes  = 8 << 20
)

// encodedSize is what most events have at most, encoded; more makes the buffer of them grow.
const encodedSize = 256

// request is one Append on its way through the committer.
type request struct {
	items    []item
	encoded  []byte // of the items
	bytes    int
	refusals []refusal // what was refused before it was judged
	expire   bool      // in place of an Append: refuse the corrections that have waited too long

	result Result
	err    error
	done   chan struct{}
}

// item is one event that is valid, ready to be judged.
type item struct {
	event      *usage.Event // the caller's: change copies it
	ingestedAt usage.Micros
	digest     digest
	payload    usage.Payload
	encoded    []byte // as it stands in a chunk

	amends bool         // it counts only when its target is as it was
	seen   []usage.Line // see Amendment
}

// change gives the item an event of its own, with other contents than what was sent.
func (it *item) change(change func(*usage.Event)) {
	own := *it.event
	own.Lines = slices.Clone(own.Lines)
	change(&own)
	it.event = &own
	it.encoded = appendEvent(nil, it.event, it.ingestedAt)
}

// Append puts events, which must be normalized, into the ledger. After a nil error each is durable, known already, or named in the
// result's rejections, which are kept in refused/. After an error nothing may be assumed: send all of them again.
// refused are events that the caller refuses: they are kept in refused/ and returned among the rejections.
//
// The events are not kept. Once Append has begun to wait for the disk, the end of ctx doesn't end it.
func (l *Ledger) Append(ctx context.Context, events []usage.Event, refused ...usage.Rejection) (Result, error) {
	received := len(events) + len(refused)
	if received == 0 {
		return Result{}, nil
	}
	r, err := l.append(ctx, events, refused, nil)
	if err != nil {
		l.o.Observer.Failed(received)
		return Result{}, err
	}
	l.o.Observer.Appended(received, &r.result)
	return r.result, nil
}

// append has seen, the lines of each event's target, when the events are amendments.
func (l *Ledger) append(ctx context.Context, events []usage.Event, refused []usage.Rejection, seen [][]usage.Line) (*request, error) {
	if !l.enter() {
		return nil, ErrClosed
	}
	defer l.closed.Done()
	now := l.now()
	r := newRequest(len(events))
	defer r.release()
	for i := range refused {
		r.refuse(now, refused[i], nil)
	}
	for i := range events {
		if valid := r.prepare(now, &events[i]); valid && seen != nil {
			it := &r.items[len(r.items)-1]
			it.amends, it.seen = true, seen[i]
		}
	}
	select {
	case l.queue <- r:
	case <-ctx.Done():
		return nil, fmt.Errorf("nothing was taken, send again: %w", ctx.Err())
	}
	<-r.done
	return r, r.err
}

// requests keep their room from one Append to the next.
var requests = sync.Pool{New: func() any { return new(request) }}

const keptBytes = 4 << 20 // of a request that waits for its next use

func newRequest(events int) *request {
	kept := requests.Get().(*request)
	return &request{
		items: slices.Grow(kept.items[:0], events), encoded: slices.Grow(kept.encoded[:0], events*encodedSize), done: make(chan struct{}),
	}
}

// release gives back the room of a request that is done.
func (r *request) release() {
	if cap(r.encoded) <= keptBytes {
		clear(r.items)
		requests.Put(&request{items: r.items, encoded: r.encoded})
	}
	r.items, r.encoded = nil, nil
}

// enter registers an appender, unless the ledger is closing.
func (l *Ledger) enter() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isOver {
		return false
	}
	l.closed.Add(1)
	return true
}

// prepare adds an event to the request, or refuses it.
func (r *request) prepare(now usage.Micros, e *usage.Event) (valid bool) {
	if err := e.Validate(); err != nil {
		r.refuse(now, e.Rejection(err), e)
		return false
	}
	at := len(r.encoded)
	r.encoded = appendEvent(r.encoded, e, now)
	r.bytes += len(r.encoded) - at
	// Where the buffer grows, what was written before stays as it is in the one before it.
	r.items = append(r.items, item{event: e, ingestedAt: now, digest: digestOf(e.Key()), payload: e.Payload(), encoded: r.encoded[at:len(r.encoded):len(r.encoded)]})
	return true
}

// refuse adds a rejection to the result and to refused/. e is nil when there is no event to show.
func (r *request) refuse(now usage.Micros, rejection usage.Rejection, e *usage.Event) {
	r.result.Rejections = append(r.result.Rejections, rejection)
	r.refusals = append(r.refusals, newRefusal(now, rejection, e))
}

// commitLoop makes requests durable, all that wait with one fsync.
func (l *Ledger) commitLoop() {
	defer l.work.Done()
	for first := range l.queue {
		group := []*request{first}
		events, bytes := len(first.items), first.bytes
	collect:
		for events < groupEvents && bytes < groupBytes {
			select {
			case r, ok := <-l.queue:
				if !ok {
					break collect
				}
				group = append(group, r)
				events += len(r.items)
				bytes += r.bytes
			default:
				break collect
			}
		}
		err := l.commit(group, events, bytes)
		for _, r := range group {
			r.err = err
			close(r.done)
		}
	}
}

// commit judges a group and makes it durable. Its error is that of every request in it.
func (l *Ledger) commit(group []*request, events, bytes int) error {
	if _, err := l.revive(); err != nil {
		return err
	}
	return l.read(func(s *state) error { return l.commitTo(s, group, events, bytes) })
}

func (l *Ledger) commitTo(s *state, group []*request, events, bytes int) error {
	if err := l.checkRoom(s); err != nil {
		return err
	}
	if err := l.roomForIDs(s); err != nil {
		return fmt.Errorf("nothing was taken, send again: %w", err)
	}
	s.ids.committing.Lock()
	defer s.ids.committing.Unlock()
	g := newGroup(l, s, events, bytes)
	if err := g.fill(group); err != nil {
		return fmt.Errorf("nothing was taken, send again: %w", errors.Join(err, g.batch.Close()))
	}
	if g.batch.Empty() {
		return g.batch.Close()
	}
	start := time.Now()
	if err := s.store.commit(g.batch); err != nil {
		if l.o.sabotage == answerFailure {
			return nil
		}
		return err
	}
	l.o.Observer.Synced(time.Since(start))
	g.remember()
	s.witness.record(s.next)
	return nil
}

// checkRoom turns events away while there is room to make parts of those that are there.
func (l *Ledger) checkRoom(s *state) error {
	l.mu.Lock()
	open := s.openBytes
	l.mu.Unlock()
	if open >= l.o.MaxOpenBytes {
		return fmt.Errorf("%w: they have %d bytes, the limit is %d", ErrBusy, open, l.o.MaxOpenBytes)
	}
	if l.o.MinFreeBytes <= 0 {
		return nil
	}
	du, err := l.o.FS.GetDiskUsage(l.o.Directory)
	if err != nil {
		return nil //nolint:nilerr // a file system that can't say is not full: a write will tell
	}
	if du.AvailBytes < uint64(l.o.MinFreeBytes) {
		return fmt.Errorf("%w: %d bytes are free, %d are kept for parts", ErrDiskFull, du.AvailBytes, l.o.MinFreeBytes)
	}
	return nil
}
