package attributionprocessor

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/usagebox/otelcol-usagebox/internal/attribution"
	"github.com/usagebox/otelcol-usagebox/usage"
)

func (p *attributionProcessor) registerGauges() error {
	t := p.telemetry
	store, traces := p.store, p.traces
	for _, g := range [...]struct {
		register func(metric.Int64Callback) error
		value    func() int64
	}{
		{t.RegisterUsageboxAttributionFactsSizeCallback, store.DiskBytes},
		{t.RegisterUsageboxAttributionOpenTracesCallback, func() int64 { return int64(traces.size()) }},
		{t.RegisterUsageboxAttributionOldestOpenCallback, func() int64 { return p.age(traces.oldest()) }},
		{t.RegisterUsageboxAttributionOverdueCallback, func() int64 {
			overdue, _ := traces.pressed(usage.MicrosOf(p.now()))
			return int64(overdue.Seconds())
		}},
		{t.RegisterUsageboxAttributionOldestFactsCallback, func() int64 { return p.age(usage.Micros(p.oldest.Load())) }},
		{t.RegisterUsageboxAttributionOutboxCallback, p.outbox.Load},
	} {
		if err := g.register(func(_ context.Context, o metric.Int64Observer) error {
			o.Observe(g.value())
			return nil
		}); err != nil {
			return err
		}
	}
	return t.RegisterUsageboxAttributionLimitedCallback(func(_ context.Context, o metric.Int64Observer) error {
		for l := range attribution.NumLimits {
			o.Observe(p.reader.Reached(l), metric.WithAttributes(attribute.String("limit", l.String())))
		}
		return nil
	})
}

// age is how many seconds ago a time was; 0 for none.
func (p *attributionProcessor) age(at usage.Micros) int64 {
	if at == 0 {
		return 0
	}
	return max(0, int64((usage.MicrosOf(p.now())-at)/1_000_000))
}
