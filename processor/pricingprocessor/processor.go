package pricingprocessor

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"

	"github.com/usagebox/otelcol-usagebox/internal/catalog"
	"github.com/usagebox/otelcol-usagebox/processor/pricingprocessor/internal/metadata"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// pricing prices usage events on their way, at the catalogue that is in force.
type pricing struct {
	config    *Config
	next      consumer.Logs
	logger    *zap.Logger
	telemetry *metadata.TelemetryBuilder
	ticks     func(time.Duration) (<-chan time.Time, func())

	current atomic.Pointer[catalog.Catalog]
	stale   atomic.Bool
	misses  *series
	drift   *drift

	watch *watch
	stop  func()
	done  sync.WaitGroup
}

func newPricing(config *Config, next consumer.Logs, logger *zap.Logger, telemetry *metadata.TelemetryBuilder) *pricing {
	return &pricing{
		config: config, next: next, logger: logger, telemetry: telemetry, ticks: ticker,
		misses: newSeries(config.MetricSeries, telemetry), drift: newDrift(config.MetricSeries), stop: func() {},
	}
}

func ticker(d time.Duration) (<-chan time.Time, func()) {
	t := time.NewTicker(d)
	return t.C, t.Stop
}

// Start loads the catalogue. One that can't be used is an error, unless another one from the same path was in force before: that stays so.
func (p *pricing) Start(ctx context.Context, host component.Host) error {
	p.watch = &watch{path: p.config.Catalog}
	c, broken := p.watch.open()
	if broken != nil {
		var err error
		if c, err = catalog.Recall(p.config.Directory, p.config.Catalog); err != nil {
			return fmt.Errorf("the catalogue can't be used, and there was none before it: %w", broken)
		}
	}
	if err := p.enforce(c); err != nil {
		return err
	}
	if broken != nil {
		p.keepsTheOld(ctx, host, broken)
	}
	if err := p.observe(); err != nil {
		return err
	}
	if p.config.Catalog == "" {
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.stop = cancel
	p.done.Go(func() { p.follow(ctx, host) })
	return nil
}

func (p *pricing) Shutdown(context.Context) error {
	p.stop()
	p.done.Wait()
	p.telemetry.Shutdown()
	return nil
}

// enforce keeps a version in the directory, and then prices by it.
func (p *pricing) enforce(c *catalog.Catalog) error {
	if err := c.Keep(p.config.Directory); err != nil {
		return fmt.Errorf("the catalogue's version %s can't be kept in %s: %w", c.Version, p.config.Directory, err)
	}
	if p.config.Catalog != "" {
		if err := c.Remember(p.config.Directory, p.config.Catalog); err != nil {
			return fmt.Errorf("that the catalogue's version %s is in force can't be noted in %s: %w", c.Version, p.config.Directory, err)
		}
	}
	p.current.Store(c)
	p.logger.Info("Catalogue in force", zap.String("version", c.Version), zap.Int("rates", len(c.Rates())))
	return nil
}

// follow looks at the catalogue's files until ctx ends.
func (p *pricing) follow(ctx context.Context, host component.Host) {
	ticks, stop := p.ticks(p.config.ReloadInterval)
	defer stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks:
			p.look(ctx, host)
		}
	}
}

// look takes a change of the catalogue's files that stays, or says why it can't.
func (p *pricing) look(ctx context.Context, host component.Host) {
	c, changed, err := p.watch.look()
	if err == nil && changed && c.Version != p.current.Load().Version {
		if err = p.enforce(c); err != nil {
			p.watch.again()
		} else {
			p.telemetry.UsageboxPricingReloads.Add(ctx, 1)
		}
	}
	switch {
	case err != nil:
		p.keepsTheOld(ctx, host, err)
	case changed && p.stale.Swap(false):
		p.logger.Info("The catalogue can be used again", zap.String("version", p.current.Load().Version))
		componentstatus.ReportStatus(host, componentstatus.NewEvent(componentstatus.StatusOK))
	}
}

// keepsTheOld tells everyone that what is in force isn't what is in the catalogue's files.
func (p *pricing) keepsTheOld(ctx context.Context, host component.Host, err error) {
	p.stale.Store(true)
	p.telemetry.UsageboxPricingReloadFailures.Add(ctx, 1)
	p.logger.Error("The catalogue can't be used: the one before it stays in force", zap.String("catalog", p.config.Catalog),
		zap.String("version", p.current.Load().Version), zap.Error(err))
	componentstatus.ReportStatus(host, componentstatus.NewRecoverableErrorEvent(err))
}

func (*pricing) Capabilities() consumer.Capabilities { return consumer.Capabilities{MutatesData: true} }

// ConsumeLogs sets cost and price of every line at one catalogue for the whole batch, marks what has none, and answers as the rest
// of the pipeline does. Records of something else pass as they are.
func (p *pricing) ConsumeLogs(ctx context.Context, ld plog.Logs) error {
	c := p.current.Load()
	var events, foreign int64
	var e usage.Event
	var missing []catalog.Missing
	for _, rl := range ld.ResourceLogs().All() {
		for _, sl := range rl.ScopeLogs().All() {
			for _, r := range sl.LogRecords().All() {
				if usage.DecodeRecord(rl.Resource(), r, &e) != nil {
					if !usage.IsRefusal(r) {
						foreign++
					}
					continue
				}
				events++
				missing = c.Price(&e, missing[:0])
				for _, m := range missing {
					p.misses.count(ctx, &e, m)
				}
				p.drift.compare(&e, missing)
				usage.EncodeCharges(&e, r)
			}
		}
	}
	p.telemetry.UsageboxPricingEvents.Add(ctx, events)
	p.telemetry.UsageboxPricingForeign.Add(ctx, foreign)
	return p.next.ConsumeLogs(ctx, ld)
}

func (p *pricing) observe() error {
	if err := p.telemetry.RegisterUsageboxPricingCatalogRatesCallback(func(_ context.Context, o metric.Int64Observer) error {
		c := p.current.Load()
		o.Observe(int64(len(c.Rates())), metric.WithAttributes(attribute.String("version", c.Version)))
		return nil
	}); err != nil {
		return err
	}
	if err := p.telemetry.RegisterUsageboxPricingCatalogStaleCallback(func(_ context.Context, o metric.Int64Observer) error {
		stale := int64(0)
		if p.stale.Load() {
			stale = 1
		}
		o.Observe(stale)
		return nil
	}); err != nil {
		return err
	}
	if err := p.telemetry.RegisterUsageboxPricingReportedCostCallback(p.drift.observe(func(s *driftSum) int64 { return micros(s.reported) })); err != nil {
		return err
	}
	return p.telemetry.RegisterUsageboxPricingComparedCostCallback(p.drift.observe(func(s *driftSum) int64 { return micros(s.ours) }))
}
