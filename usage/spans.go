package usage

import (
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// SpanEventID is the id of the event that a span makes: a function of the span and of what is counted (a meter's
// name) alone, so that a span that is sent again makes the same event.
func SpanEventID(traceID, spanID, counts string) string {
	return traceID + "-" + spanID + "-" + counts
}

// EncodeSpan marks s as counted: it gets e's ids, the time from start to e's timestamp, and e itself in attributes.
// Its customer and service belong on the resource: see EncodeSpanResource.
func EncodeSpan(e *Event, start Micros, s ptrace.Span) {
	s.SetTraceID(traceID(e.TraceID))
	s.SetSpanID(spanID(e.SpanID))
	s.SetStartTimestamp(pcommon.Timestamp(start * 1000))
	s.SetEndTimestamp(pcommon.Timestamp(e.Timestamp * 1000))
	name := e.Operation
	if e.Model != "" {
		name += " " + e.Model
	}
	s.SetName(name)
	putAttributes(e, s.Attributes())
	s.Attributes().PutInt(AttributeTimestamp, int64(e.Timestamp))
}

// EncodeSpanResource puts what EncodeSpan leaves to the resource.
func EncodeSpanResource(e *Event, resource pcommon.Resource) {
	putResource(e.Customer, e.Service, resource.Attributes())
}

// DecodeSpan reads the event of a counted span, normalized. The error is ErrNotUsage for a span that is not marked,
// or says which attribute can't be read.
func DecodeSpan(resource pcommon.Resource, s ptrace.Span) (Event, error) {
	e := Event{
		Timestamp: Micros(s.EndTimestamp() / 1000),
		TraceID:   hexTraceID(s.TraceID()),
		SpanID:    hexSpanID(s.SpanID()),
	}
	if v, ok := s.Attributes().Get(AttributeTimestamp); ok && v.Type() == pcommon.ValueTypeInt {
		e.Timestamp = Micros(v.Int())
	}
	err := readAttributes(&e, resource.Attributes(), s.Attributes())
	return e, err
}

// MoveSpan makes r the log record of the event that DecodeSpan read from s. The attributes of s move to it; the event's customer and service belong on its
// resource.
func MoveSpan(e *Event, s ptrace.Span, r plog.LogRecord) {
	putRecord(e, r)
	r.SetTraceID(s.TraceID())
	r.SetSpanID(s.SpanID())
	s.Attributes().MoveTo(r.Attributes())
	r.Attributes().Remove(AttributeTimestamp)
}
