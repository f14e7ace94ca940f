package usage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"unsafe"
)

// The form of an event in stores, version 1: a version byte; the strings of stringFields in their order; the times as
// varints; lines, flags and dimensions, each list preceded by its length. A string is its length as a uvarint and its bytes. A
// line is meter, unit, quantity (varint), then cost and price: each a rate, and when the rate is not empty an amount
// (varint) and a currency.
const binaryVersion = 1

// ErrCorrupt says that bytes are not what AppendBinary writes.
var ErrCorrupt = errors.New("corrupt usage event")

func (e *Event) stringFields() [18]*string {
	return [18]*string{
		&e.ID, (*string)(&e.Kind), &e.Corrects, &e.Customer, &e.UserID, &e.SessionID, &e.ConversationID, &e.Feature, &e.Step,
		&e.Agent, &e.TraceID, &e.SpanID, &e.RunID, &e.Operation, &e.Provider, &e.Model, &e.Source, &e.Service,
	}
}

// AppendBinary writes e; DecodeBinary gives it back exactly.
func (e *Event) AppendBinary(b []byte) []byte { return e.AppendBinaryOf(b, e.IngestedAt) }

// AppendBinaryOf writes e as it is with another IngestedAt.
func (e *Event) AppendBinaryOf(b []byte, ingestedAt Micros) []byte {
	b = append(b, binaryVersion)
	for _, s := range e.stringFields() {
		b = appendString(b, *s)
	}
	b = binary.AppendVarint(b, int64(e.Timestamp))
	b = binary.AppendVarint(b, int64(ingestedAt))
	b = binary.AppendUvarint(b, uint64(len(e.Lines)))
	for i := range e.Lines {
		l := &e.Lines[i]
		b = appendString(b, l.Meter)
		b = appendString(b, l.Unit)
		b = binary.AppendVarint(b, int64(l.Quantity))
		b = appendCharge(b, l.Cost)
		b = appendCharge(b, l.Price)
	}
	b = binary.AppendUvarint(b, uint64(len(e.Flags)))
	for _, f := range e.Flags {
		b = appendString(b, f)
	}
	b = binary.AppendUvarint(b, uint64(len(e.Dimensions)))
	for _, d := range e.Dimensions {
		b = appendString(b, d.Key)
		b = appendString(b, d.Value)
	}
	return b
}

func appendCharge(b []byte, c Charge) []byte {
	b = appendString(b, c.Rate)
	if c.Known() {
		b = binary.AppendVarint(b, int64(c.Amount))
		b = appendString(b, c.Currency)
	}
	return b
}

// DecodeBinary reads one event from the start of b into e and gives what follows it. The error wraps ErrCorrupt. Nothing in e
// shares memory with b.
func DecodeBinary(b []byte, e *Event) (rest []byte, err error) {
	*e = Event{}
	return decodeBinary(reader{b: b}, e)
}

// DecodeBinaryShared is DecodeBinary without copies: e's strings are places in b, which nobody may change as long as they are used, and e's lists, which are
// written over, keep their room.
func DecodeBinaryShared(b []byte, e *Event) (rest []byte, err error) {
	*e = Event{Lines: e.Lines[:0], Flags: e.Flags[:0], Dimensions: e.Dimensions[:0]}
	return decodeBinary(reader{b: b, shared: true}, e)
}

func decodeBinary(r reader, e *Event) (rest []byte, err error) {
	b := r.b
	if len(b) == 0 {
		return nil, fmt.Errorf("%w: no bytes", ErrCorrupt)
	}
	if b[0] != binaryVersion {
		return nil, fmt.Errorf("%w: version %d, this program reads %d", ErrCorrupt, b[0], binaryVersion)
	}
	r.b = b[1:]
	for _, s := range e.stringFields() {
		*s = r.string()
	}
	e.Timestamp = Micros(r.varint())
	e.IngestedAt = Micros(r.varint())
	if n := r.count(); n > 0 {
		e.Lines = slices.Grow(e.Lines, n)[:n]
		for i := range e.Lines {
			l := &e.Lines[i]
			l.Meter = r.string()
			l.Unit = r.string()
			l.Quantity = Quantity(r.varint())
			l.Cost = r.charge()
			l.Price = r.charge()
		}
	}
	if n := r.count(); n > 0 {
		e.Flags = slices.Grow(e.Flags, n)[:n]
		for i := range e.Flags {
			e.Flags[i] = r.string()
		}
	}
	if n := r.count(); n > 0 {
		e.Dimensions = slices.Grow(e.Dimensions, n)[:n]
		for i := range e.Dimensions {
			e.Dimensions[i] = Dimension{r.string(), r.string()}
		}
	}
	if r.bad {
		return nil, fmt.Errorf("%w: ends too early", ErrCorrupt)
	}
	return r.b, nil
}

// reader reads until the first thing that is not there; from then on it gives zeros.
type reader struct {
	b      []byte
	bad    bool
	shared bool
}

func (r *reader) uvarint() uint64 {
	if len(r.b) > 0 && r.b[0] < 0x80 { // most are lengths of short strings
		v := r.b[0]
		r.b = r.b[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count reads the length of a list whose entries take at least a byte each, so that a corrupt one can't ask for much memory.
func (r *reader) count() int {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.fail()
		return 0
	}
	return int(n)
}

func (r *reader) string() string {
	n := r.count()
	if n == 0 {
		return ""
	}
	text := r.b[:n]
	r.b = r.b[n:]
	if r.shared {
		return unsafe.String(&text[0], n)
	}
	return string(text)
}

func (r *reader) charge() Charge {
	c := Charge{Rate: r.string()}
	if c.Known() {
		c.Amount = Amount(r.varint())
		c.Currency = r.string()
	}
	return c
}

func (r *reader) fail() {
	r.b, r.bad = nil, true
}
