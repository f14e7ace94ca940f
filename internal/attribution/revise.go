package attribution

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// Emitted is what a trace's events were so far: what the pipeline was told, corrections included. Its zero value is nothing.
type Emitted struct{ list []emission }

// emission is one counted thing.
type emission struct {
	base       string      // the id of its first event
	live       usage.Event // what is in effect; its lines are all that the live event has, also those corrected to zero
	members    []SpanID
	generation int // corrections, retractions and replacements so far
	retracted  bool
}

// Len is the number of counted things.
func (e *Emitted) Len() int { return len(e.list) }

// Revise gives the events that lead from what was emitted to what is planned, and the state after them. Nothing that was emitted is
// changed: a thing that belongs to another customer, feature and so on, has other flags or a meter that it lacked is retracted and told anew under
// an id made from the first; other numbers are corrected by differences. All of it lies in the hour of the first event. The same input gives the same ids.
func Revise(emitted Emitted, planned []Planned) (out []usage.Event, next Emitted) {
	if len(emitted.list) == 0 && ascending(planned) { // most traces settle once
		return first(planned)
	}
	next.list = slices.Clone(emitted.list)
	at := map[place]int{} // who stands for a span's count
	byBase := map[string]int{}
	for i := range next.list {
		e := &next.list[i]
		byBase[e.base] = i
		if !e.retracted {
			for _, m := range e.members {
				at[place{m, countOf(e.base)}] = i
			}
		}
	}
	wanted := make(map[int]bool, len(planned))
	var others, fresh []*Planned
	for i := range planned {
		p := &planned[i]
		k, ok := byBase[p.Event.ID]
		if !ok || wanted[k] || next.list[k].retracted {
			others = append(others, p)
			continue
		}
		wanted[k] = true
		out = next.list[k].revise(p, out)
	}
	for _, p := range others {
		k, ok := match(p, at, next.list, wanted)
		if !ok {
			fresh = append(fresh, p)
			continue
		}
		wanted[k] = true
		out = next.list[k].revise(p, out)
	}
	for i := range emitted.list {
		if e := &next.list[i]; !wanted[i] && !e.retracted {
			out = append(out, e.retract())
		}
	}
	for _, p := range fresh {
		if i, ok := byBase[p.Event.ID]; ok { // it was taken back, and is there again
			out = append(out, next.list[i].replace(p))
			continue
		}
		e := emission{base: p.Event.ID, live: p.Event, members: p.Members}
		byBase[e.base] = len(next.list)
		next.list = append(next.list, e)
		out = append(out, p.Event)
	}
	return out, next
}

// ascending says whether ids go up, so that no two are the same.
func ascending(planned []Planned) bool {
	for i := 1; i < len(planned); i++ {
		if planned[i-1].Event.ID >= planned[i].Event.ID {
			return false
		}
	}
	return true
}

// first is what Revise gives when nothing was emitted.
func first(planned []Planned) (out []usage.Event, next Emitted) {
	if len(planned) == 0 {
		return nil, next
	}
	out = make([]usage.Event, len(planned))
	next.list = make([]emission, len(planned))
	for i := range planned {
		p := &planned[i]
		out[i] = p.Event
		next.list[i] = emission{base: p.Event.ID, live: p.Event, members: p.Members}
	}
	return out, next
}

type place struct {
	span   SpanID
	counts string
}

// countOf is what an event id counts: the end of what SpanEventID makes.
func countOf(id string) string { return id[strings.LastIndexByte(id, '-')+1:] }

// match is what was emitted for one of the spans of p and is for nothing else that is planned.
func match(p *Planned, at map[place]int, list []emission, wanted map[int]bool) (int, bool) {
	best, found := 0, false
	for _, m := range p.Members {
		k, ok := at[place{m, countOf(p.Event.ID)}]
		if ok && !wanted[k] && (!found || list[k].base < list[best].base) {
			best, found = k, true
		}
	}
	return best, found
}

// revise leads from what is in effect to what is planned.
func (e *emission) revise(p *Planned, out []usage.Event) []usage.Event {
	want := p.Event
	for _, m := range p.Members {
		if !slices.Contains(e.members, m) {
			e.members = append(slices.Clip(e.members), m)
		}
	}
	want.Timestamp, want.TraceID, want.SpanID, want.Service = e.live.Timestamp, e.live.TraceID, e.live.SpanID, e.live.Service
	replace := !sameDimensions(&want, &e.live) || !slices.Equal(want.Flags, e.live.Flags)
	for _, l := range want.Lines {
		replace = replace || e.live.Line(l.Meter) == nil
	}
	if replace {
		out = append(out, e.retract())
		return append(out, e.replace(p))
	}
	if lines := difference(want.Lines, e.live.Lines); len(lines) > 0 {
		out = append(out, e.correct(want, lines))
	}
	for _, l := range e.live.Lines { // keep what the live event has, to know what can be corrected
		if want.Line(l.Meter) == nil {
			l.Quantity = 0
			want.Lines = append(slices.Clip(want.Lines), l)
		}
	}
	want.ID, want.Kind = e.live.ID, usage.KindUsage
	want.Normalize()
	e.live = want
	return out
}

func (e *emission) correct(as usage.Event, lines []usage.Line) usage.Event {
	e.generation++
	as.Dimensions = withContext(as.Dimensions, as.Lines)
	as.Kind, as.Corrects, as.ID, as.Lines = usage.KindCorrection, e.live.ID, fmt.Sprintf("%s~c%d", e.base, e.generation), lines
	as.Normalize()
	return as
}

// withContext adds what a model call was given in all to the dimensions of a correction, unless they have it.
func withContext(dimensions []usage.Dimension, lines []usage.Line) []usage.Dimension {
	var given usage.Quantity
	for _, l := range lines {
		if usage.GivenTokens(l.Meter) {
			given += l.Quantity
		}
	}
	if given == 0 || len(dimensions) == usage.MaxDimensions || slices.ContainsFunc(dimensions, func(d usage.Dimension) bool { return d.Key == usage.DimensionContext }) {
		return dimensions
	}
	return append(slices.Clip(dimensions), usage.Dimension{Key: usage.DimensionContext, Value: given.String()})
}

// retract takes the live event away.
func (e *emission) retract() usage.Event {
	e.generation++
	e.retracted = true
	r := e.live
	r.Kind, r.Corrects, r.ID, r.Lines = usage.KindRetraction, e.live.ID, fmt.Sprintf("%s~r%d", e.base, e.generation), nil
	return r
}

// replace tells the thing anew under an id made from the first.
func (e *emission) replace(p *Planned) usage.Event {
	e.generation++
	e.retracted = false
	at := e.live.Timestamp
	e.live = p.Event
	e.live.ID, e.live.Timestamp = fmt.Sprintf("%s~%d", e.base, e.generation), at
	for _, m := range p.Members {
		if !slices.Contains(e.members, m) {
			e.members = append(slices.Clip(e.members), m)
		}
	}
	return e.live
}

func sameDimensions(a, b *usage.Event) bool {
	x, y := *a, *b
	for _, e := range [...]*usage.Event{&x, &y} {
		e.ID, e.Kind, e.Corrects, e.Lines, e.IngestedAt = "", "", "", nil, 0
	}
	return x.Payload() == y.Payload()
}

// difference is what must be added to have to get want.
func difference(want, have []usage.Line) (lines []usage.Line) {
	for _, l := range want {
		for _, h := range have {
			if h.Meter == l.Meter {
				l.Quantity -= h.Quantity
			}
		}
		if l.Quantity != 0 {
			lines = append(lines, l)
		}
	}
	for _, h := range have {
		if h.Quantity != 0 && !slices.ContainsFunc(want, func(l usage.Line) bool { return l.Meter == h.Meter }) {
			h.Quantity = -h.Quantity
			lines = append(lines, h)
		}
	}
	return lines
}

const emittedVersion = 2

// AppendBinary writes e; DecodeEmitted gives it back exactly. The form is a version byte and the number of counted things; for each its first id, empty when it is
// the live event's; generation, whether it is retracted, members; the live event, in a Chain over all of them.
func (e *Emitted) AppendBinary(b []byte) []byte {
	b = append(b, emittedVersion)
	b = binary.AppendUvarint(b, uint64(len(e.list)))
	var c Chain
	for i := range e.list {
		m := &e.list[i]
		if m.base == m.live.ID {
			b = appendText(b, "")
		} else {
			b = appendText(b, m.base)
		}
		b = binary.AppendUvarint(b, uint64(m.generation))
		var retracted byte
		if m.retracted {
			retracted = 1
		}
		b = append(b, retracted)
		b = binary.AppendUvarint(b, uint64(len(m.members)))
		for _, s := range m.members {
			b = append(b, s[:]...)
		}
		b = c.Append(b, &m.live)
	}
	return b
}

// DecodeEmitted reads what AppendBinary wrote and gives what follows it. The error wraps ErrCorrupt. Nothing in e shares memory with b.
func DecodeEmitted(b []byte) (e Emitted, rest []byte, err error) {
	if len(b) == 0 || b[0] != emittedVersion {
		return e, nil, fmt.Errorf("%w: what was emitted is not of version %d", ErrCorrupt, emittedVersion)
	}
	r := reader{s: string(b[1:])}
	var c Chain
	for range r.count(8) {
		m := emission{base: r.text(), generation: int(r.uvarint()), retracted: r.byte() != 0}
		if n := r.count(8); n > 0 {
			m.members = make([]SpanID, n)
			for i := range m.members {
				copy(m.members[i][:], r.bytes(8))
			}
		}
		if c.read(&r, &m.live); r.bad {
			break
		}
		if m.base == "" {
			m.base = m.live.ID
		}
		e.list = append(e.list, m)
	}
	if r.bad {
		return Emitted{}, nil, fmt.Errorf("%w: what was emitted ends too early", ErrCorrupt)
	}
	return e, b[len(b)-len(r.s):], nil
}
