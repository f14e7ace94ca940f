package spanusageconnector

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/connector"
	"go.opentelemetry.io/collector/connector/connectortest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"pgregory.net/rapid"

	"github.com/usagebox/otelcol-usagebox/connector/spanusageconnector/internal/metadata"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// logsPipeline is the logs pipeline behind the connector.
type logsPipeline struct {
	events []usage.Event
	calls  int
	err    error
}

func (*logsPipeline) Capabilities() consumer.Capabilities { return consumer.Capabilities{} }

func (p *logsPipeline) ConsumeLogs(_ context.Context, ld plog.Logs) error {
	p.calls++
	events, foreign, err := usage.DecodeLogs(ld)
	if err != nil || foreign > 0 {
		return errors.Join(err, errors.New("not usage"))
	}
	p.events = append(p.events, events...)
	return p.err
}

func newConnector(t interface {
	Fatal(args ...any)
	Cleanup(f func())
}, next consumer.Logs,
) (connector.Traces, *componenttest.Telemetry) {
	telemetry := componenttest.NewTelemetry()
	t.Cleanup(func() { _ = telemetry.Shutdown(context.Background()) })
	set := connectortest.NewNopSettings(metadata.Type)
	set.TelemetrySettings = telemetry.NewTelemetrySettings()
	set.ID = component.NewID(metadata.Type)
	c, err := NewFactory().CreateTracesToLogs(context.Background(), set, createDefaultConfig(), next)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Shutdown(context.Background()) })
	return c, telemetry
}

func modelCall(id, customer string) usage.Event {
	e := usage.Event{
		ID: usage.SpanEventID("0102030405060708090a0b0c0d0e0f10", "0102030405060708", id), Customer: customer, Timestamp: 1_760_000_000_000_123, Operation: "chat", Model: "m",
		TraceID: "0102030405060708090a0b0c0d0e0f10", SpanID: "0102030405060708", Source: usage.SourceSpan, Service: "agent",
		Lines: []usage.Line{{Meter: usage.MeterLLMRequests, Quantity: usage.Units(1)}, {Meter: usage.MeterTokensIn, Quantity: usage.Units(12)}},
	}
	e.Normalize()
	return e
}

func encode(td ptrace.Traces, e usage.Event) ptrace.Span {
	rs := td.ResourceSpans().AppendEmpty()
	usage.EncodeSpanResource(&e, rs.Resource())
	s := rs.ScopeSpans().AppendEmpty().Spans().AppendEmpty()
	usage.EncodeSpan(&e, e.Timestamp-5, s)
	return s
}

func metric(t *testing.T, telemetry *componenttest.Telemetry, name string) int64 {
	t.Helper()
	m, err := telemetry.GetMetric("otelcol_usagebox_spanusage_" + name)
	if err != nil {
		return 0
	}
	return sumOf(t, m)
}

func TestEveryCountedSpanIsItsEventInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var want []usage.Event
		td := ptrace.NewTraces()
		for i := range rapid.IntRange(0, 8).Draw(t, "spans") {
			e := modelCall(strings.Repeat("x", i+1), rapid.SampledFrom([]string{"acme", "globex", usage.Unattributed}).Draw(t, "customer"))
			e.Lines[1].Quantity = usage.Quantity(rapid.Int64Range(1, 1e17).Draw(t, "tokens"))
			want = append(want, e)
			encode(td, e)
		}
		next := &logsPipeline{}
		c, _ := newConnector(t, next)
		if err := c.ConsumeTraces(context.Background(), td); err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(want, byID)
		slices.SortFunc(next.events, byID)
		if len(want) != len(next.events) {
			t.Fatalf("%d events of %d", len(next.events), len(want))
		}
		for i := range want {
			if string(want[i].AppendBinary(nil)) != string(next.events[i].AppendBinary(nil)) {
				t.Fatalf("%+v\nbecame %+v", want[i], next.events[i])
			}
		}
	})
}

func byID(a, b usage.Event) int { return strings.Compare(a.ID, b.ID) }

func TestASpanThatAttributionHasNotSeenIsRefusedAndTheOthersGoOn(t *testing.T) {
	td := ptrace.NewTraces()
	encode(td, modelCall("a", "acme"))
	plain := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty()
	plain.SetName("chat gpt-4o")
	plain.SetSpanID(pcommon.SpanID{1})
	next := &logsPipeline{}
	c, telemetry := newConnector(t, next)
	err := c.ConsumeTraces(t.Context(), td)
	if err == nil || !consumererror.IsPermanent(err) || !strings.Contains(err.Error(), "1 spans carry no usage event and were refused: put the attribution processor before the spanusage connector") {
		t.Fatal(err)
	}
	if len(next.events) != 1 || metric(t, telemetry, "uncounted") != 1 || metric(t, telemetry, "emitted") != 1 {
		t.Fatal(len(next.events))
	}
}

func TestASpanThatCantBeReadIsNamed(t *testing.T) {
	td := ptrace.NewTraces()
	encode(td, modelCall("a", "acme"))
	encode(td, modelCall("b", "acme")).Attributes().PutStr(usage.AttributeVersion, "no number")
	next := &logsPipeline{}
	c, telemetry := newConnector(t, next)
	err := c.ConsumeTraces(t.Context(), td)
	rejections, ok := usage.Rejected(err)
	if !ok || !consumererror.IsPermanent(err) || len(rejections) != 1 || len(next.events) != 1 || metric(t, telemetry, "unreadable") != 1 {
		t.Fatalf("%v, %d went on", err, len(next.events))
	}
}

func TestThePipelinesErrorIsPassedBackAsItIs(t *testing.T) {
	refusal := consumererror.NewPermanent(&usage.RejectedError{Rejections: []usage.Rejection{{Key: keyOf(modelCall("a", "acme")), Reason: usage.ReasonConflict}}})
	for _, want := range []error{errors.New("the disk is full"), consumererror.NewPermanent(errors.New("never")), refusal} {
		td := ptrace.NewTraces()
		encode(td, modelCall("a", "acme"))
		encode(td, modelCall("b", "acme"))
		c, telemetry := newConnector(t, &logsPipeline{err: want})
		if err := c.ConsumeTraces(t.Context(), td); err != want { //nolint:errorlint // it must be the very same
			t.Fatalf("%v became %v", want, err)
		}
		if failed, emitted := metric(t, telemetry, "failed"), metric(t, telemetry, "emitted"); failed+emitted != 2 {
			t.Fatalf("%d failed and %d emitted of 2", failed, emitted)
		}
	}
}

// A retryable error asks for all spans again, also for those that were refused: they must not hide it.
func TestAFailureComesBeforeARefusal(t *testing.T) {
	td := ptrace.NewTraces()
	encode(td, modelCall("a", "acme"))
	td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty()
	c, _ := newConnector(t, &logsPipeline{err: errors.New("the disk is full")})
	if err := c.ConsumeTraces(t.Context(), td); err == nil || consumererror.IsPermanent(err) {
		t.Fatal(err)
	}
}

func TestRefusalsOfThePipelineAndOfTheConnectorAreToldTogether(t *testing.T) {
	td := ptrace.NewTraces()
	encode(td, modelCall("a", "acme"))
	encode(td, modelCall("b", "acme")).Attributes().PutStr(usage.AttributeVersion, "no number")
	td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty()
	refusal := consumererror.NewPermanent(&usage.RejectedError{Rejections: []usage.Rejection{{Key: keyOf(modelCall("a", "acme")), Reason: usage.ReasonConflict}}})
	c, _ := newConnector(t, &logsPipeline{err: refusal})
	err := c.ConsumeTraces(t.Context(), td)
	rejections, _ := usage.Rejected(err)
	if len(rejections) != 2 || !strings.Contains(err.Error(), "put the attribution processor before") {
		t.Fatal(err)
	}
}

func TestNoSpansAreNoCall(t *testing.T) {
	next := &logsPipeline{}
	c, _ := newConnector(t, next)
	if err := c.ConsumeTraces(t.Context(), ptrace.NewTraces()); err != nil || next.calls != 0 {
		t.Fatal(err, next.calls)
	}
}

func sumOf(t *testing.T, m metricdata.Metrics) (n int64) {
	t.Helper()
	sum, ok := m.Data.(metricdata.Sum[int64])
	if !ok {
		t.Fatalf("%s is a %T", m.Name, m.Data)
	}
	for _, p := range sum.DataPoints {
		n += p.Value
	}
	return n
}

func keyOf(e usage.Event) usage.Key { return e.Key() }
