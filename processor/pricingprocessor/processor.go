package pricingprocessor

import (
	"context"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.uber.org/zap"

	"github.com/usagebox/otelcol-usagebox/processor/pricingprocessor/internal/metadata"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// pricing prices usage events on their way.
type pricing struct {
	config    *Config
	next      consumer.Logs
	logger    *zap.Logger
	telemetry *metadata.TelemetryBuilder
	newTicker func(time.Duration) *time.Ticker
}

func newPricing(config *Config, next consumer.Logs, logger *zap.Logger, telemetry *metadata.TelemetryBuilder, newTicker func(time.Duration) *time.Ticker) *pricing {
	return &pricing{config: config, next: next, logger: logger, telemetry: telemetry, newTicker: newTicker}
}

func (*pricing) Start(context.Context, component.Host) error { return nil }

func (p *pricing) Shutdown(context.Context) error {
	p.telemetry.Shutdown()
	return nil
}

func (*pricing) Capabilities() consumer.Capabilities { return consumer.Capabilities{MutatesData: true} }

// ConsumeLogs marks what has no rate and answers as the rest of the pipeline does. Records of something else pass as they are.
func (p *pricing) ConsumeLogs(ctx context.Context, ld plog.Logs) error {
	var events, foreign int64
	var e usage.Event
	for _, rl := range ld.ResourceLogs().All() {
		for _, sl := range rl.ScopeLogs().All() {
			for _, r := range sl.LogRecords().All() {
				if usage.DecodeRecord(rl.Resource(), r, &e) != nil {
					foreign++
					continue
				}
				events++
				e.AddFlag(usage.FlagUnpriced)
				usage.EncodeRecord(&e, r)
			}
		}
	}
	p.telemetry.UsageboxPricingEvents.Add(ctx, events)
	p.telemetry.UsageboxPricingForeign.Add(ctx, foreign)
	return p.next.ConsumeLogs(ctx, ld)
}
