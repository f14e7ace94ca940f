package attributionprocessor

import (
	"maps"
	"sync"
	"time"

	"github.com/usagebox/otelcol-usagebox/internal/attribution"
	"github.com/usagebox/otelcol-usagebox/internal/tracestore"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// openTraceBytes is about what an open trace takes in memory, with where its facts lie and with what the collector of garbage leaves for later.
const openTraceBytes = 400

// openTrace is a trace with facts that no settlement has looked at.
type openTrace struct {
	id          attribution.TraceID
	first, last usage.Micros // arrivals
	due         usage.Micros // when to look at it
	slot        uint32       // where it lies
	at          int32        // in the order of due
	version     uint32       // arrivals, to see whether one came meanwhile
	inflight    int32        // arrivals that are being made durable
	again       bool         // it settled before
}

// openTraces are the traces to settle, soonest first.
type openTraces struct {
	grace, idle, wait usage.Micros
	max               int

	mu    sync.Mutex                     // guards what follows
	byID  map[attribution.TraceID]uint32 // slots of queue
	queue dueQueue
	// heavy traces are not looked at before a time, so that one that grows for ever costs a bounded share of the processor: a look reads all of it.
	heavy map[attribution.TraceID]usage.Micros
}

const (
	heavySpans   = 1000
	heavyPause   = 1000 // microseconds per span between two looks
	heavyCleanup = 1024
)

func newOpenTraces(c *Config) *openTraces {
	return &openTraces{
		grace: usage.Micros(c.Settle.Grace.Microseconds()), idle: usage.Micros(c.Settle.Idle.Microseconds()), wait: usage.Micros(c.Settle.MaxWait.Microseconds()),
		max: int(c.MemoryLimit / openTraceBytes), byID: map[attribution.TraceID]uint32{}, heavy: map[attribution.TraceID]usage.Micros{},
	}
}

func (o *openTraces) restore(id attribution.TraceID, first, now usage.Micros) {
	t := openTrace{id: id, first: first, last: now, due: now + o.grace}
	if first == 0 { // nothing of it came: it is only to be looked at again
		t.last, t.due, t.again = now-o.idle, now, true
	}
	o.add(t)
}

func (o *openTraces) add(t openTrace) *openTrace {
	n := o.queue.push(t)
	o.byID[t.id] = n
	return o.queue.trace(n)
}

// get is nil for a trace that isn't open. What it gives stays where it is until the trace is closed.
func (o *openTraces) get(id attribution.TraceID) *openTrace {
	n, ok := o.byID[id]
	if !ok {
		return nil
	}
	return o.queue.trace(n)
}

func (o *openTraces) close(t *openTrace) {
	o.queue.take(t)
	delete(o.byID, t.id)
	if o.queue.release(t) {
		o.byID, o.queue = map[attribution.TraceID]uint32{}, dueQueue{}
	}
}

// begin says that facts are about to be made durable.
func (o *openTraces) begin(arrivals []tracestore.Arrival, now usage.Micros) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range arrivals {
		t := o.get(arrivals[i].Trace)
		if t == nil {
			t = o.add(openTrace{id: arrivals[i].Trace, first: now, last: now, due: now + o.grace})
		}
		t.version++
		t.inflight++
	}
}

func (o *openTraces) end(arrivals []tracestore.Arrival, now usage.Micros, kept bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range arrivals {
		t := o.get(arrivals[i].Trace)
		t.inflight--
		if !kept {
			continue
		}
		t.last = max(t.last, now)
		o.schedule(t, min(t.last+o.grace, t.first+o.wait))
	}
}

// wake looks again at traces because of what another one told.
func (o *openTraces) wake(ids []attribution.TraceID, now usage.Micros) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, id := range ids {
		if o.get(id) == nil { // else it will be looked at
			o.add(openTrace{id: id, first: now - o.wait, last: now - o.idle, due: now, again: true})
		}
	}
}

// crowded says that there are more open traces than memory is for.
func (o *openTraces) crowded() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.byID) > o.max
}

// pressed says how long ago the trace was due that is due first, and whether there are half as many open traces as memory is for.
func (o *openTraces) pressed(now usage.Micros) (overdue time.Duration, crowded bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if t := o.queue.first(); t != nil {
		overdue = max(0, time.Duration(now-t.due)*time.Microsecond)
	}
	return overdue, len(o.byID) > o.max/2
}

func (o *openTraces) schedule(t *openTrace, due usage.Micros) {
	t.due = max(due, o.heavy[t.id])
	o.queue.fix(t)
}

// due gives traces to look at, at most n, with the version that they are looked at in. Beyond the limit of memory the next ones settle early.
func (o *openTraces) due(now usage.Micros, n int) (looks []look) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var popped []*openTrace
	for len(looks) < n {
		t := o.queue.first()
		excess := len(o.byID) > o.max
		if t == nil || t.due > now && !excess {
			break
		}
		o.queue.take(t)
		popped = append(popped, t)
		if t.inflight > 0 && t.version == uint32(t.inflight) {
			t.due = now + o.grace // nothing of it is durable yet
			continue
		}
		looks = append(looks, look{trace: t.id, version: t.version, reason: o.reason(t, now, excess), again: t.again})
		t.due = now + o.grace
	}
	for _, t := range popped {
		o.queue.put(t)
	}
	return looks
}

// look is a trace that is being looked at.
type look struct {
	trace   attribution.TraceID
	version uint32
	reason  string // why it settles even if it is incomplete; empty: it doesn't
	again   bool
}

func (o *openTraces) reason(t *openTrace, now usage.Micros, excess bool) string {
	switch {
	case t.again && t.first <= now-o.wait && t.version == 0:
		return "again"
	case now >= t.first+o.wait:
		return "max_wait"
	case now >= t.last+o.idle:
		return "idle"
	case excess && t.due > now:
		return "memory"
	}
	return ""
}

// weigh notes the size of a trace that was looked at.
func (o *openTraces) weigh(id attribution.TraceID, spans int, now usage.Micros) {
	if spans < heavySpans {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.heavy[id] = now + min(o.wait, heavyPause*usage.Micros(spans))
	if len(o.heavy) > heavyCleanup {
		maps.DeleteFunc(o.heavy, func(_ attribution.TraceID, until usage.Micros) bool { return until < now })
	}
}

// postpone leaves an incomplete trace until it was quiet for long enough.
func (o *openTraces) postpone(id attribution.TraceID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if t := o.get(id); t != nil && t.inflight == 0 {
		o.schedule(t, min(t.last+o.idle, t.first+o.wait))
	}
}

// pending says of which looks facts came, or are on their way, since they began. Those that begin after this lie behind all that was looked at, so that a
// settlement does not hide them.
func (o *openTraces) pending(looks []look) []bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	pending := make([]bool, len(looks))
	for i, l := range looks {
		t := o.get(l.trace)
		pending[i] = t == nil || t.version != l.version || t.inflight > 0
	}
	return pending
}

// settled closes the traces of a round, except those of which facts came meanwhile.
func (o *openTraces) settled(looks []look, pending []bool, now usage.Micros) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i, l := range looks {
		t := o.get(l.trace)
		switch {
		case t == nil:
		case pending[i] || t.version != l.version || t.inflight > 0:
			t.first, t.again = now, true
			o.schedule(t, now+o.grace)
		default:
			o.close(t)
		}
	}
}

func (o *openTraces) size() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.byID)
}

// looked is how many traces are looked at under the lock at once for a metric.
const looked = 10_000

// oldest is when the first fact of a trace came that is open longest; 0: none is.
func (o *openTraces) oldest() (oldest usage.Micros) {
	for slot := uint32(1); slot != 0; {
		o.mu.Lock()
		var first usage.Micros
		first, slot = o.queue.oldest(slot, looked)
		o.mu.Unlock()
		if first != 0 && (oldest == 0 || first < oldest) {
			oldest = first
		}
	}
	return oldest
}
