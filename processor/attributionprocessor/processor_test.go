package attributionprocessor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"go.opentelemetry.io/collector/processor/processortest"

	"github.com/usagebox/otelcol-usagebox/internal/attribution"
	"github.com/usagebox/otelcol-usagebox/internal/tracestore"
	"github.com/usagebox/otelcol-usagebox/processor/attributionprocessor/internal/metadata"
	"github.com/usagebox/otelcol-usagebox/processor/attributionprocessor/internal/metadatatest"
	"github.com/usagebox/otelcol-usagebox/test/judge"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// sink is the rest of the pipeline: it takes each event once, as the ledger does, or fails on demand.
type sink struct {
	mu       sync.Mutex
	fail     error
	refuse   func(ptrace.Traces) error // nil refuses nothing
	attempts [][]byte
	events   []usage.Event
	seen     map[usage.Key]usage.Payload
	t        *testing.T
}

func (*sink) Capabilities() consumer.Capabilities { return consumer.Capabilities{} }

func (s *sink) ConsumeTraces(_ context.Context, td ptrace.Traces) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	raw, err := (&ptrace.ProtoMarshaler{}).MarshalTraces(td)
	if err != nil {
		return err
	}
	s.attempts = append(s.attempts, raw)
	if s.fail != nil {
		return s.fail
	}
	var refused error
	if s.refuse != nil {
		if refused = s.refuse(td); refused != nil && !onlyRejections(refused) {
			return refused
		}
	}
	for _, rs := range td.ResourceSpans().All() {
		for _, ss := range rs.ScopeSpans().All() {
			for _, span := range ss.Spans().All() {
				e, err := usage.DecodeSpan(rs.Resource(), span)
				if err != nil {
					return err
				}
				if before, ok := s.seen[e.Key()]; ok {
					if before != e.Payload() {
						s.t.Errorf("%v came again with another payload", e.Key())
					}
					continue
				}
				s.seen[e.Key()] = e.Payload()
				s.events = append(s.events, e)
			}
		}
	}
	return refused
}

// net is the events with every retraction written out.
func (s *sink) net() (out []usage.Event) {
	for _, e := range s.events {
		if e.Kind != usage.KindRetraction {
			out = append(out, e)
			continue
		}
		for _, target := range s.events {
			if target.Customer == e.Customer && target.Kind != usage.KindRetraction && (target.ID == e.Corrects || target.Corrects == e.Corrects) {
				gone := target
				gone.ID, gone.Corrects, gone.Lines = e.ID+target.ID, e.Corrects, nil
				for _, l := range target.Lines {
					l.Quantity = -l.Quantity
					gone.Lines = append(gone.Lines, l)
				}
				out = append(out, gone)
			}
		}
	}
	return out
}

// rig runs a processor with a clock of its own.
type rig struct {
	t       *testing.T
	p       *attributionProcessor
	sink    *sink
	records consumer.Logs
	config  *Config
	metrics *componenttest.Telemetry // nil: nobody looks at them
	fs      vfs.FS
	now     time.Time
}

func newRig(t *testing.T, change func(*Config)) *rig {
	t.Helper()
	return newRigOn(t, nil, change)
}

// newRigOn runs one on a file system.
func newRigOn(t *testing.T, fs vfs.FS, change func(*Config)) *rig {
	t.Helper()
	config := createDefaultConfig().(*Config)
	config.Directory = t.TempDir()
	config.MinFreeDisk = 0
	if change != nil {
		change(config)
	}
	r := &rig{t: t, fs: fs, config: config, now: time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC), sink: &sink{t: t, seen: map[usage.Key]usage.Payload{}}}
	r.start()
	return r
}

func (r *rig) start() {
	r.t.Helper()
	set := processortest.NewNopSettings(metadata.Type)
	if r.metrics != nil {
		set = metadatatest.NewSettings(r.metrics)
	}
	p, err := newAttribution(set, r.config, func() time.Time { return r.now })
	if err != nil {
		r.t.Fatal(err)
	}
	p.fs = r.fs
	p.nextTraces, p.nextLogs, p.jitter = r.sink, r.records, func() float64 { return 0 }
	if err := p.open(); err != nil {
		r.t.Fatal(err)
	}
	r.p = p
	r.t.Cleanup(func() { _ = p.close() })
}

func (r *rig) restart() {
	r.t.Helper()
	if err := r.p.close(); err != nil {
		r.t.Fatal(err)
	}
	r.start()
}

func (r *rig) send(td ptrace.Traces) {
	r.t.Helper()
	if err := r.p.consumeTraces(r.t.Context(), td); err != nil {
		r.t.Fatal(err)
	}
}

// pass lets time pass, and everything happen that is due.
func (r *rig) pass(d time.Duration) {
	r.now = r.now.Add(d)
	for r.p.round(context.Background()) {
	}
}

func requests(t *testing.T, c judge.Capture) (out []ptrace.Traces) {
	t.Helper()
	for _, q := range c.Requests {
		if q.Path != "/v1/traces" {
			continue
		}
		e := ptraceotlp.NewExportRequest()
		var err error
		if strings.Contains(q.ContentType, "json") {
			err = e.UnmarshalJSON(q.Body)
		} else {
			err = e.UnmarshalProto(q.Body)
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, split(e.Traces())...)
	}
	return out
}

// split makes a request of every span.
func split(td ptrace.Traces) (out []ptrace.Traces) {
	for _, rs := range td.ResourceSpans().All() {
		for _, ss := range rs.ScopeSpans().All() {
			for _, s := range ss.Spans().All() {
				one := ptrace.NewTraces()
				to := one.ResourceSpans().AppendEmpty()
				rs.Resource().CopyTo(to.Resource())
				scope := to.ScopeSpans().AppendEmpty()
				ss.Scope().CopyTo(scope.Scope())
				s.CopyTo(scope.Spans().AppendEmpty())
				out = append(out, one)
			}
		}
	}
	return out
}

func captures(t *testing.T) []judge.Capture {
	t.Helper()
	all, err := judge.Load("../../test/testdata/captures")
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func (r *rig) exact(expect ...*judge.Expectation) {
	r.t.Helper()
	verdicts, foreign := judge.Judge(judge.Rows(r.sink.net()), expect...)
	for _, v := range verdicts {
		if !v.Exact() {
			r.t.Error(v)
		}
	}
	if len(foreign) > 0 {
		r.t.Error("foreign events", foreign)
	}
}

// Spans one by one in any order, with copies, settlements, restarts and failures of the pipeline in between: exact in the end.
func TestEveryRecordingIsExactWhateverHappensOnTheWay(t *testing.T) {
	for _, c := range captures(t) {
		t.Run(c.Name, func(t *testing.T) {
			r := newRig(t, nil)
			random := rand.New(rand.NewPCG(3, 9))
			spans := requests(t, c)
			random.Shuffle(len(spans), func(i, j int) { spans[i], spans[j] = spans[j], spans[i] })
			for i, td := range spans {
				r.send(td)
				switch random.IntN(40) {
				case 0:
					r.send(spans[random.IntN(i+1)])
				case 1:
					r.pass(31 * time.Second)
				case 2:
					r.sink.fail = errors.New("not now")
					r.pass(31 * time.Second)
					r.sink.fail = nil
				case 3:
					r.restart()
				}
			}
			r.pass(time.Minute)
			r.pass(time.Minute)
			r.exact(&c.Expect)
			before := len(r.sink.events)
			for _, td := range spans {
				r.send(td)
			}
			r.pass(time.Minute)
			if len(r.sink.events) != before {
				t.Errorf("all spans sent again made %d more events", len(r.sink.events)-before)
			}
		})
	}
}

func TestWhatWasAboutToBeEmittedGoesOutByteForByteAfterARestart(t *testing.T) {
	r := newRig(t, nil)
	c := captures(t)[1]
	spans := requests(t, c)
	half := len(spans) / 2
	for _, td := range spans[:half] {
		r.send(td)
	}
	r.sink.fail = errors.New("the ledger is away")
	r.pass(time.Minute)
	if len(r.sink.attempts) != 1 {
		t.Fatalf("%d attempts", len(r.sink.attempts))
	}
	first := r.sink.attempts[0]
	for _, td := range spans[half:] {
		r.send(td)
	}
	r.restart()
	r.pass(time.Minute)
	if !bytes.Equal(first, r.sink.attempts[1]) {
		t.Fatal("another batch was sent after the restart")
	}
	r.sink.fail = nil
	r.pass(time.Minute)
	r.pass(time.Minute)
	if !bytes.Equal(first, r.sink.attempts[2]) {
		t.Fatal("another batch was sent in the end")
	}
	r.exact(&c.Expect)
}

// job is a trace with a model call, by default below a root that is not there.
func job(trace byte, change func(root, call ptrace.Span)) ptrace.Traces {
	td := ptrace.NewTraces()
	scope := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty()
	at := time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)
	root, call := scope.Spans().AppendEmpty(), scope.Spans().AppendEmpty()
	for i, s := range []ptrace.Span{root, call} {
		s.SetTraceID(pcommon.TraceID{trace})
		s.SetSpanID(pcommon.SpanID{byte(i + 1)})
		s.SetStartTimestamp(pcommon.NewTimestampFromTime(at))
		s.SetEndTimestamp(pcommon.NewTimestampFromTime(at.Add(time.Second)))
	}
	call.SetParentSpanID(root.SpanID())
	call.Attributes().PutStr("gen_ai.operation.name", "chat")
	call.Attributes().PutStr("gen_ai.request.model", "gpt-4o")
	call.Attributes().PutInt("gen_ai.usage.input_tokens", 10)
	call.Attributes().PutInt("gen_ai.usage.output_tokens", 5)
	change(root, call)
	return td
}

func TestACustomerThatIsKnownOverALinkComesWheneverTheLinkedTraceComes(t *testing.T) {
	publisher := job(1, func(root, call ptrace.Span) { root.Attributes().PutStr("customer.id", "acme") })
	worker := job(2, func(root, _ ptrace.Span) {
		l := root.Links().AppendEmpty()
		l.SetTraceID(pcommon.TraceID{1})
		l.SetSpanID(pcommon.SpanID{2})
	})
	grandchild := job(3, func(root, _ ptrace.Span) {
		l := root.Links().AppendEmpty()
		l.SetTraceID(pcommon.TraceID{2})
		l.SetSpanID(pcommon.SpanID{2})
	})
	for name, order := range map[string][]ptrace.Traces{
		"first": {publisher, worker, grandchild}, "later": {grandchild, worker, publisher}, "between": {worker, publisher, grandchild},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			for _, td := range order {
				r.send(td)
				r.pass(3 * time.Hour)
				r.restart()
			}
			r.pass(time.Minute)
			totals := map[string]usage.Quantity{}
			for _, e := range r.sink.net() {
				for _, l := range e.Lines {
					if l.Meter == usage.MeterTokensIn {
						totals[e.Customer] += l.Quantity
					}
				}
			}
			if totals["acme"] != usage.Units(30) || totals[usage.Unattributed] != 0 {
				t.Fatalf("%v", totals)
			}
			last := r.sink.events[len(r.sink.events)-1]
			if last.RunID != pcommon.TraceID([16]byte{1}).String() {
				t.Fatalf("run %s", last.RunID)
			}
		})
	}
}

func TestATraceSettlesByGraceIdleAndWait(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.Settle = SettleConfig{Grace: time.Second, Idle: 10 * time.Second, MaxWait: time.Minute}
	})
	r.send(job(1, func(_, _ ptrace.Span) {}))
	r.pass(900 * time.Millisecond)
	if len(r.sink.events) != 0 {
		t.Fatal("a complete trace settled before its grace")
	}
	r.pass(200 * time.Millisecond)
	if len(r.sink.events) != 1 {
		t.Fatal("a complete trace did not settle after its grace")
	}
	orphan := job(2, func(root, _ ptrace.Span) { root.SetParentSpanID(pcommon.SpanID{9}) })
	r.send(orphan)
	r.pass(5 * time.Second)
	if len(r.sink.events) != 1 {
		t.Fatal("an incomplete trace settled before it was idle")
	}
	r.pass(6 * time.Second)
	if len(r.sink.events) != 2 {
		t.Fatal("an incomplete trace did not settle")
	}
	busy := job(3, func(root, _ ptrace.Span) { root.SetParentSpanID(pcommon.SpanID{9}) })
	for range 13 {
		r.send(busy)
		r.pass(5 * time.Second)
	}
	if len(r.sink.events) != 3 {
		t.Fatal("a busy trace did not settle after max_wait")
	}
}

func TestAForgottenTraceIsKnownAsSuch(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Retention = 2 * time.Hour })
	r.send(job(1, func(_, _ ptrace.Span) {}))
	r.pass(time.Minute)
	r.pass(4 * time.Hour)
	r.pass(time.Minute)
	twin := job(1, func(_, call ptrace.Span) { call.SetSpanID(pcommon.SpanID{7}) })
	r.send(twin)
	r.pass(time.Minute)
	last := r.sink.events[len(r.sink.events)-1]
	if len(r.sink.events) != 2 || fmt.Sprint(last.Flags) != "["+usage.FlagLateUnmatched+"]" {
		t.Fatalf("%d events, the last with %v", len(r.sink.events), last.Flags)
	}
}

func TestWhatWasForgottenStaysSoAfterARestart(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Retention = 2 * time.Hour })
	r.send(job(1, func(_, _ ptrace.Span) {}))
	r.pass(time.Minute)
	for range 8 {
		r.pass(time.Hour)
		r.restart()
	}
	if len(r.sink.events) != 1 {
		t.Fatalf("%d events", len(r.sink.events))
	}
	if facts, err := r.p.store.Facts(attribution.TraceID{1}); err != nil || len(facts) > 0 {
		t.Fatalf("%d facts are kept, %v", len(facts), err)
	}
}

// Facts of the oldest settled traces make room; nothing is counted twice or lost by it.
func TestTheDiskIsBoundedByForgettingTheOldest(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MaxDisk = 4 << 20 })
	jobOf := func(i int) ptrace.Traces {
		return job(1, func(root, call ptrace.Span) {
			for _, s := range []ptrace.Span{root, call} {
				s.SetTraceID(pcommon.TraceID{1, byte(i), byte(i >> 8)})
				s.Attributes().PutStr("customer.id", strings.Repeat("customer", 20))
			}
		})
	}
	const jobs = 8000
	const batch = 40
	for i := 0; i < jobs; i += batch {
		td := ptrace.NewTraces()
		for k := range batch {
			jobOf(i + k).ResourceSpans().MoveAndAppendTo(td.ResourceSpans())
		}
		for r.p.consumeTraces(t.Context(), td) != nil {
			r.pass(time.Minute) // it is told to come again
		}
		if i%1000 == 0 {
			r.pass(5 * time.Minute)
		}
	}
	r.pass(5 * time.Minute)
	if len(r.sink.events) != jobs {
		t.Fatalf("%d events of %d", len(r.sink.events), jobs)
	}
	facts := func(i int) int {
		f, err := r.p.store.Facts(attribution.TraceID{1, byte(i), byte(i >> 8)})
		if err != nil {
			t.Fatal(err)
		}
		return len(f)
	}
	if facts(0) != 0 || facts(jobs-1) != 2 {
		t.Fatalf("of the first trace %d facts are kept, of the last %d", facts(0), facts(jobs-1))
	}
	r.restart()
	r.pass(5 * time.Minute)
	if len(r.sink.events) != jobs {
		t.Fatalf("%d events of %d after a restart", len(r.sink.events), jobs)
	}
}

func TestAFullDiskIsToldToTheSenderAndLosesNothing(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MinFreeDisk = 1 << 60 })
	if err := r.p.consumeTraces(t.Context(), job(1, func(_, _ ptrace.Span) {})); !errors.Is(err, tracestore.ErrFull) {
		t.Fatal(err)
	}
	r.config.MinFreeDisk = 0
	r.restart()
	r.send(job(1, func(_, _ ptrace.Span) {}))
	r.pass(time.Minute)
	if len(r.sink.events) != 1 {
		t.Fatalf("%d events", len(r.sink.events))
	}
}

func TestOneDirectoryHasOneProcessor(t *testing.T) {
	r := newRig(t, nil)
	other, err := NewFactory().CreateTraces(t.Context(), processortest.NewNopSettings(metadata.Type), r.config, r.sink)
	if err != nil {
		t.Fatal(err)
	}
	err = other.Start(t.Context(), componenttest.NewNopHost())
	if err == nil || !strings.Contains(err.Error(), r.config.Directory+" is in use by this process already") {
		t.Fatal(err)
	}
	if err := other.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestMemoryIsBoundedBySettlingEarly(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MemoryLimit = 1 << 20 })
	for i := range 4000 {
		td := job(1, func(root, call ptrace.Span) {
			for _, s := range []ptrace.Span{root, call} {
				s.SetTraceID(pcommon.TraceID{1, byte(i), byte(i >> 8)})
			}
			root.SetParentSpanID(pcommon.SpanID{9})
		})
		r.send(td)
	}
	r.pass(0)
	if n := r.p.traces.size(); n > r.p.traces.max {
		t.Fatalf("%d open traces, %d fit", n, r.p.traces.max)
	}
	r.pass(time.Hour)
	if len(r.sink.events) != 4000 {
		t.Fatalf("%d events", len(r.sink.events))
	}
}

func TestConfigurationErrorsNameTheFieldAndWhatItAccepts(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"directory is empty":                            func(c *Config) { c.Directory = "" },
		"settle.grace is 0s: it must be above 0":        func(c *Config) { c.Settle.Grace = 0 },
		"settle.idle is 1h0m0s, above settle.max_wait":  func(c *Config) { c.Settle.Idle = time.Hour },
		"max_value_bytes is 5: it must be 32 to 1024":   func(c *Config) { c.MaxValueBytes = 5 },
		"memory_limit is 1 bytes: it must be at least":  func(c *Config) { c.MemoryLimit = 1 },
		"max_disk is 1 bytes: it must be at least":      func(c *Config) { c.MaxDisk = 1 },
		"retention is -1s: it must be above 0":          func(c *Config) { c.Retention = -time.Second },
		"dimensions.customer is empty: list the attrib": func(c *Config) { c.Dimensions = map[string][]string{"customer": nil} },
	} {
		c := createDefaultConfig().(*Config)
		change(c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// Spans at once from many senders, with rounds in between: each call once.
func TestConcurrentSendersLoseNothing(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.Settle = SettleConfig{Grace: time.Millisecond, Idle: 2 * time.Millisecond, MaxWait: time.Second}
	})
	var senders sync.WaitGroup
	const each = 60
	for s := range 8 {
		senders.Go(func() {
			for i := range each {
				td := job(0, func(root, call ptrace.Span) {
					for _, x := range []ptrace.Span{root, call} {
						x.SetTraceID(pcommon.TraceID{byte(s + 1), byte(i)})
					}
				})
				for _, one := range split(td) {
					if err := r.p.consumeTraces(context.Background(), one); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { senders.Wait(); close(done) }()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
			r.p.round(context.Background())
		}
	}
	r.pass(time.Minute)
	r.pass(time.Minute)
	calls := usage.Quantity(0)
	for _, e := range r.sink.net() {
		for _, l := range e.Lines {
			if l.Meter == usage.MeterLLMRequests {
				calls += l.Quantity
			}
		}
	}
	if calls != usage.Units(8*each) {
		t.Fatalf("%s calls of %d", calls, 8*each)
	}
}
