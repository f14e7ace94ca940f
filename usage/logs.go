package usage

import (
	"encoding/hex"
	"errors"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
)

// EventName is the event name of the log records that carry usage events.
const EventName = "usagebox.usage"

// EncodeLogs puts events into log records, one each, in their order but grouped by customer and service: these
// two are on the resource. The events are not changed; strings are shared with them.
func EncodeLogs(events []Event) plog.Logs {
	g := NewGroups()
	for i := range events {
		EncodeRecord(&events[i], g.Records(&events[i]).AppendEmpty())
	}
	return g.Logs
}

// Groups are log records that are grouped by the customer and the service of their events.
type Groups struct {
	plog.Logs
	byName  map[group]plog.LogRecordSlice
	last    group
	records plog.LogRecordSlice // of last
}

type group struct{ customer, service string }

// NewGroups is none.
func NewGroups() *Groups {
	return &Groups{Logs: plog.NewLogs(), byName: map[group]plog.LogRecordSlice{}}
}

// Records is where a record of an event belongs.
func (g *Groups) Records(e *Event) plog.LogRecordSlice {
	of := group{e.Customer, e.Service}
	if len(g.byName) > 0 && of == g.last {
		return g.records
	}
	records, ok := g.byName[of]
	if !ok {
		rl := g.ResourceLogs().AppendEmpty()
		putResource(of.customer, of.service, rl.Resource().Attributes())
		records = rl.ScopeLogs().AppendEmpty().LogRecords()
		g.byName[of] = records
	}
	g.last, g.records = of, records
	return records
}

// EncodeRecord puts e into a log record. Its customer and service are not on the record but belong on the resource.
func EncodeRecord(e *Event, r plog.LogRecord) {
	putRecord(e, r)
	r.SetTraceID(traceID(e.TraceID))
	r.SetSpanID(spanID(e.SpanID))
	putAttributes(e, r.Attributes())
}

func putRecord(e *Event, r plog.LogRecord) {
	r.SetEventName(EventName)
	r.SetTimestamp(pcommon.Timestamp(e.Timestamp * 1000))
	r.SetObservedTimestamp(pcommon.Timestamp(e.IngestedAt * 1000))
}

// EncodeCharges puts e's lines and flags into a log record that holds all else of e already.
func EncodeCharges(e *Event, r plog.LogRecord) {
	m := r.Attributes()
	if len(e.Flags) == 0 {
		m.Remove(AttributeFlags)
	}
	putFlags(e, m)
	if lines, ok := m.Get(AttributeLines); !ok || !chargeLines(e, lines) {
		putLines(e, m)
	}
}

// DecodeRecord reads what EncodeRecord wrote into e, normalized. The error is ErrNotUsage for a record of something else,
// or says which attribute can't be read. Strings are shared with the record; e's lists are written over, and keep their room.
func DecodeRecord(resource pcommon.Resource, r plog.LogRecord, e *Event) error {
	*e = Event{
		Lines: e.Lines[:0], Flags: e.Flags[:0], Dimensions: e.Dimensions[:0],
		Timestamp:  Micros(r.Timestamp() / 1000),
		IngestedAt: Micros(r.ObservedTimestamp() / 1000),
		TraceID:    hexTraceID(r.TraceID()),
		SpanID:     hexSpanID(r.SpanID()),
	}
	return readAttributes(e, resource.Attributes(), r.Attributes())
}

// DecodeLogs reads all usage events in ld. foreign counts the records of something else, without refusals. Records that carry an event that can't be
// read are named in a *RejectedError, beside the events that can.
func DecodeLogs(ld plog.Logs) (events []Event, foreign int, err error) {
	return DecodeLogsInto(nil, ld)
}

// DecodeLogsInto is DecodeLogs into the room of events that nobody reads any more, their lists' included.
func DecodeLogsInto(room []Event, ld plog.Logs) (events []Event, foreign int, err error) {
	events = room[:0]
	if count := ld.LogRecordCount(); cap(events) < count {
		events = make([]Event, count)
		lines := make([]Line, count) // one for each, which many have
		for i := range events {
			events[i].Lines = lines[i : i : i+1]
		}
		events = events[:0]
	}
	var rejected RejectedError
	for _, rl := range ld.ResourceLogs().All() {
		for _, sl := range rl.ScopeLogs().All() {
			for _, r := range sl.LogRecords().All() {
				n := len(events)
				events = events[:n+1]
				e := &events[n]
				switch err := DecodeRecord(rl.Resource(), r, e); {
				case IsRefusal(r):
				case errors.Is(err, ErrNotUsage):
					foreign++
				case err != nil:
					rejected.Rejections = append(rejected.Rejections, e.Rejection(err))
				default:
					continue
				}
				events = events[:n]
			}
		}
	}
	if len(rejected.Rejections) > 0 {
		return events, foreign, &rejected
	}
	return events, foreign, nil
}

func traceID(s string) (id pcommon.TraceID) {
	if len(s) == hex.EncodedLen(len(id)) {
		_, _ = hex.Decode(id[:], []byte(s))
	}
	return id
}

func spanID(s string) (id pcommon.SpanID) {
	if len(s) == hex.EncodedLen(len(id)) {
		_, _ = hex.Decode(id[:], []byte(s))
	}
	return id
}

func hexTraceID(id pcommon.TraceID) string {
	if id.IsEmpty() {
		return ""
	}
	return hex.EncodeToString(id[:])
}

func hexSpanID(id pcommon.SpanID) string {
	if id.IsEmpty() {
		return ""
	}
	return hex.EncodeToString(id[:])
}
