package spanusageconnector

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/usagebox/otelcol-usagebox/connector/spanusageconnector/internal/metadata"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// spanUsage keeps nothing: it answers as the logs pipeline does.
type spanUsage struct {
	component.StartFunc
	next      consumer.Logs
	telemetry *metadata.TelemetryBuilder
}

func (*spanUsage) Capabilities() consumer.Capabilities {
	return consumer.Capabilities{MutatesData: true} // attributes move
}

func (c *spanUsage) Shutdown(context.Context) error {
	c.telemetry.Shutdown()
	return nil
}

// ConsumeTraces passes the events that spans carry to the logs pipeline, whose error is passed back as it is. Spans without an event, or with one that
// can't be read, make the answer a permanent error once the pipeline has taken the others.
func (c *spanUsage) ConsumeTraces(ctx context.Context, td ptrace.Traces) error {
	events := usage.NewGroups()
	uncounted := 0
	var unreadable []usage.Rejection
	for _, rs := range td.ResourceSpans().All() {
		for _, ss := range rs.ScopeSpans().All() {
			for _, s := range ss.Spans().All() {
				e, err := usage.DecodeSpan(rs.Resource(), s)
				switch {
				case err == nil:
					usage.MoveSpan(&e, s, events.Records(&e).AppendEmpty())
				case errors.Is(err, usage.ErrNotUsage):
					uncounted++
				default:
					unreadable = append(unreadable, e.Rejection(err))
				}
			}
		}
	}
	err := c.pass(ctx, events.Logs)
	rejections, partly := usage.Rejected(err)
	if err != nil && !partly || len(unreadable) == 0 && uncounted == 0 {
		return err
	}
	c.telemetry.UsageboxSpanusageUnreadable.Add(ctx, int64(len(unreadable)))
	c.telemetry.UsageboxSpanusageUncounted.Add(ctx, int64(uncounted))
	var errs []error
	if all := append(unreadable, rejections...); len(all) > 0 {
		errs = append(errs, &usage.RejectedError{Rejections: all})
	}
	if uncounted > 0 {
		errs = append(errs, fmt.Errorf("%d spans carry no usage event and were refused: put the attribution processor before the spanusage connector", uncounted))
	}
	return consumererror.NewPermanent(errors.Join(errs...))
}

func (c *spanUsage) pass(ctx context.Context, events plog.Logs) error {
	count := events.LogRecordCount() // what follows may change them
	if count == 0 {
		return nil
	}
	err := c.next.ConsumeLogs(ctx, events)
	failed := 0
	if rejections, ok := usage.Rejected(err); ok {
		failed = len(rejections)
	} else if err != nil {
		failed = count
	}
	c.telemetry.UsageboxSpanusageFailed.Add(ctx, int64(failed))
	c.telemetry.UsageboxSpanusageEmitted.Add(ctx, int64(count-failed))
	return err
}
