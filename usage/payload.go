package usage

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"
)

// Payload is a digest of what the sender said in an event: two events of one Key with equal payloads are the same
// event sent twice, with other payloads a conflict.
//
// It covers every column of events/ that comes from the sender. Costs, prices, rates, IngestedAt, Flags and Source take no part:
// they are ours, and change with the catalogue, the time and the route of a retry. So it can be computed from an Event
// that was read back from Parquet.
type Payload [16]byte

// payloadVersion is the first byte under the digest; it changes when the form below does.
const payloadVersion = 1

var payloadBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 512); return &b }}

// Payload is the digest of e, which must be normalized.
func (e *Event) Payload() Payload {
	buf := payloadBuffers.Get().(*[]byte)
	b := e.appendPayload((*buf)[:0])
	sum := sha256.Sum256(b)
	*buf = b
	payloadBuffers.Put(buf)
	return Payload(sum[:16])
}

// appendPayload writes the canonical form: a version byte, then every field in this order, strings and lists
// preceded by their length, so that no two events have one form.
func (e *Event) appendPayload(b []byte) []byte {
	b = append(b, payloadVersion)
	for _, s := range [...]string{
		e.ID, string(e.Kind), e.Corrects, e.Customer, e.UserID, e.SessionID, e.ConversationID, e.Feature, e.Step,
		e.Agent, e.TraceID, e.SpanID, e.RunID, e.Operation, e.Provider, e.Model, e.Service,
	} {
		b = appendString(b, s)
	}
	b = binary.AppendVarint(b, int64(e.Timestamp))
	lines := e.Lines
	if e.Kind == KindRetraction {
		lines = nil // a retraction is of all that its target has, whether the sender wrote it out or not
	}
	b = binary.AppendUvarint(b, uint64(len(lines)))
	for i := range lines {
		l := &lines[i]
		b = appendString(b, l.Meter)
		b = appendString(b, l.Unit)
		b = binary.AppendVarint(b, int64(l.Quantity))
	}
	b = binary.AppendUvarint(b, uint64(len(e.Dimensions)))
	for _, d := range e.Dimensions {
		b = appendString(b, d.Key)
		b = appendString(b, d.Value)
	}
	return b
}

func appendString(b []byte, s string) []byte {
	if len(s) < 0x80 { // as AppendUvarint does it, in line
		return append(append(b, byte(len(s))), s...)
	}
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}
