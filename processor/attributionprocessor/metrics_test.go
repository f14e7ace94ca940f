package attributionprocessor

import (
	"context"
	"testing"
	"time"

	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"

	"github.com/usagebox/otelcol-usagebox/processor/attributionprocessor/internal/metadatatest"
)

// A trace settles, is sent again, gets a further call, and another one links to it, with restarts between: each call counts once in the metrics.
func TestATraceThatSettlesAgainAddsToMetricsOnlyWhatIsNew(t *testing.T) {
	r := newRig(t, nil)
	r.metrics = componenttest.NewTelemetry()
	t.Cleanup(func() {
		if err := r.metrics.Shutdown(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	r.restart()
	point := func(n int64, attributes ...attribute.KeyValue) []metricdata.DataPoint[int64] {
		return []metricdata.DataPoint[int64]{{Value: n, Attributes: attribute.NewSet(attributes...)}}
	}
	check := func(when string, calls, doubles int64) {
		t.Helper()
		t.Log(when)
		plain := metricdatatest.IgnoreTimestamp()
		metadatatest.AssertEqualUsageboxAttributionCalls(t, r.metrics, point(calls, attribute.String("dialect", "opentelemetry")), plain)
		metadatatest.AssertEqualUsageboxAttributionUnattributed(t, r.metrics, point(calls), plain)
		metadatatest.AssertEqualUsageboxAttributionDoubles(t, r.metrics, point(doubles), plain)
	}
	first := job(1, func(_, _ ptrace.Span) {})
	r.send(first)
	r.pass(time.Minute)
	check("first", 1, 0)

	r.restart()
	r.send(first)
	r.pass(time.Minute)
	check("the same again", 1, 0)

	further := func(span byte) {
		td := job(1, func(_, call ptrace.Span) {
			call.SetSpanID(pcommon.SpanID{span})
			call.SetStartTimestamp(call.StartTimestamp() + pcommon.Timestamp(span)*1e9)
			call.SetEndTimestamp(call.EndTimestamp() + pcommon.Timestamp(span)*1e9)
			call.Attributes().PutInt("gen_ai.usage.input_tokens", int64(span))
		})
		r.send(td)
		r.pass(time.Minute)
	}
	further(7)
	check("a further call", 2, 0)
	r.restart()
	further(9)
	check("one more", 3, 0)

	r.send(job(2, func(root, call ptrace.Span) {
		link := root.Links().AppendEmpty()
		link.SetTraceID(pcommon.TraceID{1})
		link.SetSpanID(pcommon.SpanID{1})
	}))
	r.pass(3 * time.Hour)
	check("another trace", 4, 0)
}
