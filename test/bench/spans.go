package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// The load: every request holds whole traces of an agent run. A trace has five spans, of which four are usage.
const (
	tracesPerRequest = 100
	spansPerTrace    = 5
	eventsPerTrace   = 4
	modelCalls       = 2
)

// spansBody is a marshalled request in which the first half of every trace id is exchanged, and the same in the response ids: no two calls have one.
type spansBody struct {
	data      []byte
	ids       []int // where trace ids are
	responses []int // where they are in hexadecimal
}

func (b *spansBody) next(n uint64) []byte {
	id := mix(n)
	for _, at := range b.ids {
		binary.BigEndian.PutUint64(b.data[at:], id)
	}
	text := fmt.Sprintf("%016x", id)
	for _, at := range b.responses {
		copy(b.data[at:], text)
	}
	return b.data
}

const idMark = 0xb3a7_5c19_e6d2_48f1

// newSpans makes a request with content bytes of prompt and answer in every model call.
func newSpans(content int) *spansBody { return newPiece(content, 0) }

// newPiece makes one of several requests with spans of the same traces. All but the first hang on the first one's root.
func newPiece(content int, piece byte) *spansBody {
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	rs.Resource().Attributes().PutStr("service.name", "support-agent")
	rs.Resource().Attributes().PutStr("service.version", "1.4.2")
	rs.Resource().Attributes().PutStr("telemetry.sdk.language", "python")
	ss := rs.ScopeSpans().AppendEmpty()
	ss.Scope().SetName("opentelemetry.instrumentation.openai_v2")
	end := time.Now()
	text := words(content)
	for i := range tracesPerRequest {
		trace := pcommon.TraceID{}
		binary.BigEndian.PutUint64(trace[:8], idMark)
		binary.BigEndian.PutUint64(trace[8:], mix(uint64(i)))
		span := func(name string, number, parent byte, kind ptrace.SpanKind, ms int) pcommon.Map {
			s := ss.Spans().AppendEmpty()
			s.SetTraceID(trace)
			s.SetSpanID(pcommon.SpanID{number, piece, 2, 3, 4, 5, 6, 7})
			switch {
			case parent > 0:
				s.SetParentSpanID(pcommon.SpanID{parent, piece, 2, 3, 4, 5, 6, 7})
			case piece > 0:
				s.SetParentSpanID(pcommon.SpanID{1, 0, 2, 3, 4, 5, 6, 7})
			}
			s.SetName(name)
			s.SetKind(kind)
			s.SetStartTimestamp(pcommon.NewTimestampFromTime(end.Add(-time.Duration(ms) * time.Millisecond)))
			s.SetEndTimestamp(pcommon.NewTimestampFromTime(end.Add(-time.Duration(ms/2) * time.Millisecond)))
			return s.Attributes()
		}
		run := span("invoke_agent support", 1, 0, ptrace.SpanKindInternal, 4000)
		run.PutStr("gen_ai.operation.name", "invoke_agent")
		run.PutStr("gen_ai.agent.name", "support")
		run.PutStr("customer.id", fmt.Sprint("customer-", i%97))
		run.PutStr("user.id", fmt.Sprint("user-", i%31))
		run.PutStr("session.id", fmt.Sprint("session-", i))
		run.PutStr("feature", "chat")
		for call := range modelCalls {
			a := span("chat gpt-4o", byte(2+call), 1, ptrace.SpanKindClient, 3000-1200*call)
			a.PutStr("gen_ai.operation.name", "chat")
			a.PutStr("gen_ai.provider.name", "openai")
			a.PutStr("gen_ai.request.model", "gpt-4o")
			a.PutStr("gen_ai.response.model", "gpt-4o-2024-08-06")
			a.PutStr("gen_ai.response.id", fmt.Sprintf("chatcmpl-%016x-%d-%d-%d", uint64(idMark), piece, i, call))
			a.PutInt("gen_ai.usage.input_tokens", int64(1200+i*7+call))
			a.PutInt("gen_ai.usage.cache_read.input_tokens", int64(100+i))
			a.PutInt("gen_ai.usage.output_tokens", int64(300+i+call*11))
			a.PutEmptySlice("gen_ai.response.finish_reasons").AppendEmpty().SetStr("stop")
			a.PutStr("server.address", "api.openai.com")
			if content > 0 {
				a.PutStr("gen_ai.input.messages", text[:content*3/4])
				a.PutStr("gen_ai.output.messages", text[content*3/4:])
			}
		}
		tool := span("execute_tool search", 4, 1, ptrace.SpanKindInternal, 1900)
		tool.PutStr("gen_ai.operation.name", "execute_tool")
		tool.PutStr("gen_ai.tool.name", "search")
		tool.PutStr("gen_ai.tool.call.id", fmt.Sprint("call_", i))
		http := span("GET", 5, 4, ptrace.SpanKindClient, 1850)
		http.PutStr("http.request.method", "GET")
		http.PutStr("url.full", "https://search.internal/v1/query?q=refund")
		http.PutInt("http.response.status_code", 200)
		http.PutStr("server.address", "search.internal")
	}
	data, err := (&ptrace.ProtoMarshaler{}).MarshalTraces(td)
	if err != nil {
		panic(err) // it is our own and whole
	}
	mark := binary.BigEndian.AppendUint64(nil, idMark)
	return &spansBody{data: data, ids: places(data, mark), responses: places(data, fmt.Appendf(nil, "%016x", uint64(idMark)))}
}

// places is where a mark is in data.
func places(data, mark []byte) (at []int) {
	for from := 0; ; from += len(mark) {
		i := bytes.Index(data[from:], mark)
		if i < 0 {
			return at
		}
		from += i
		at = append(at, from)
	}
}

// words is text that looks like prose to a compressor.
func words(n int) string {
	r := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	for b.Len() < n {
		for range 2 + r.IntN(7) {
			b.WriteByte(byte('a' + r.IntN(26)))
		}
		b.WriteByte(' ')
	}
	return b.String()[:n]
}

type spanSubject struct {
	name    string
	config  string
	content int
	durable bool
	queued  bool // needs a program behind it
}

func (s spanSubject) String() string { return fmt.Sprintf("%s, %d B of content", s.name, s.content) }

func (b *bench) contents() (sizes []int, err error) {
	for text := range strings.SplitSeq(b.content, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n > 64<<10 {
			return nil, fmt.Errorf("-content is %q: it takes numbers of bytes, 0 to 65536, with commas between them", b.content)
		}
		sizes = append(sizes, n)
	}
	return sizes, nil
}

func durable(content int) spanSubject {
	return spanSubject{name: "durable pipeline", config: durableConfig, content: content, durable: true}
}

func spansAgainstNop(b *bench) error {
	fmt.Printf("Spans by OTLP over HTTP, %d connections, %d spans a request, %d of %d with prompts: the durable pipeline against otlp → nop\n\n",
		b.conns, tracesPerRequest*spansPerTrace, modelCalls, spansPerTrace)
	header("content per model call", "nop, spans/s", "durable, spans/s", "ratio", "durable, spans/s until in the ledger", "nop, CPU-s per million", "durable, CPU-s per million", "added", "durable, peak RSS MiB")
	contents, err := b.contents()
	if err != nil {
		return err
	}
	for _, content := range contents {
		nop := spanSubject{name: "nop", config: nopConfig, content: content}
		results, err := inTurns(b, []spanSubject{nop, durable(content)}, b.spans)
		if err != nil {
			return err
		}
		base, ours := results[nop.String()], results[durable(content).String()]
		row(fmt.Sprint(content, " B"), spread(base, measured.rate, "%.0f"), spread(ours, measured.rate, "%.0f"), ratio(median(ours, measured.rate), median(base, measured.rate)), spread(ours, measured.full, "%.0f"),
			spread(base, measured.cpu, "%.1f"), spread(ours, measured.cpu, "%.1f"), fmt.Sprintf("%.1f", median(ours, measured.cpu)-median(base, measured.cpu)), spread(ours, measured.peak, "%.0f"))
	}
	return nil
}

func spansAgainstQueue(b *bench) error {
	fmt.Printf("The same load: the durable pipeline against otlp → otlp_http with a persistent queue that fsyncs (CPU of the first program alone)\n\n")
	header("content per model call", "queue, spans/s", "durable, spans/s", "ratio", "queue, CPU-s per million", "durable, CPU-s per million")
	for _, content := range []int{2 << 10} {
		queue := spanSubject{name: "queue", config: queueConfig, content: content, queued: true}
		results, err := inTurns(b, []spanSubject{queue, durable(content)}, b.spans)
		if err != nil {
			return err
		}
		base, ours := results[queue.String()], results[durable(content).String()]
		row(fmt.Sprint(content, " B"), spread(base, measured.rate, "%.0f"), spread(ours, measured.rate, "%.0f"), ratio(median(ours, measured.rate), median(base, measured.rate)),
			spread(base, measured.cpu, "%.1f"), spread(ours, measured.cpu, "%.1f"))
	}
	return nil
}

// spans measures one subject. CPU time is counted until everything that was acknowledged has gone its whole way.
func (b *bench) spans(s spanSubject) (m measured, err error) {
	var next string
	if s.queued {
		behind, err := b.start(nopConfig, "")
		if err != nil {
			return m, err
		}
		defer func() { err = errors.Join(err, behind.stop()) }()
		next = behind.ports.OTLP
	}
	p, err := b.start(s.config, next)
	if err != nil {
		return m, err
	}
	defer func() {
		if err != nil {
			p.kill()
		}
	}()
	t := target{
		url: "http://127.0.0.1:" + p.ports.OTLP + "/v1/traces", contentType: "application/x-protobuf", units: tracesPerRequest * spansPerTrace,
		newBody: func() body { return newSpans(s.content) },
	}
	var requests int
	var elapsed time.Duration
	begin := time.Now()
	err = p.profiled(b.profileOf(s.durable, "spans-%d.pprof", s.content), b.seconds, func() (err error) {
		requests, elapsed, err = send(t, b.conns, b.seconds)
		return err
	})
	if err != nil {
		return m, err
	}
	if s.durable {
		err := p.profiled(b.profileOf(true, "spans-%d-after.pprof", s.content), 4*b.seconds, func() error { return p.inLedger(requests * tracesPerRequest * eventsPerTrace) })
		if err != nil {
			return m, err
		}
	}
	throughout := time.Since(begin)
	m, err = p.finish(requests*t.units, requests*tracesPerRequest*eventsPerTrace, elapsed)
	m.throughout = float64(requests*t.units) / throughout.Seconds()
	return m, err
}

// inLedger waits until the ledger has taken as many events as the load means, each once.
func (p *process) inLedger(events int) error {
	var taken float64
	err := p.until(10*time.Minute, time.Second, fmt.Sprintf("%d events are in the ledger", events), func() (ok bool, err error) {
		taken, err = p.metric("ledger_accepted")
		return int(taken) >= events, err
	})
	if err != nil {
		return fmt.Errorf("%w (it has %.0f)", err, taken)
	}
	if int(taken) != events {
		return fmt.Errorf("the ledger took %.0f events of %d: something was counted twice", taken, events)
	}
	return nil
}

// finish reads what the program used, and ends it.
func (p *process) finish(units, events int, elapsed time.Duration) (m measured, err error) {
	used, err := p.cpu()
	if err != nil {
		return m, err
	}
	if m.rss, err = p.peakRSS(); err != nil {
		return m, err
	}
	m.perSecond = float64(units) / elapsed.Seconds()
	m.cpuPerUnit = (used - p.started).Seconds() / float64(units) * 1e6
	allocations, err := p.allocations()
	if err != nil {
		return m, err
	}
	m.allocs = (allocations - p.before) / float64(units)
	if err := p.stop(); err != nil {
		return m, err
	}
	bytes, err := p.parts()
	if err != nil {
		return m, err
	}
	m.bytes = float64(bytes) / float64(events)
	return m, os.RemoveAll(p.dir)
}
