package usage

import (
	"slices"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
)

// RefusalName is the event name of the log records that carry refusals.
const RefusalName = "usagebox.refused"

// A refusal travels as a log record of its own, without AttributeVersion, so that nothing takes it for an event:
//
//	usagebox.refused.reason   string  one of the Reason constants
//	usagebox.refused.detail   string  for people
//
// and what is known of the event, under the names that an event's attributes have.
const (
	AttributeRefusedReason = attributePrefix + "refused.reason"
	AttributeRefusedDetail = attributePrefix + "refused.detail"
)

// Refusal is something that came and was not counted, on its way to the ledger's refused/. Who sent it was told, or can't be.
type Refusal struct {
	Event  Event  // as far as it could be read; it need not be valid
	Reason string // one of the Reason constants
	Detail string // for people: what is wrong with which value
}

// RefusedNumbers is a refusal for each event of a span that reports numbers which can't be counts.
func RefusedNumbers(events []Event) (refusals []Refusal) {
	for i := range events {
		e := &events[i]
		if e.Kind != KindUsage || !slices.Contains(e.Flags, FlagRefusedNumbers) {
			continue
		}
		refused := ""
		for _, d := range e.Dimensions {
			if d.Key == DimensionRefused {
				refused = d.Value
			}
		}
		refusals = append(refusals, Refusal{Event: *e, Reason: ReasonInvalidQuantity, Detail: "not a count of tokens: " + refused + "; what else the span says was counted"})
	}
	return refusals
}

// EncodeRefusals adds a log record for each refusal.
func EncodeRefusals(refusals []Refusal, ld plog.Logs) {
	if len(refusals) == 0 {
		return
	}
	records := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords()
	records.EnsureCapacity(len(refusals))
	for i := range refusals {
		f, r := &refusals[i], records.AppendEmpty()
		r.SetEventName(RefusalName)
		r.SetTimestamp(pcommon.Timestamp(f.Event.Timestamp * 1000))
		r.SetTraceID(traceID(f.Event.TraceID))
		r.SetSpanID(spanID(f.Event.SpanID))
		m := r.Attributes()
		putAttributes(&f.Event, m)
		m.Remove(AttributeVersion)
		if f.Event.Customer != "" {
			m.PutStr(AttributeCustomer, f.Event.Customer)
		}
		if f.Event.Service != "" {
			m.PutStr(attributeService, f.Event.Service)
		}
		m.PutStr(AttributeRefusedReason, f.Reason)
		m.PutStr(AttributeRefusedDetail, f.Detail)
	}
}

// IsRefusal says whether a log record carries a refusal.
func IsRefusal(r plog.LogRecord) bool { return r.EventName() == RefusalName }

// DecodeRefusals reads all refusals in ld. What can't be read of one is left out.
func DecodeRefusals(ld plog.Logs) (refusals []Refusal) {
	for _, rl := range ld.ResourceLogs().All() {
		for _, sl := range rl.ScopeLogs().All() {
			for _, r := range sl.LogRecords().All() {
				if IsRefusal(r) {
					refusals = append(refusals, decodeRefusal(r))
				}
			}
		}
	}
	return refusals
}

func decodeRefusal(r plog.LogRecord) Refusal {
	f := Refusal{Event: Event{
		Timestamp: Micros(r.Timestamp() / 1000),
		TraceID:   hexTraceID(r.TraceID()),
		SpanID:    hexSpanID(r.SpanID()),
	}}
	for key, value := range r.Attributes().All() {
		switch key {
		case AttributeRefusedReason:
			f.Reason = value.AsString()
		case AttributeRefusedDetail:
			f.Detail = value.AsString()
		case attributeService:
			f.Event.Service = value.AsString()
		default:
			_ = readAttribute(&f.Event, key, value) // what can't be read of an event that is refused anyway
		}
	}
	if f.Reason == "" {
		f.Reason = ReasonInvalidEvent
	}
	return f
}
