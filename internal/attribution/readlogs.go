package attribution

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"slices"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/usagebox/otelcol-usagebox/internal/decimal"
	"github.com/usagebox/otelcol-usagebox/usage"
)

const (
	maxEventName   = 128
	maxDurationMS  = 7 * 24 * 3_600_000
	maxHashedValue = 4096
)

// ReadLogs turns the log records that a dialect of logs knows into facts; others give none. A record's span id is made from its content, so that
// one that is sent again is the same; without a trace id it is a trace of its own. In a trace it is a child of the span that it names: so a
// call that is on a span and on a record too is found like any other double. received is when they came.
func (r *Reader) ReadLogs(ld plog.Logs, received usage.Micros) (facts []Fact) {
	a := r.scratch.Get().(*attributes)
	defer r.scratch.Put(a)
	for _, rl := range ld.ResourceLogs().All() {
		resource, service := r.resource(a, rl.Resource())
		for _, sl := range rl.ScopeLogs().All() {
			rules := r.scope(sl.Scope().Name())
			if len(rules.logs) == 0 {
				continue
			}
			for _, l := range sl.LogRecords().All() {
				f := Fact{Resource: resource, Service: service, Emitter: sl.Scope().Name() + " (log)", Traits: TraitLog}
				a.fill(r, l.Attributes())
				ok := r.log(a, rules, l, &f)
				a.clear()
				if !ok {
					continue
				}
				f.place(rl.Resource(), sl.Scope().Name(), l)
				r.reach(LimitClock, f.clamp(received, r.maxAhead))
				facts = append(facts, f)
			}
		}
	}
	return facts
}

func (r *Reader) log(a *attributes, rules *scopeRules, l plog.LogRecord, f *Fact) bool {
	var d *dialect
	var name string
	for _, name = range eventNames(l) {
		if d = matching(a, rules.logs, name); d != nil {
			break
		}
	}
	if d == nil {
		return false
	}
	r.readIdentity(a, &f.Own)
	if !r.meaning(a, d, rules, name, f) {
		return false
	}
	f.End = micros(l.Timestamp())
	if f.End == 0 {
		f.End = micros(l.ObservedTimestamp())
	}
	f.Start = f.End
	if ms, err := decimal.Parse(a.text(d.texts[textDuration]), 3, 15); err == nil && ms > 0 && ms <= maxDurationMS*1000 {
		f.Start = max(0, f.End-usage.Micros(ms))
	}
	return true
}

// eventNames are where a record may say what event it is.
func eventNames(l plog.LogRecord) (names []string) {
	if n := l.EventName(); n != "" {
		names = append(names, n)
	}
	if n, ok := l.Attributes().Get("event.name"); ok && n.Type() == pcommon.ValueTypeStr {
		names = append(names, n.Str())
	}
	if b := l.Body(); b.Type() == pcommon.ValueTypeStr && len(b.Str()) <= maxEventName {
		names = append(names, b.Str())
	}
	return names
}

// place gives a record its ids.
func (f *Fact) place(resource pcommon.Resource, scope string, l plog.LogRecord) {
	var b []byte
	b = appendMap(b, resource.Attributes())
	b = appendText(b, scope)
	b = appendText(b, l.EventName())
	b = appendText(b, l.Body().AsString())
	b = binary.AppendUvarint(b, uint64(l.Timestamp()))
	b = appendMap(b, l.Attributes())
	sum := sha256.Sum256(b)
	f.Trace, f.Parent, f.Span = TraceID(l.TraceID()), SpanID(l.SpanID()), SpanID(sum[16:24])
	if f.Trace == (TraceID{}) {
		f.Trace, f.Parent = TraceID(sum[:16]), SpanID{}
	}
}

// appendMap writes a map the same way whatever its order.
func appendMap(b []byte, m pcommon.Map) []byte {
	keys := make([]string, 0, m.Len())
	for k := range m.All() {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		v, _ := m.Get(k)
		text := v.AsString()
		if v.Type() == pcommon.ValueTypeDouble {
			b = binary.BigEndian.AppendUint64(b, math.Float64bits(v.Double()))
			text = ""
		}
		b = appendText(b, k)
		b = appendText(b, text[:min(len(text), maxHashedValue)])
	}
	return b
}
