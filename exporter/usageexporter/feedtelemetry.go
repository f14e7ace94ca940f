package usageexporter

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/usagebox/otelcol-usagebox/internal/feed"
)

func receiverAttribute(name string) metric.MeasurementOption {
	return metric.WithAttributes(attribute.String("receiver", name))
}

func (b *billingFeed) registerGauges() error {
	t := b.telemetry
	for _, g := range [...]struct {
		register func(metric.Int64Callback) error
		value    func(*feed.Status) int64
	}{
		{t.RegisterUsageboxFeedDeadCallback, func(s *feed.Status) int64 { return s.Dead }},
		{t.RegisterUsageboxFeedDeliveredCallback, func(s *feed.Status) int64 { return int64(s.Delivered) }},
		{t.RegisterUsageboxFeedDownCallback, func(s *feed.Status) int64 { return int64(min(1, len(s.Down))) }},
		{t.RegisterUsageboxFeedLagCallback, func(s *feed.Status) int64 { return s.LagS }},
		{t.RegisterUsageboxFeedMadeCallback, func(s *feed.Status) int64 { return int64(s.Made) }},
		{t.RegisterUsageboxFeedPendingCallback, func(s *feed.Status) int64 { return int64(s.Pending) }},
		{t.RegisterUsageboxFeedRetriesCallback, func(s *feed.Status) int64 { return int64(s.Retries) }},
		{t.RegisterUsageboxFeedUncertainCallback, func(s *feed.Status) int64 { return s.Uncertain }},
		{t.RegisterUsageboxFeedWaitingHoursCallback, func(s *feed.Status) int64 { return int64(s.Hours) }},
	} {
		if err := g.register(func(_ context.Context, o metric.Int64Observer) error {
			all, err := b.feed.StatusNow(false)
			for i := range all {
				o.Observe(g.value(&all[i]), receiverAttribute(all[i].Receiver))
			}
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}
