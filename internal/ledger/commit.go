package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"go.uber.org/zap"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// A group commit ends when it has this many events or bytes; one Append is never divided.
const (
	groupEvents = 50_000
	groupBytes  = 8 << 20
)

// request is one Append on its way through the committer.
type request struct {
	items    []item
	bytes    int
	refusals []refusal // what was refused before it was judged
	expire   bool      // in place of an Append: refuse the corrections that have waited too long

	result Result
	err    error
	done   chan struct{}
}

// item is one event that is valid, ready to be judged.
type item struct {
	event   usage.Event
	digest  digest
	payload usage.Payload
	encoded []byte // as it stands in a chunk
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
	r, err := l.append(ctx, events, refused)
	if err != nil {
		l.o.Observer.Failed(received)
		return Result{}, err
	}
	l.o.Observer.Appended(received, &r.result)
	return r.result, nil
}

func (l *Ledger) append(ctx context.Context, events []usage.Event, refused []usage.Rejection) (*request, error) {
	if !l.enter() {
		return nil, ErrClosed
	}
	defer l.closed.Done()
	now := l.now()
	r := &request{items: make([]item, 0, len(events)), done: make(chan struct{})}
	for i := range refused {
		r.refuse(now, refused[i], nil)
	}
	for i := range events {
		r.prepare(now, &events[i])
	}
	select {
	case l.queue <- r:
	case <-ctx.Done():
		return nil, fmt.Errorf("nothing was taken, send again: %w", ctx.Err())
	}
	<-r.done
	return r, r.err
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

func (r *request) prepare(now usage.Micros, e *usage.Event) {
	if err := e.Validate(); err != nil {
		r.refuse(now, e.Rejection(err), e)
		return
	}
	it := item{event: *e, digest: digestOf(e.Key()), payload: e.Payload()}
	it.event.IngestedAt = now
	it.encoded = appendEvent(make([]byte, 0, 384), &it.event)
	r.bytes += len(it.encoded)
	r.items = append(r.items, it)
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
		err := l.commit(group)
		for _, r := range group {
			r.err = err
			close(r.done)
		}
	}
}

// commit judges a group and makes it durable. Its error is that of every request in it.
func (l *Ledger) commit(group []*request) error {
	s, err := l.revive()
	if err != nil {
		return err
	}
	if err := l.checkRoom(s); err != nil {
		return err
	}
	g := newGroup(l, s)
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

func (g *group) fill(requests []*request) error {
	for _, r := range requests {
		if err := g.judge(r); err != nil {
			return err
		}
	}
	return g.write()
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

// backoff spaces attempts to open the store again.
type backoff struct {
	next time.Time
	wait time.Duration
}

const (
	firstBackoff = 500 * time.Millisecond
	lastBackoff  = 30 * time.Second
)

// revive is the open state; when the store has failed it is opened again, at intervals that grow.
func (l *Ledger) revive() (*state, error) {
	l.mu.Lock()
	s := l.state
	l.mu.Unlock()
	if s != nil && s.store.failure() == nil {
		return s, nil
	}
	l.maintenance.Lock()
	defer l.maintenance.Unlock()
	l.readers.Lock()
	defer l.readers.Unlock()
	l.mu.Lock()
	s = l.state
	l.mu.Unlock()
	if s != nil && s.store.failure() == nil {
		return s, nil // the other one did it
	}
	if s != nil {
		l.o.Logger.Error("the ledger's store failed: what was acknowledged is on disk; it is opened again from there", zap.Error(s.store.failure()))
		l.setState(nil, s.store.failure())
		if err := s.close(); err != nil {
			l.o.Logger.Warn("close the failed store", zap.Error(err))
		}
	}
	now := l.o.Clock()
	if !l.o.Manual && now.Before(l.reopen.next) {
		return l.current()
	}
	s, err := l.openState()
	if err != nil {
		l.reopen.wait = min(max(2*l.reopen.wait, firstBackoff), lastBackoff)
		l.reopen.next = now.Add(l.reopen.wait)
		l.setState(nil, err)
		return nil, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	l.reopen = backoff{}
	l.setState(s, nil)
	l.o.Logger.Info("the ledger's store is open again")
	return s, nil
}

func (l *Ledger) setState(s *state, broken error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state, l.broken = s, broken
}

// group is what one commit brings.
type group struct {
	l     *Ledger
	s     *state
	now   usage.Micros
	batch *pebble.Batch

	ids      map[digest]*idChange
	hours    map[usage.Hour]*hourGroup
	order    []*hourGroup // as they came
	targets  map[digest]*target
	waiting  map[digest][]*waitingCorrection // by target, as far as they were looked at
	waits    int64                           // how many more wait than before
	refusals []refusal
}

// idChange is what the group makes of an id. accepted is nil when it waits or is forgotten again.
type idChange struct {
	known     known
	accepted  *item
	forgotten bool
}

// hourGroup is what the group brings for one hour.
type hourGroup struct {
	hour  *hour
	items []*item
	bytes int64
}

func newGroup(l *Ledger, s *state) *group {
	return &group{
		l: l, s: s, now: l.now(), batch: s.store.db.NewBatch(),
		ids: make(map[digest]*idChange), hours: make(map[usage.Hour]*hourGroup),
		targets: make(map[digest]*target), waiting: make(map[digest][]*waitingCorrection),
	}
}

// hourOf is the group's share of an hour.
func (g *group) hourOf(h usage.Hour) (*hourGroup, error) {
	hg := g.hours[h]
	if hg != nil {
		return hg, nil
	}
	g.l.mu.Lock()
	hour := g.s.hours[h]
	g.l.mu.Unlock()
	if hour == nil {
		var err error
		if hour, err = g.s.lookupHour(h); err != nil {
			return nil, err
		}
	}
	hg = &hourGroup{hour: hour}
	g.hours[h] = hg
	g.order = append(g.order, hg)
	return hg, nil
}

// write puts what the group brings into its batch.
func (g *group) write() error {
	next := g.s.next
	for _, hg := range g.order {
		if err := g.writeHour(hg, next); err != nil {
			return err
		}
		next += uint64(len(hg.items))
	}
	for d, c := range g.ids {
		var err error
		if c.forgotten {
			err = g.batch.Delete(digestKey(keyID, d), nil)
		} else {
			err = g.batch.Set(digestKey(keyID, d), c.known.append(nil), nil)
		}
		if err != nil {
			return err
		}
	}
	for d, t := range g.targets {
		if !t.changed {
			continue
		}
		if err := g.batch.Set(digestKey(keyTarget, d), t.append(nil), nil); err != nil {
			return err
		}
	}
	refused, err := g.writeRefusals()
	if err != nil {
		return err
	}
	if next > g.s.next {
		if err := setNumber(g.batch, metaNext, next); err != nil {
			return err
		}
	}
	if refused > g.s.refused {
		return setNumber(g.batch, metaRefused, refused)
	}
	return nil
}

func (g *group) writeHour(hg *hourGroup, first uint64) error {
	if len(hg.items) == 0 {
		return nil
	}
	chunk := appendChunkHeader(make([]byte, 0, hg.bytes+8), len(hg.items))
	for i, it := range hg.items {
		chunk = append(chunk, it.encoded...)
		g.ids[it.digest].known.Seq = first + uint64(i)
	}
	if err := g.batch.Set(hourSeqKey(keyChunk, hg.hour.Hour, first), chunk, nil); err != nil {
		return err
	}
	return setJSON(g.batch, hourKey(keyHour, hg.hour.Hour), hg.record(first))
}

func (hg *hourGroup) record(first uint64) hourRecord {
	r := hg.hour.hourRecord
	r.Events += int64(len(hg.items))
	r.Bytes += hg.bytes
	r.Last = first + uint64(len(hg.items))
	for i, it := range hg.items {
		if it.event.Kind != usage.KindUsage {
			r.Corrected = first + uint64(i)
		}
	}
	return r
}

// remember takes over what is durable now.
func (g *group) remember() {
	g.l.mu.Lock()
	defer g.l.mu.Unlock()
	s := g.s
	for _, hg := range g.order {
		if len(hg.items) == 0 {
			continue
		}
		// The maintainer may have forgotten an idle hour, or another one may have come in its place: it has the newer records.
		h := s.hours[hg.hour.Hour]
		if h == nil {
			h = hg.hour
			s.hours[h.Hour] = h
		}
		h.hourRecord = hg.record(s.next)
		s.next += uint64(len(hg.items))
		s.openEvents += int64(len(hg.items))
		s.openBytes += hg.bytes
	}
	s.waiting += g.waits
	s.refused += uint64(len(g.refusals))
}
