package attributionprocessor

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.uber.org/zap"

	"github.com/usagebox/otelcol-usagebox/internal/tracestore"
	"github.com/usagebox/otelcol-usagebox/usage"
)

const maxBackoff = 30 * time.Second

// emit gives the oldest events of the outbox to the pipeline and forgets what it took. blocked says that it took nothing, and that the same events go out
// again later, in the same order.
func (p *attributionProcessor) emit(ctx context.Context) (sent, blocked bool) {
	if p.now().Before(p.retryAt) {
		return false, true
	}
	out, err := p.store.Outbox(roundEvents)
	if err != nil {
		p.fail(ctx, err)
		return false, true
	}
	if len(out) == 0 {
		return false, false
	}
	if err := p.send(ctx, out); err != nil {
		p.fail(ctx, err)
		return false, true
	}
	if err := p.store.Emit(out); err != nil {
		p.fail(ctx, err)
		return false, true
	}
	p.failures = 0
	n := 0
	for i := range out {
		n += len(out[i].Events)
	}
	p.outbox.Store(max(0, p.outbox.Load()-int64(n)))
	p.telemetry.UsageboxAttributionEmitted.Add(ctx, int64(n))
	return true, false
}

// send gives events to the pipeline. What it refuses for ever is counted and logged; a whole batch that it refuses so is sent trace by
// trace, to find the one.
func (p *attributionProcessor) send(ctx context.Context, out []tracestore.Outgoing) error {
	err := p.next.ConsumeTraces(ctx, spans(out))
	if err == nil {
		return nil
	}
	if rejections, ok := usage.Rejected(err); ok {
		p.telemetry.UsageboxAttributionRejected.Add(ctx, int64(len(rejections)))
		for _, r := range rejections[:min(len(rejections), 3)] {
			p.logger.Error("the pipeline refused an event for ever", zap.String("event_id", r.Key.ID), zap.String("customer", r.Key.Customer), zap.String("reason", r.Reason), zap.String("detail", r.Detail))
		}
		return nil
	}
	if !consumererror.IsPermanent(err) || len(out) == 1 {
		return err
	}
	for i := range out {
		if err := p.send(ctx, out[i:i+1]); err != nil {
			return err
		}
		if err := p.store.Emit(out[i : i+1]); err != nil {
			return err
		}
	}
	return nil
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
func spans(out []tracestore.Outgoing) ptrace.Traces {
	td := ptrace.NewTraces()
	type key struct{ customer, service string }
	scopes := map[key]ptrace.SpanSlice{}
	for i := range out {
		for j := range out[i].Events {
			e := &out[i].Events[j]
			k := key{e.Customer, e.Service}
			s, ok := scopes[k]
			if !ok {
				rs := td.ResourceSpans().AppendEmpty()
				usage.EncodeSpanResource(&e.Event, rs.Resource())
				s = rs.ScopeSpans().AppendEmpty().Spans()
				scopes[k] = s
			}
			usage.EncodeSpan(&e.Event, e.Start, s.AppendEmpty())
		}
	}
	return td
}
