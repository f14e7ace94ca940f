package tracestore

import (
	"github.com/usagebox/otelcol-usagebox/internal/attribution"
	"github.com/usagebox/otelcol-usagebox/internal/factlog"
	"github.com/usagebox/otelcol-usagebox/internal/slab"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// openTraces says where facts lie that no settlement has looked at. There may be millions.
type openTraces struct {
	traces map[attribution.TraceID]openTrace
	links  slab.Slab[placeLink]
}

// openTrace is a chain of places, in the order of their arrival.
type openTrace struct {
	first      usage.Micros // arrival
	head, tail uint32       // of links
	count      uint32
}

type placeLink struct {
	offset uint64
	length uint32
	next   uint32 // of links; 0: none
}

func newOpenTraces() openTraces {
	return openTraces{traces: map[attribution.TraceID]openTrace{}}
}

// add notes facts of a trace; at is when they came.
func (o *openTraces) add(trace attribution.TraceID, p factlog.Place, at usage.Micros) {
	n := o.links.New()
	*o.links.At(n) = placeLink{offset: p.Offset, length: p.Length}
	t, ok := o.traces[trace]
	if ok {
		o.links.At(t.tail).next = n
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
		l := o.links.At(n)
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
	emptied := false
	for ; count > 0 && t.count > 0; count-- {
		n := t.head
		t.head = o.links.At(n).next
		emptied = o.links.Free(n)
		t.count--
	}
	switch {
	case emptied:
		o.traces = map[attribution.TraceID]openTrace{}
	case t.count == 0:
		delete(o.traces, trace)
	default:
		t.first = at
		o.traces[trace] = t
	}
}
