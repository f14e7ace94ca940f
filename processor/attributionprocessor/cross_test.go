package attributionprocessor

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// intoSink leads events that go out as log records to the same ledger.
type intoSink struct{ *sink }

func (intoSink) Capabilities() consumer.Capabilities { return consumer.Capabilities{} }

func (s intoSink) ConsumeLogs(_ context.Context, ld plog.Logs) error {
	events, _, err := usage.DecodeLogs(ld)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range events {
		if before, ok := s.seen[e.Key()]; !ok {
			s.events = append(s.events, e)
		} else if before != e.Payload() {
			s.t.Errorf("%v came again with another payload", e.Key())
		}
		s.seen[e.Key()] = e.Payload()
	}
	return nil
}

// bill is what everyone used, in the end.
func (r *rig) bill() string {
	totals := map[string]usage.Quantity{}
	for _, e := range r.sink.net() {
		for _, l := range e.Lines {
			totals[e.Customer+" "+strings.TrimPrefix(strings.TrimPrefix(l.Meter, "llm_"), "tokens_")] += l.Quantity
		}
	}
	var lines []string
	for _, k := range slices.Sorted(maps.Keys(totals)) {
		if q := totals[k]; q != 0 && !strings.HasSuffix(k, "agent_seconds") {
			lines = append(lines, k+"="+q.String())
		}
	}
	return strings.Join(lines, ", ")
}

// told is a job whose spans have attributes.
func told(trace byte, scope string, root, call map[string]string) ptrace.Traces {
	td := job(trace, func(r, c ptrace.Span) {
		for k, v := range root {
			r.Attributes().PutStr(k, v)
		}
		for k, v := range call {
			c.Attributes().PutStr(k, v)
		}
	})
	td.ResourceSpans().At(0).ScopeSpans().At(0).Scope().SetName(scope)
	return td
}

// plain is a trace of one span that counts nothing.
func plain(trace byte, attributes map[string]string, links ...byte) ptrace.Traces {
	td := ptrace.NewTraces()
	s := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty()
	s.SetTraceID(pcommon.TraceID{trace})
	s.SetSpanID(pcommon.SpanID{1})
	for k, v := range attributes {
		s.Attributes().PutStr(k, v)
	}
	for _, l := range links {
		link := s.Links().AppendEmpty()
		link.SetTraceID(pcommon.TraceID{l})
		link.SetSpanID(pcommon.SpanID{1})
	}
	return td
}

// onSpan is the span of the call that request is the log record of.
func onSpan(trace byte) ptrace.Traces {
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	rs.Resource().Attributes().PutStr("service.name", "claude-code")
	rs.Resource().Attributes().PutStr("customer.id", "acme")
	ss := rs.ScopeSpans().AppendEmpty()
	ss.Scope().SetName("com.anthropic.claude_code.tracing")
	s := ss.Spans().AppendEmpty()
	s.SetName("claude_code.llm_request")
	s.SetTraceID(pcommon.TraceID{trace})
	s.SetSpanID(pcommon.SpanID{1})
	end := time.Date(2026, 11, 23, 8, 0, 0, 990_000_000, time.UTC)
	s.SetStartTimestamp(pcommon.NewTimestampFromTime(end.Add(-900 * time.Millisecond)))
	s.SetEndTimestamp(pcommon.NewTimestampFromTime(end))
	s.Attributes().PutStr("model", "claude-sonnet-4-5")
	s.Attributes().PutInt("input_tokens", 10)
	s.Attributes().PutInt("output_tokens", 5)
	return td
}

func text(pairs ...string) map[string]string {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return m
}

// What traces tell each other holds whichever comes first, together, later or hours later, across restarts and power cuts.
func TestWhatTracesTellEachOtherHoldsInAnyOrder(t *testing.T) {
	const talk, sdk, gateway = "gen_ai.conversation.id", "opentelemetry.instrumentation.openai_v2", "litellm"
	for name, q := range map[string]struct {
		spans []ptrace.Traces
		logs  []plog.Logs
		want  string
	}{
		"a conversation tells a sub-agent's trace whose it is": {
			spans: []ptrace.Traces{
				told(1, sdk, text(talk, "c1", "customer.id", "acme"), nil), told(2, sdk, text(talk, "c1"), nil), told(3, sdk, nil, text(talk, "c1")), told(4, sdk, text(talk, "c2"), nil),
			},
			want: "acme in=30, acme out=15, acme requests=3, unattributed in=10, unattributed out=5, unattributed requests=1",
		},
		"a request that counts nothing tells whose a conversation is": {
			spans: []ptrace.Traces{plain(1, text(talk, "c1", "customer.id", "acme")), told(2, sdk, text(talk, "c1"), nil)},
			want:  "acme in=10, acme out=5, acme requests=1",
		},
		"a conversation of two customers tells nothing": {
			spans: []ptrace.Traces{
				told(1, sdk, text(talk, "1", "customer.id", "acme"), nil), told(2, sdk, text(talk, "1"), nil), told(3, sdk, text(talk, "1", "customer.id", "globex"), nil),
			},
			want: "acme in=10, acme out=5, acme requests=1, globex in=10, globex out=5, globex requests=1, unattributed in=10, unattributed out=5, unattributed requests=1",
		},
		"a link leads through traces that count nothing to one whose conversation knows": {
			spans: []ptrace.Traces{
				plain(1, text(talk, "c1", "customer.id", "acme")), plain(2, text(talk, "c1")), plain(3, nil, 2), func() ptrace.Traces {
					td := told(4, sdk, nil, nil)
					link := td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).Links().AppendEmpty()
					link.SetTraceID(pcommon.TraceID{3})
					link.SetSpanID(pcommon.SpanID{1})
					return td
				}(),
			},
			want: "acme in=10, acme out=5, acme requests=1",
		},
		"an SDK and a gateway tell of one call, of which the gateway knows the customer by its conversation": {
			spans: []ptrace.Traces{
				told(1, sdk, nil, text("gen_ai.response.id", "r1")), told(2, gateway, text("customer.id", "acme"), text("gen_ai.response.id", "r1")), told(3, gateway, nil, text("gen_ai.response.id", "r2")),
			},
			want: "acme in=10, acme out=5, acme requests=1, unattributed in=10, unattributed out=5, unattributed requests=1",
		},
		"three SDK spans and two of a gateway with one id are three calls": {
			spans: []ptrace.Traces{
				told(1, sdk, nil, text("gen_ai.response.id", "r1")), told(2, sdk, nil, text("gen_ai.response.id", "r1")), told(3, sdk, nil, text("gen_ai.response.id", "r1")),
				told(4, gateway, nil, text("gen_ai.response.id", "r1")), told(5, gateway, nil, text("gen_ai.response.id", "r1")),
			},
			want: "unattributed in=30, unattributed out=15, unattributed requests=3",
		},
		"a service tells of a call on a span and on a log record without a trace": {
			spans: []ptrace.Traces{onSpan(1)}, logs: []plog.Logs{request(0, "10"), request(0, "11")},
			want: "acme in=21, acme out=10, acme requests=2",
		},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(24) {
				random := rand.New(rand.NewPCG(seed, 5))
				m := &machine{mem: vfs.NewCrashableMem(), skip: -1}
				r := newRigOn(t, m.mem, func(c *Config) { c.Directory = "/state/attribution" })
				r.records = intoSink{r.sink}
				r.p.nextLogs = r.records
				for _, i := range random.Perm(len(q.spans) + len(q.logs)) {
					if i < len(q.spans) {
						r.send(q.spans[i])
					} else if err := r.p.consumeLogs(t.Context(), q.logs[i-len(q.spans)]); err != nil {
						t.Fatal(err)
					}
					switch random.IntN(4) {
					case 0:
						r.pass(time.Minute)
					case 1:
						r.pass(3 * time.Hour)
					case 2:
						r.pass(3 * time.Second)
						r.powerCut(m, random.IntN(101), random)
					}
				}
				r.pass(time.Hour)
				if got := r.bill(); got != q.want {
					t.Fatalf("seed %d:\ngot  %s\nwant %s", seed, got, q.want)
				}
				events := len(r.sink.events)
				r.powerCut(m, 0, random)
				r.pass(time.Hour)
				if len(r.sink.events) != events {
					t.Fatalf("seed %d: %d more events without a cause", seed, len(r.sink.events)-events)
				}
				if err := r.p.close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// A conversation keeps what its first trace said for as long as others are in it, and nothing of one that is over.
func TestAConversationIsRememberedWhileItGoesOn(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Retention = 10 * time.Hour })
	r.send(told(1, "s", text("gen_ai.conversation.id", "c1", "customer.id", "acme"), nil))
	for i := range byte(9) {
		r.pass(6 * time.Hour)
		r.send(told(10+i, "s", text("gen_ai.conversation.id", "c1"), nil))
	}
	r.pass(time.Minute)
	if got := r.bill(); got != "acme in=100, acme out=50, acme requests=10" {
		t.Fatal(got)
	}
	for range 4 {
		r.pass(30 * time.Hour)
	}
	r.send(told(99, "s", text("gen_ai.conversation.id", "c1"), nil))
	r.pass(time.Minute)
	if got := r.bill(); !strings.Contains(got, "unattributed requests=1") {
		t.Fatal(got)
	}
}

// A conversation of many traces costs each of them one look, and each one more when something new is said of it.
func TestALongConversationIsLookedAtAgainOnlyForNews(t *testing.T) {
	r := newRig(t, nil)
	const n = 1500
	name := func(i int) ptrace.Traces {
		td := told(1, "s", text("gen_ai.conversation.id", "c1"), nil)
		for _, s := range td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().All() {
			s.SetTraceID(pcommon.TraceID{7, byte(i), byte(i >> 8)})
		}
		return td
	}
	for i := range n {
		r.send(name(i))
		if i%100 == 0 {
			r.pass(time.Minute)
		}
	}
	r.pass(time.Minute)
	if got := len(r.sink.events); got != n {
		t.Fatalf("%d events of %d calls", got, n)
	}
	r.send(plain(1, text("gen_ai.conversation.id", "c1", "customer.id", "acme")))
	r.pass(time.Minute)
	if got, want := r.bill(), fmt.Sprintf("acme in=%d, acme out=%d, acme requests=%d", 10*n, 5*n, n); got != want {
		t.Fatalf("got %s, want %s", got, want)
	}
	if got := len(r.sink.events); got != 3*n {
		t.Fatalf("%d events: each call is retracted and told anew once", got)
	}
}

// A span without ids, without times or with a clock that runs ahead is the same span when it is sent again later.
func TestASpanThatSaysLittleIsCountedOnceHoweverOftenItIsSent(t *testing.T) {
	r := newRig(t, nil)
	anonymous := crowd(1, func(_ int, s ptrace.Span) {
		call(s, "gpt-4o", 10)
		s.SetTraceID(pcommon.TraceID{})
		s.SetSpanID(pcommon.SpanID{})
		s.SetEndTimestamp(pcommon.NewTimestampFromTime(r.now.Add(24 * time.Hour)))
	})
	timeless := crowd(1, func(_ int, s ptrace.Span) {
		call(s, "gpt-4o", 10)
		s.SetTraceID(pcommon.TraceID{})
		s.SetStartTimestamp(0)
		s.SetEndTimestamp(0)
	})
	began := r.now
	for range 3 {
		r.send(anonymous)
		r.send(timeless)
		r.pass(time.Hour)
	}
	if got := r.total(usage.MeterLLMRequests); got != usage.Units(2) {
		t.Fatalf("%s calls", got)
	}
	for _, e := range r.sink.events {
		if at := e.Timestamp.Time(); at.Before(began) || at.After(began.Add(15*time.Minute)) {
			t.Fatalf("an event at %s", at)
		}
	}
}

// Every dimension that has more values in an hour than it may is named, once.
func TestADimensionOfTooManyValuesIsNamedOnceAnHour(t *testing.T) {
	v := newValueCounter(2)
	var named []string
	for hour := range usage.Micros(2) {
		for i := range 5 {
			id := fmt.Sprint(i)
			named = append(named, v.add(&usage.Event{
				Timestamp: hour * usage.MicrosPerHour, Customer: "acme", UserID: id, SessionID: "s", ConversationID: id,
				Dimensions: []usage.Dimension{{Key: "region", Value: id}, {Key: "reported_cost", Value: id}},
			})...)
		}
	}
	if got := strings.Join(named, " "); got != "user_id conversation_id region user_id conversation_id region" {
		t.Fatal(got)
	}
}
