package attributionprocessor

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.opentelemetry.io/collector/connector/connectortest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/usagebox/otelcol-usagebox/connector/spanusageconnector"
	"github.com/usagebox/otelcol-usagebox/internal/attribution"
	"github.com/usagebox/otelcol-usagebox/internal/tracestore"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// BenchmarkSpans takes spans of traces that come in pieces, as many senders bring them, settles the traces and emits their events into nothing. It reports
// CPU-seconds per million spans, all threads included.
func BenchmarkSpans(b *testing.B) {
	const (
		traces  = 204 // in a request
		each    = 3   // spans of a trace in a request
		pieces  = 5   // requests that a trace comes in
		between = 100 * time.Millisecond
	)
	r := newRig(&testing.T{}, func(c *Config) { c.Directory = b.TempDir() })
	r.p.nextTraces = consumertest.NewNop()
	request := func(batch, piece uint64) ptrace.Traces {
		td := ptrace.NewTraces()
		rs := td.ResourceSpans().AppendEmpty()
		rs.Resource().Attributes().PutStr("service.name", "support")
		ss := rs.ScopeSpans().AppendEmpty()
		ss.Scope().SetName("opentelemetry.instrumentation.openai_v2")
		at := r.now
		for i := range uint64(traces) {
			var id pcommon.TraceID
			binary.BigEndian.PutUint64(id[:], (batch*traces+i+1)*0x9e3779b97f4a7c15)
			for k := range uint64(each) {
				s := ss.Spans().AppendEmpty()
				s.SetTraceID(id)
				n := piece*each + k + 1
				s.SetSpanID(number(int(n)))
				if n > 1 {
					s.SetParentSpanID(number(int(max(1, piece*each+k/2))))
				} else {
					s.Attributes().PutStr("customer.id", "acme")
				}
				s.SetName("work")
				s.SetStartTimestamp(pcommon.NewTimestampFromTime(at))
				s.SetEndTimestamp(pcommon.NewTimestampFromTime(at.Add(time.Duration(n) * time.Millisecond)))
				if k == 2 {
					call(s, "gpt-4o", int64(100+n))
				}
			}
		}
		return td
	}
	cpu := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	spans, used := 0, time.Duration(0)
	b.ResetTimer()
	for batch := uint64(0); b.Loop(); batch++ {
		for piece := range uint64(pieces) {
			td := request(batch, piece)
			before := cpu()
			if err := r.p.consumeTraces(context.Background(), td); err != nil {
				b.Fatal(err)
			}
			r.pass(between)
			used += cpu() - before
			spans += td.SpanCount()
		}
	}
	before := cpu()
	r.pass(time.Hour)
	if err := r.p.close(); err != nil {
		b.Fatal(err)
	}
	used += cpu() - before
	b.ReportMetric(used.Seconds()/float64(spans)*1e6, "CPU-s/Mspans")
	b.ReportMetric(float64(spans)/b.Elapsed().Seconds(), "spans/s")
}

// BenchmarkAgentRuns takes requests of 100 whole agent runs, a trace of five spans each with four events, of 2 KiB of content per model call, settles them and
// gives their events to the spanusage connector. It tells what a span costs before its sender is answered and after: CPU time of all threads, and allocations.
func BenchmarkAgentRuns(b *testing.B) {
	const batch = 16
	r := newRig(&testing.T{}, func(c *Config) { c.Directory = b.TempDir() })
	factory := spanusageconnector.NewFactory()
	connector, err := factory.CreateTracesToLogs(context.Background(), connectortest.NewNopSettings(factory.Type()), factory.CreateDefaultConfig(), consumertest.NewNop())
	if err != nil {
		b.Fatal(err)
	}
	r.p.nextTraces = connector
	var before, after cost
	td := ptrace.NewTraces()
	for n := uint64(0); b.Loop(); n++ {
		var requests []ptrace.Traces
		for k := range uint64(batch) {
			requests = append(requests, agentRuns(r.now, n*batch+k))
		}
		before.of(func() {
			for _, td = range requests {
				if err := r.p.consumeTraces(context.Background(), td); err != nil {
					b.Fatal(err)
				}
			}
		})
		after.of(func() { r.pass(3 * time.Second) })
	}
	after.of(func() { r.pass(time.Hour) })
	spans := b.N * batch * td.SpanCount()
	before.report(b, spans, "before")
	after.report(b, spans, "after")
	if n := r.p.traces.size(); n > 0 || r.p.outbox.Load() > 0 {
		b.Fatalf("%d traces are open", n)
	}
	if err := r.p.close(); err != nil {
		b.Fatal(err)
	}
}

// agentRuns is request n, read from the wire as the receiver does.
func agentRuns(at time.Time, n uint64) ptrace.Traces {
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	rs.Resource().Attributes().PutStr("service.name", "support-agent")
	ss := rs.ScopeSpans().AppendEmpty()
	ss.Scope().SetName("opentelemetry.instrumentation.openai_v2")
	for i := range uint64(100) {
		var id pcommon.TraceID
		binary.BigEndian.PutUint64(id[:], (n*100+i+1)*0x9e3779b97f4a7c15)
		binary.BigEndian.PutUint64(id[8:], (n*100+i+1)*0xd1342543de82ef95)
		span := func(name string, k, parent int) ptrace.Span {
			s := ss.Spans().AppendEmpty()
			s.SetTraceID(id)
			s.SetSpanID(number(k))
			if parent > 0 {
				s.SetParentSpanID(number(parent))
			}
			s.SetName(name)
			s.SetStartTimestamp(pcommon.NewTimestampFromTime(at.Add(time.Duration(k) * time.Second)))
			s.SetEndTimestamp(pcommon.NewTimestampFromTime(at.Add(time.Duration(k)*time.Second + 500*time.Millisecond)))
			return s
		}
		root := span("invoke_agent support", 1, 0).Attributes()
		root.PutStr("gen_ai.operation.name", "invoke_agent")
		root.PutStr("gen_ai.agent.name", "support")
		root.PutStr("customer.id", fmt.Sprint("customer-", i%97))
		root.PutStr("user.id", fmt.Sprint("user-", i%31))
		root.PutStr("session.id", fmt.Sprint("session-", i))
		for k := range 2 {
			s := span("chat gpt-4o", 2+k, 1)
			s.SetKind(ptrace.SpanKindClient)
			a := s.Attributes()
			a.PutStr("gen_ai.operation.name", "chat")
			a.PutStr("gen_ai.provider.name", "openai")
			a.PutStr("gen_ai.request.model", "gpt-4o")
			a.PutStr("gen_ai.response.model", "gpt-4o-2024-08-06")
			a.PutStr("gen_ai.response.id", fmt.Sprint("chatcmpl-", n, i, k))
			a.PutInt("gen_ai.usage.input_tokens", int64(1200+i))
			a.PutInt("gen_ai.usage.cache_read.input_tokens", int64(100+i))
			a.PutInt("gen_ai.usage.output_tokens", int64(300+i))
			a.PutStr("gen_ai.input.messages", content[:1536])
			a.PutStr("gen_ai.output.messages", content[1536:])
		}
		tool := span("execute_tool search", 4, 1).Attributes()
		tool.PutStr("gen_ai.operation.name", "execute_tool")
		tool.PutStr("gen_ai.tool.name", "search")
		tool.PutStr("gen_ai.tool.call.id", fmt.Sprint("call_", n, i))
		s := span("GET", 5, 4)
		s.SetKind(ptrace.SpanKindClient)
		s.Attributes().PutStr("http.request.method", "GET")
		s.Attributes().PutStr("url.full", "https://search.internal/v1/query?q=refund")
		s.Attributes().PutInt("http.response.status_code", 200)
	}
	wire, err := ptraceotlp.NewExportRequestFromTraces(td).MarshalProto()
	request := ptraceotlp.NewExportRequest()
	if err = errors.Join(err, request.UnmarshalProto(wire)); err != nil {
		panic(err) // it is our own and whole
	}
	return request.Traces()
}

var content = strings.Repeat("a prompt and an answer, in words ", 64)[:2048]

// cost is CPU time of all threads and allocations.
type cost struct {
	cpu    time.Duration
	allocs uint64
	bytes  uint64
}

func (c *cost) of(work func()) {
	var m, then runtime.MemStats
	var u, used syscall.Rusage
	runtime.ReadMemStats(&m)
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // it only fails for a bad address
	work()
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	runtime.ReadMemStats(&then)
	c.cpu += time.Duration(used.Utime.Nano() + used.Stime.Nano() - u.Utime.Nano() - u.Stime.Nano())
	c.allocs += then.Mallocs - m.Mallocs
	c.bytes += then.TotalAlloc - m.TotalAlloc
}

func (c *cost) report(b *testing.B, spans int, when string) {
	b.ReportMetric(c.cpu.Seconds()/float64(spans)*1e6, when+"-CPU-µs/span")
	b.ReportMetric(float64(c.allocs)/float64(spans), when+"-allocs/span")
	b.ReportMetric(float64(c.bytes)/float64(spans), when+"-B/span")
}

// BenchmarkAMillionOpenTraces of 15 spans, in three pieces each: memory while they are open, bytes on disk, and how long a start takes after a crash.
func BenchmarkAMillionOpenTraces(b *testing.B) {
	const (
		traces = 1_000_000
		pieces = 3
		each   = 5
		batch  = 500
	)
	for b.Loop() {
		r := newRig(&testing.T{}, func(c *Config) {
			c.Directory = b.TempDir()
			c.Settle = SettleConfig{Grace: time.Hour, Idle: time.Hour, MaxWait: time.Hour}
			c.MemoryLimit = 1 << 30
		})
		now := usage.MicrosOf(r.now)
		facts := make([]attribution.Fact, each)
		for i := range facts {
			facts[i] = attribution.Fact{Emitter: "opentelemetry.instrumentation.openai_v2", Start: now, End: now, Role: attribution.RoleCall, Model: "gpt-4o", Service: "support"}
			facts[i].Own.Slots[attribution.SlotCustomer] = "customer-1"
		}
		for piece := range uint64(pieces) {
			for first := uint64(0); first < traces; first += batch {
				arrivals := make([]tracestore.Arrival, batch)
				for i := range arrivals {
					a := &arrivals[i]
					binary.BigEndian.PutUint64(a.Trace[:], (first+uint64(i)+1)*0x9e3779b97f4a7c15)
					a.Facts = append(a.Facts, facts...)
					for k := range a.Facts {
						a.Facts[k].Trace, a.Facts[k].Span = a.Trace, attribution.SpanID(number(int(piece*each)+k+1))
					}
				}
				r.p.traces.begin(arrivals, now)
				if err := r.p.store.Append(arrivals, now); err != nil {
					b.Fatal(err)
				}
				r.p.traces.end(arrivals, now, true)
			}
		}
		heap := func() float64 {
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return float64(m.HeapAlloc) / (1 << 20)
		}
		b.ReportMetric(heap(), "MiB-heap")
		b.ReportMetric(float64(r.p.store.DiskBytes())/(traces*pieces*each), "B/span")
		if err := r.p.close(); err != nil {
			b.Fatal(err)
		}
		began := time.Now()
		r.start()
		b.ReportMetric(time.Since(began).Seconds(), "s-to-start")
		b.ReportMetric(heap(), "MiB-heap-then")
		if n := r.p.traces.size(); n != traces {
			b.Fatalf("%d open traces", n)
		}
		if err := r.p.close(); err != nil {
			b.Fatal(err)
		}
	}
}
