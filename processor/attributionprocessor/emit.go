package attributionprocessor

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.uber.org/zap"

	"github.com/usagebox/otelcol-usagebox/internal/attribution"
	"github.com/usagebox/otelcol-usagebox/internal/tracestore"
	"github.com/usagebox/otelcol-usagebox/usage"
)

const maxBackoff = 30 * time.Second

// parking holds the traces whose events the pipeline refuses without naming them: they wait, and others go on.
type parking struct {
	until  time.Time
	traces map[attribution.TraceID]struct{}
}

const (
	parkFor   = time.Minute
	maxParked = 256 // beyond it the pipeline itself is in trouble
)

// emit gives the oldest events of the outbox to the pipeline and forgets what it took. blocked says that it took nothing, and that the same events go out
// again later, in the same order.
func (p *attributionProcessor) emit(ctx context.Context) (sent, blocked bool) {
	if p.now().Before(p.retryAt) {
		return false, true
	}
	if !p.now().Before(p.parked.until) {
		p.parked.traces = map[attribution.TraceID]struct{}{}
	}
	out, err := p.store.Outbox(roundEvents, p.parked.traces)
	if err == nil && len(out) == 0 {
		return false, false
	}
	if err == nil {
		err = p.send(ctx, out)
	}
	if err != nil {
		p.fail(ctx, err)
		return false, true
	}
	p.failures = 0
	return true, false
}

// send gives entries of the outbox to the pipeline, and one by one when it refuses them together, to find the one that it doesn't take.
func (p *attributionProcessor) send(ctx context.Context, out []tracestore.Outgoing) error {
	err := p.deliver(ctx, out)
	if err == nil {
		return p.sent(ctx, out)
	}
	if !consumererror.IsPermanent(err) {
		return err
	}
	for i := range out {
		one := out[i : i+1]
		if _, ok := p.parked.traces[out[i].Trace]; ok {
			continue
		}
		err := p.deliver(ctx, one)
		switch {
		case err == nil:
			if err := p.sent(ctx, one); err != nil {
				return err
			}
		case !consumererror.IsPermanent(err) || len(p.parked.traces) >= maxParked:
			return err
		default:
			p.park(ctx, &out[i], err)
		}
	}
	return nil
}

func (p *attributionProcessor) park(ctx context.Context, o *tracestore.Outgoing, err error) {
	p.parked.traces[o.Trace] = struct{}{}
	p.parked.until = p.now().Add(parkFor)
	p.telemetry.UsageboxAttributionOutboxFailures.Add(ctx, 1)
	p.logger.Error("the pipeline refuses a trace's events without naming them: they are kept and sent again, others go on",
		zap.Stringer("trace_id", o.Trace), zap.Duration("in", parkFor), zap.Error(err))
}

// sent forgets what the pipeline took.
func (p *attributionProcessor) sent(ctx context.Context, out []tracestore.Outgoing) error {
	if err := p.store.Emit(out); err != nil {
		return err
	}
	n := 0
	for i := range out {
		n += len(out[i].Events)
	}
	p.outbox.Store(max(0, p.outbox.Load()-int64(n)))
	p.telemetry.UsageboxAttributionEmitted.Add(ctx, int64(n))
	return nil
}

// deliver gives events to the pipelines: those that only log records tell of as log records, the others as spans, each the other way when
// there is no such pipeline.
func (p *attributionProcessor) deliver(ctx context.Context, out []tracestore.Outgoing) error {
	onSpans := make([]*tracestore.Event, 0, roundEvents)
	var onRecords []usage.Event
	for i := range out {
		for j := range out[i].Events {
			e := &out[i].Events[j]
			if p.nextTraces == nil || e.Source == attribution.SourceLog && p.nextLogs != nil {
				onRecords = append(onRecords, e.Event)
			} else {
				onSpans = append(onSpans, e)
			}
		}
	}
	if len(onSpans) > 0 {
		if err := p.final(ctx, p.nextTraces.ConsumeTraces(ctx, spans(onSpans))); err != nil {
			return err
		}
	}
	if len(onRecords) > 0 {
		return p.final(ctx, p.nextLogs.ConsumeLogs(ctx, usage.EncodeLogs(onRecords)))
	}
	return nil
}

// final is nil when every event was taken or refused by name, which is counted and logged.
func (p *attributionProcessor) final(ctx context.Context, err error) error {
	if err == nil || !onlyRejections(err) {
		return err
	}
	rejections, _ := usage.Rejected(err)
	p.telemetry.UsageboxAttributionRejected.Add(ctx, int64(len(rejections)))
	for _, r := range rejections[:min(len(rejections), 3)] {
		p.logger.Error("the pipeline refused an event for ever", zap.String("event_id", r.Key.ID), zap.String("customer", r.Key.Customer), zap.String("reason", r.Reason), zap.String("detail", r.Detail))
	}
	return nil
}

// onlyRejections says whether every branch of err names the events that were not taken. Where a pipeline forks, one branch may name some
// while another took nothing.
func onlyRejections(err error) bool {
	for e := err; e != nil; e = errors.Unwrap(e) {
		if several, ok := e.(interface{ Unwrap() []error }); ok {
			for _, branch := range several.Unwrap() {
				if !onlyRejections(branch) {
					return false
				}
			}
			return true
		}
	}
	_, ok := usage.Rejected(err)
	return ok
}

func (p *attributionProcessor) fail(ctx context.Context, err error) {
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return
	}
	p.failures++
	wait := min(maxBackoff, 100*time.Millisecond<<min(p.failures, 12))
	wait = wait/2 + time.Duration(float64(wait/2)*p.jitter())
	p.retryAt = p.now().Add(wait)
	p.telemetry.UsageboxAttributionOutboxFailures.Add(ctx, 1)
	p.logger.Warn("the pipeline did not take counted events: they are kept and sent again", zap.Duration("in", wait), zap.Error(err))
}

// spans carries events as spans, those of one customer and service together and in their order.
func spans(events []*tracestore.Event) ptrace.Traces {
	td := ptrace.NewTraces()
	type key struct{ customer, service string }
	scopes := map[key]ptrace.SpanSlice{}
	var last key
	var s ptrace.SpanSlice
	for i, e := range events {
		if k := (key{e.Customer, e.Service}); i == 0 || k != last {
			var ok bool
			if s, ok = scopes[k]; !ok {
				rs := td.ResourceSpans().AppendEmpty()
				usage.EncodeSpanResource(&e.Event, rs.Resource())
				s = rs.ScopeSpans().AppendEmpty().Spans()
				scopes[k] = s
			}
			last = k
		}
		usage.EncodeSpan(&e.Event, e.Start, s.AppendEmpty())
	}
	return td
}
