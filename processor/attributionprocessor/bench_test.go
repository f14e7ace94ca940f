package attributionprocessor

import (
	"context"
	"encoding/binary"
	"runtime"
	"syscall"
	"testing"
	"time"

	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

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
		if n, _ := r.p.traces.size(); n != traces {
			b.Fatalf("%d open traces", n)
		}
		if err := r.p.close(); err != nil {
			b.Fatal(err)
		}
	}
}
