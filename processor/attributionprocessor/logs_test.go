package attributionprocessor

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/processor/processortest"

	"github.com/usagebox/otelcol-usagebox/processor/attributionprocessor/internal/metadata"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// request is a log record of a model call, as Claude Code writes it.
func request(trace byte, tokens string) plog.Logs {
	ld := plog.NewLogs()
	rl := ld.ResourceLogs().AppendEmpty()
	rl.Resource().Attributes().PutStr("service.name", "claude-code")
	rl.Resource().Attributes().PutStr("customer.id", "acme")
	sl := rl.ScopeLogs().AppendEmpty()
	sl.Scope().SetName("com.anthropic.claude_code.events")
	r := sl.LogRecords().AppendEmpty()
	r.SetTimestamp(pcommon.NewTimestampFromTime(time.Date(2026, 11, 23, 8, 0, 1, 0, time.UTC)))
	if trace != 0 {
		r.SetTraceID(pcommon.TraceID{trace})
		r.SetSpanID(pcommon.SpanID{2})
	}
	r.Body().SetStr("claude_code.api_request")
	for k, v := range map[string]string{
		"event.name": "api_request", "model": "claude-sonnet-4-5", "input_tokens": tokens, "output_tokens": "5", "cache_read_tokens": "0", "cache_creation_tokens": "0",
		"duration_ms": "900", "request_id": "req_1",
	} {
		r.Attributes().PutStr(k, v)
	}
	return ld
}

func decoded(t *testing.T, sink *consumertest.LogsSink) (events []usage.Event) {
	t.Helper()
	for _, ld := range sink.AllLogs() {
		some, foreign, err := usage.DecodeLogs(ld)
		if err != nil || foreign != 0 {
			t.Fatal(foreign, err)
		}
		events = append(events, some...)
	}
	return events
}

func TestACallThatOnlyALogRecordTellsOfLeavesAsALogRecordOnce(t *testing.T) {
	r := newRig(t, nil)
	records := new(consumertest.LogsSink)
	r.records = records
	r.restart()
	for range 3 {
		if err := r.p.consumeLogs(t.Context(), request(0, "10")); err != nil {
			t.Fatal(err)
		}
		r.pass(time.Minute)
		r.restart()
	}
	events := decoded(t, records)
	if len(events) != 1 || len(r.sink.events) != 0 {
		t.Fatalf("%d events as records, %d as spans", len(events), len(r.sink.events))
	}
	if e := events[0]; e.Customer != "acme" || e.Line(usage.MeterTokensIn).Quantity != usage.Units(10) {
		t.Fatalf("%+v", e)
	}
}

func TestUsageEventsPassThroughAndOtherRecordsGoNoFurther(t *testing.T) {
	r := newRig(t, nil)
	records := new(consumertest.LogsSink)
	r.records = records
	r.restart()
	e := usage.Event{ID: "e1", Kind: usage.KindUsage, Customer: "acme", Timestamp: 1, Source: usage.SourceAPI, Lines: []usage.Line{{Meter: "pages", Quantity: usage.Units(1)}}}
	e.Normalize()
	ld := usage.EncodeLogs([]usage.Event{e})
	request(0, "10").ResourceLogs().MoveAndAppendTo(ld.ResourceLogs())
	ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty().Body().SetStr("a line of a log")
	if err := r.p.consumeLogs(t.Context(), ld); err != nil {
		t.Fatal(err)
	}
	if events := decoded(t, records); len(events) != 1 || events[0].ID != "e1" {
		t.Fatalf("%+v", events)
	}
	r.pass(time.Minute)
	if events := decoded(t, records); len(events) != 2 {
		t.Fatalf("%+v", events)
	}
}

func TestOneConfigurationStandsInATracesAndALogsPipeline(t *testing.T) {
	f := NewFactory()
	config := createDefaultConfig().(*Config)
	config.Directory, config.MinFreeDisk = t.TempDir(), 0
	config.Settle = SettleConfig{Grace: time.Millisecond, Idle: time.Millisecond, MaxWait: time.Millisecond}
	set := processortest.NewNopSettings(metadata.Type)
	spans, records := new(consumertest.TracesSink), new(consumertest.LogsSink)
	traces, err := f.CreateTraces(t.Context(), set, config, spans)
	if err != nil {
		t.Fatal(err)
	}
	logs, err := f.CreateLogs(t.Context(), set, config, records)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.CreateTraces(t.Context(), set, config, spans); err == nil || !strings.Contains(err.Error(), config.Directory+" is in use by this process already, in another traces pipeline") {
		t.Fatal(err)
	}
	if err := errors.Join(logs.Start(t.Context(), componenttest.NewNopHost()), traces.Start(t.Context(), componenttest.NewNopHost())); err != nil {
		t.Fatal(err)
	}
	if err := logs.ConsumeLogs(t.Context(), request(0, "10")); err != nil {
		t.Fatal(err)
	}
	if err := traces.ConsumeTraces(t.Context(), job(1, func(_, _ ptrace.Span) {})); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return spans.SpanCount() == 1 && records.LogRecordCount() == 1 })
	if err := errors.Join(traces.Shutdown(t.Context()), logs.Shutdown(t.Context())); err != nil {
		t.Fatal(err)
	}
	again, err := f.CreateTraces(t.Context(), set, config, spans)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(again.Start(t.Context(), componenttest.NewNopHost()), again.Shutdown(t.Context())); err != nil {
		t.Fatal(err)
	}
}

func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			t.Fatal("it does not happen")
		case <-tick.C:
		}
	}
}

func TestAnEventThatThePipelineRefusesForEverHoldsNobodyUp(t *testing.T) {
	bad := errors.New("no")
	for name, q := range map[string]struct {
		err   error
		taken int  // at first
		left  bool // some are sent again
	}{
		"named":                      {consumererror.NewPermanent(&usage.RejectedError{Rejections: []usage.Rejection{{Reason: usage.ReasonConflict}}}), 9, false},
		"named by one branch of two": {errors.Join(consumererror.NewPermanent(&usage.RejectedError{Rejections: []usage.Rejection{{Reason: usage.ReasonConflict}}}), bad), 8, true},
		"not named":                  {consumererror.NewPermanent(bad), 8, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			poison := pcommon.TraceID{7}
			r.sink.refuse = func(td ptrace.Traces) error {
				raw, _ := (&ptrace.ProtoMarshaler{}).MarshalTraces(td)
				if bytes.Contains(raw, poison[:]) {
					return q.err
				}
				return nil
			}
			for i := range byte(9) {
				r.send(job(i+1, func(_, _ ptrace.Span) {}))
			}
			r.pass(time.Minute)
			if len(r.sink.events) != q.taken {
				t.Fatalf("%d events got through", len(r.sink.events))
			}
			attempts := len(r.sink.attempts)
			r.sink.refuse = nil
			r.pass(2 * time.Minute)
			if again := len(r.sink.attempts) > attempts; again != q.left {
				t.Fatalf("sent again: %t", again)
			}
		})
	}
}
