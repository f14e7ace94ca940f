package tracestore

import (
	"github.com/usagebox/otelcol-usagebox/internal/attribution"
	"github.com/usagebox/otelcol-usagebox/internal/factlog"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// openTraces says where facts lie that no settlement has looked at. There may be millions: nothing in it is a pointer, so that a collection of garbage does not
// take longer with each of them.
type openTraces struct {
	traces map[attribution.TraceID]openTrace
	chunks [][]placeLink // slot n is chunks[n/chunkPlaces][n%chunkPlaces]
	used   slot          // slots that were ever used
	free   slot          // the first of a chain of free ones
}

// openTrace is a chain of places, in the order of their arrival.
type openTrace struct {
	first      usage.Micros // arrival
	head, tail slot
	count      uint32
}

// slot is the number of a placeLink; 0 is none.
type slot uint32

type placeLink struct {
	offset uint64
	length uint32
	next   slot
}

const (
	chunkPlaces = 1 << 13
	keptChunks  = 16 // when no trace is open
)

func newOpenTraces() openTraces {
	return openTraces{traces: map[attribution.TraceID]openTrace{}}
}

func (o *openTraces) link(n slot) *placeLink { return &o.chunks[n/chunkPlaces][n%chunkPlaces] }

// add notes facts of a trace; at is when they came.
func (o *openTraces) add(trace attribution.TraceID, p factlog.Place, at usage.Micros) {
	n := o.free
	if n > 0 {
		o.free = o.link(n).next
	} else {
		o.used++
		n = o.used
		if int(n/chunkPlaces) == len(o.chunks) {
			o.chunks = append(o.chunks, make([]placeLink, chunkPlaces))
		}
	}
	*o.link(n) = placeLink{offset: p.Offset, length: p.Length}
	t, ok := o.traces[trace]
	if ok {
		o.link(t.tail).next = n
	} else {
		t.first, t.head = at, n
	}
	t.tail = n
	t.count++
	o.traces[trace] = t
}

// places are where facts of a trace lie; nil: there are none.
func (o *openTraces) places(trace attribution.TraceID) (places []factlog.Place) {
	t, ok := o.traces[trace]
	if !ok {
		return nil
	}
	places = make([]factlog.Place, 0, t.count)
	for n := t.head; n > 0; {
		l := o.link(n)
		places = append(places, factlog.Place{Offset: l.offset, Length: l.length})
		n = l.next
	}
	return places
}

// looked removes the first places of a trace, which a settlement at a time has looked at.
func (o *openTraces) looked(trace attribution.TraceID, count int, at usage.Micros) {
	t, ok := o.traces[trace]
	if !ok {
		return
	}
	for ; count > 0 && t.count > 0; count-- {
		n := t.head
		l := o.link(n)
		t.head, l.next, o.free = l.next, o.free, n
		t.count--
	}
	if t.count == 0 {
		delete(o.traces, trace)
		if len(o.traces) == 0 && len(o.chunks) > keptChunks {
			*o = newOpenTraces() // what many traces took is given back
		}
		return
	}
	t.first = at
	o.traces[trace] = t
}
