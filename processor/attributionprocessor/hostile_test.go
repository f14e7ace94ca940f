package attributionprocessor

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// crowd is a trace of n spans; shape sets a span's parent and what it is.
func crowd(n int, shape func(i int, s ptrace.Span)) ptrace.Traces {
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	at := time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)
	for i := range n {
		s := rs.ScopeSpans().AppendEmpty().Spans().AppendEmpty()
		s.SetTraceID(pcommon.TraceID{1})
		s.SetSpanID(number(i + 1))
		s.SetStartTimestamp(pcommon.NewTimestampFromTime(at.Add(time.Duration(i) * time.Microsecond)))
		s.SetEndTimestamp(pcommon.NewTimestampFromTime(at.Add(time.Hour)))
		shape(i, s)
	}
	return td
}

func number(i int) (id pcommon.SpanID) {
	binary.BigEndian.PutUint64(id[:], uint64(i))
	return id
}

func call(s ptrace.Span, model string, tokens int64) {
	s.Attributes().PutStr("gen_ai.operation.name", "chat")
	s.Attributes().PutStr("gen_ai.request.model", model)
	s.Attributes().PutInt("gen_ai.usage.input_tokens", tokens)
	s.Attributes().PutInt("gen_ai.usage.output_tokens", 1)
}

func (r *rig) total(meter string) (q usage.Quantity) {
	for _, e := range r.sink.net() {
		for _, l := range e.Lines {
			if l.Meter == meter {
				q += l.Quantity
			}
		}
	}
	return q
}

func TestHostileTracesGetASensibleAnswer(t *testing.T) {
	for name, q := range map[string]struct {
		spans ptrace.Traces
		calls int64
	}{
		"20,000 calls side by side": {crowd(20_000, func(i int, s ptrace.Span) {
			if i > 0 {
				s.SetParentSpanID(number(1))
				call(s, "gpt-4o", 10)
			}
		}), 19_999},
		"a chain of 20,000 wrappers around one call": {crowd(20_000, func(i int, s ptrace.Span) {
			if i > 0 {
				s.SetParentSpanID(number(i))
			}
			call(s, "gpt-4o", 10)
			if i < 19_999 {
				s.Attributes().PutStr("gen_ai.operation.name", "invoke_agent")
			}
		}), 1},
		"a chain of 5,000 calls": {crowd(5_000, func(i int, s ptrace.Span) {
			if i > 0 {
				s.SetParentSpanID(number(i))
			}
			call(s, "gpt-4o", 10)
		}), 1},
		"20,000 calls of two emitters, all at once": {func() ptrace.Traces {
			td := crowd(20_000, func(_ int, s ptrace.Span) { call(s, "gpt-4o", 10) })
			for i, ss := range td.ResourceSpans().At(0).ScopeSpans().All() {
				ss.Scope().SetName([]string{"one", "two"}[i%2])
			}
			return td
		}(), 10_000},
		"5,000 wrappers beside 5,000 calls": {crowd(10_000, func(i int, s ptrace.Span) {
			call(s, "gpt-4o", int64(10+i))
			if i%2 == 0 {
				s.Attributes().PutStr("gen_ai.operation.name", "invoke_agent")
			}
		}), 10_000},
		"a span that is its own parent": {crowd(1, func(_ int, s ptrace.Span) { s.SetParentSpanID(s.SpanID()); call(s, "gpt-4o", 10) }), 1},
		"parents in a circle": {crowd(3, func(i int, s ptrace.Span) {
			s.SetParentSpanID(number((i+1)%3 + 1))
			if i == 1 {
				call(s, "gpt-4o", 10)
			}
		}), 1},
		"no ids": {crowd(2, func(i int, s ptrace.Span) {
			s.SetTraceID(pcommon.TraceID{})
			s.SetSpanID(pcommon.SpanID{})
			call(s, "gpt-4o", int64(10+i))
		}), 2},
		"1,000 links": {crowd(1, func(_ int, s ptrace.Span) {
			call(s, "gpt-4o", 10)
			for i := range 1000 {
				l := s.Links().AppendEmpty()
				l.SetTraceID(pcommon.TraceID{2, byte(i), byte(i >> 8)})
				l.SetSpanID(number(1))
			}
		}), 1},
		"10,000 attributes": {crowd(1, func(_ int, s ptrace.Span) {
			call(s, "gpt-4o", 10)
			for i := range 10_000 {
				s.Attributes().PutStr(fmt.Sprint("attribute.", i), "x")
			}
		}), 1},
		"64 MB of content": {crowd(1, func(_ int, s ptrace.Span) {
			call(s, "gpt-4o", 10)
			s.Attributes().PutStr("gen_ai.input.messages", strings.Repeat("x", 64<<20))
			s.Attributes().PutStr("metadata", "{"+strings.Repeat(`"x":[`, 1<<20))
		}), 1},
		"a clock a day ahead": {crowd(1, func(_ int, s ptrace.Span) {
			call(s, "gpt-4o", 10)
			s.SetEndTimestamp(pcommon.NewTimestampFromTime(time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)))
		}), 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			r.send(q.spans)
			r.pass(2 * time.Hour)
			if got := r.total(usage.MeterLLMRequests); got != usage.Units(q.calls) {
				t.Fatalf("%s calls, want %d", got, q.calls)
			}
			for _, e := range r.sink.events {
				if e.Timestamp.Time().After(time.Date(2026, 11, 23, 9, 11, 0, 0, time.UTC)) {
					t.Fatalf("an event at %s", e.Timestamp.Time())
				}
			}
		})
	}
}
