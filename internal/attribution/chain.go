package attribution

import (
	"encoding/binary"
	"slices"
	"strings"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// Chain writes events one after the other, each as what differs from the one before: those of one trace share most of what they say. A reader needs the whole chain.
// The zero value begins one. The form, version 1, of an event:
//
//	mask     uvarint: bit i is set when text i follows, else it is that of the event before; then the bits below
//	texts    each with its length, in the order of texts; the id without trace and span in front of it if maskDerivedID is set
//	times    ingestion, and how far the timestamp is after that of the event before, as varints
//	lines    their number, and for each its meter's place in chainMeters shifted by one, or 0 and its name; bit 0 is set when a unit of its own follows; its quantity
//	flags    their number and texts, if maskFlags is set; the same for dimensions
//
// An event with charges is written whole, as a text in the form of usage.Event.AppendBinary: attribution makes none.
type Chain struct{ last usage.Event }

const numEventTexts = 18

const (
	maskDerivedID = 1 << (numEventTexts + iota)
	maskFlags
	maskDimensions
	maskRunOfTrace // the run is the trace
	maskWhole
)

// chainMeters are written as numbers: one is never taken away, and new ones go to the end.
var chainMeters = [...]string{
	usage.MeterLLMRequests, usage.MeterTokensIn, usage.MeterTokensCacheRead, usage.MeterTokensCacheWrite, usage.MeterTokensOut, usage.MeterTokensReasoning,
	usage.MeterTokensInAudio, usage.MeterTokensOutAudio, usage.MeterTokensInImage, usage.MeterTokensOutImage, usage.MeterToolCalls, usage.MeterRetrievals,
	usage.MeterMemoryOps, usage.MeterAgentRuns, usage.MeterAgentSeconds,
}

// eventTexts has ids first, because the event's own id is made of them.
func eventTexts(e *usage.Event) [numEventTexts]*string {
	return [numEventTexts]*string{
		&e.TraceID, &e.SpanID, &e.ID, &e.RunID, (*string)(&e.Kind), &e.Corrects, &e.Customer, &e.UserID, &e.SessionID, &e.ConversationID, &e.Feature,
		&e.Step, &e.Agent, &e.Operation, &e.Provider, &e.Model, &e.Source, &e.Service,
	}
}

const (
	textOfID  = 2
	textOfRun = 3
)

// Append writes the next event.
func (c *Chain) Append(b []byte, e *usage.Event) []byte {
	if slices.ContainsFunc(e.Lines, func(l usage.Line) bool { return l.Cost != usage.Charge{} || l.Price != usage.Charge{} }) {
		b = binary.AppendUvarint(b, maskWhole)
		b = appendText(b, string(e.AppendBinary(nil)))
		c.last = *e
		return b
	}
	texts, before := eventTexts(e), eventTexts(&c.last)
	mask := uint64(0)
	for i, s := range texts {
		if *s != *before[i] {
			mask |= 1 << i
		}
	}
	id := e.ID
	if own, ok := derivedID(e); ok {
		id = own
		mask |= 1<<textOfID | maskDerivedID
	}
	if mask&(1<<textOfRun) != 0 && e.RunID == e.TraceID {
		mask = mask&^(1<<textOfRun) | maskRunOfTrace
	}
	if len(e.Flags) > 0 {
		mask |= maskFlags
	}
	if len(e.Dimensions) > 0 {
		mask |= maskDimensions
	}
	b = binary.AppendUvarint(b, mask)
	for i, s := range texts {
		switch {
		case mask&(1<<i) == 0:
		case i == textOfID:
			b = appendText(b, id)
		default:
			b = appendText(b, *s)
		}
	}
	b = binary.AppendVarint(b, int64(e.IngestedAt))
	b = binary.AppendVarint(b, int64(e.Timestamp-c.last.Timestamp))
	b = appendLines(b, e.Lines)
	if len(e.Flags) > 0 {
		b = binary.AppendUvarint(b, uint64(len(e.Flags)))
		for _, f := range e.Flags {
			b = appendText(b, f)
		}
	}
	if len(e.Dimensions) > 0 {
		b = binary.AppendUvarint(b, uint64(len(e.Dimensions)))
		for _, d := range e.Dimensions {
			b = appendText(b, d.Key)
			b = appendText(b, d.Value)
		}
	}
	c.last = *e
	return b
}

// derivedID is what follows trace and span in an event's id.
func derivedID(e *usage.Event) (own string, ok bool) {
	rest, ok := strings.CutPrefix(e.ID, e.TraceID)
	if ok {
		rest, ok = strings.CutPrefix(rest, "-")
	}
	if ok {
		rest, ok = strings.CutPrefix(rest, e.SpanID)
	}
	if ok {
		rest, ok = strings.CutPrefix(rest, "-")
	}
	return rest, ok && e.TraceID != "" && e.SpanID != ""
}

func appendLines(b []byte, lines []usage.Line) []byte {
	b = binary.AppendUvarint(b, uint64(len(lines)))
	for i := range lines {
		l := &lines[i]
		own := uint64(0)
		if l.Unit != usage.UnitOf(l.Meter) {
			own = 1
		}
		at := slices.Index(chainMeters[:], l.Meter) + 1
		b = binary.AppendUvarint(b, uint64(at)<<1|own)
		if at == 0 {
			b = appendText(b, l.Meter)
		}
		if own != 0 {
			b = appendText(b, l.Unit)
		}
		b = binary.AppendVarint(b, int64(l.Quantity))
	}
	return b
}

// read reads the next event; it shares memory with what r reads.
func (c *Chain) read(r *reader, e *usage.Event) {
	mask := r.uvarint()
	if mask >= maskWhole<<1 {
		r.fail()
		return
	}
	if mask&maskWhole != 0 {
		if rest, err := usage.DecodeBinary([]byte(r.text()), e); err != nil || len(rest) > 0 {
			r.fail()
		}
		c.last = *e
		return
	}
	*e = usage.Event{}
	before := eventTexts(&c.last)
	for i, s := range eventTexts(e) {
		if *s = *before[i]; mask&(1<<i) != 0 {
			*s = r.text()
		}
	}
	if mask&maskDerivedID != 0 {
		e.ID = usage.SpanEventID(e.TraceID, e.SpanID, e.ID)
	}
	if mask&maskRunOfTrace != 0 {
		e.RunID = e.TraceID
	}
	e.IngestedAt = usage.Micros(r.varint())
	e.Timestamp = c.last.Timestamp + usage.Micros(r.varint())
	e.Lines = readLines(r)
	if mask&maskFlags != 0 {
		if n := r.count(1); n > 0 {
			e.Flags = make([]string, n)
			for i := range e.Flags {
				e.Flags[i] = r.text()
			}
		}
	}
	if mask&maskDimensions != 0 {
		if n := r.count(2); n > 0 {
			e.Dimensions = make([]usage.Dimension, n)
			for i := range e.Dimensions {
				e.Dimensions[i] = usage.Dimension{Key: r.text(), Value: r.text()}
			}
		}
	}
	c.last = *e
}

func readLines(r *reader) (lines []usage.Line) {
	n := r.count(2)
	if n == 0 {
		return nil
	}
	lines = make([]usage.Line, n)
	for i := range lines {
		l := &lines[i]
		head := r.uvarint()
		switch at := head >> 1; {
		case at == 0:
			l.Meter = r.text()
		case at <= uint64(len(chainMeters)):
			l.Meter = chainMeters[at-1]
		default:
			r.fail()
		}
		l.Unit = usage.UnitOf(l.Meter)
		if head&1 != 0 {
			l.Unit = r.text()
		}
		l.Quantity = usage.Quantity(r.varint())
	}
	return lines
}

// Read reads the next event of what Append wrote and gives what follows it. The error wraps ErrCorrupt.
func (c *Chain) Read(s string, e *usage.Event) (rest string, err error) {
	r := reader{s: s}
	if c.read(&r, e); r.bad {
		return "", ErrCorrupt
	}
	return r.s, nil
}
