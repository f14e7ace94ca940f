package pricingprocessor

import (
	"context"
	"math/big"
	"strings"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/usagebox/otelcol-usagebox/internal/catalog"
	"github.com/usagebox/otelcol-usagebox/internal/decimal"
	"github.com/usagebox/otelcol-usagebox/processor/pricingprocessor/internal/metadata"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// other stands for the providers, models and meters beyond the bound of series.
const other = "_other"

// series counts lines without an amount, in a bounded number of series.
type series struct {
	limit     int
	telemetry *metadata.TelemetryBuilder

	mu    sync.Mutex // guards known
	known map[seriesKey]metric.MeasurementOption
}

type seriesKey struct {
	book, provider, model, meter string
	reason                       catalog.Reason
}

func newSeries(limit int, telemetry *metadata.TelemetryBuilder) *series {
	return &series{limit: limit, telemetry: telemetry, known: map[seriesKey]metric.MeasurementOption{}}
}

func (s *series) count(ctx context.Context, e *usage.Event, m catalog.Missing) {
	option := s.option(seriesKey{m.Book, e.Provider, e.Model, e.Lines[m.Line].Meter, m.Reason})
	if m.Reason == catalog.OfPeriod {
		s.telemetry.UsageboxPricingPeriodLines.Add(ctx, 1, option)
		return
	}
	s.telemetry.UsageboxPricingUnpricedLines.Add(ctx, 1, option)
}

func (s *series) option(k seriesKey) metric.MeasurementOption {
	s.mu.Lock()
	defer s.mu.Unlock()
	if option, ok := s.known[k]; ok {
		return option
	}
	if len(s.known) >= s.limit {
		k.provider, k.model, k.meter = other, other, other
		if option, ok := s.known[k]; ok {
			return option
		}
	}
	attributes := []attribute.KeyValue{
		attribute.String("book", k.book), attribute.String("provider", strings.Clone(k.provider)),
		attribute.String("model", strings.Clone(k.model)), attribute.String("meter", strings.Clone(k.meter)),
	}
	if k.reason != catalog.OfPeriod {
		attributes = append(attributes, attribute.String("reason", k.reason.String()))
	}
	option := metric.WithAttributeSet(attribute.NewSet(attributes...))
	s.known[k] = option
	return option
}

// drift adds up what senders reported and what we computed, of events that have both.
type drift struct {
	limit int

	mu   sync.Mutex // guards sums
	sums map[driftKey]*driftSum
}

type driftKey struct{ provider, model, currency string }

type driftSum struct{ reported, ours decimal.Int128 } // trillionths

func newDrift(limit int) *drift { return &drift{limit: limit, sums: map[driftKey]*driftSum{}} }

// Dimensions that hold a cost that the sender reported.
const (
	dimensionReported         = "reported_cost"
	dimensionReportedCurrency = "reported_currency"
)

// compare marks an event whose sender reported its cost, and adds both up when all of ours is known in the same currency.
func (d *drift) compare(e *usage.Event, missing []catalog.Missing) {
	var text, currency string
	for _, dim := range e.Dimensions {
		switch dim.Key {
		case dimensionReported:
			text = dim.Value
		case dimensionReportedCurrency:
			currency = dim.Value
		}
	}
	if text == "" {
		return
	}
	e.AddFlag(usage.FlagReported)
	if currency == "" {
		currency = "USD"
	}
	if point := strings.IndexByte(text, '.'); point >= 0 && len(text) > point+1+usage.AmountScale && !strings.ContainsAny(text, "eE") {
		text = text[:point+1+usage.AmountScale] // it is for a metric
	}
	reported, err := usage.ParseAmount(text)
	if err != nil {
		return
	}
	for _, m := range missing {
		if m.Book == catalog.BookCost {
			return
		}
	}
	var ours decimal.Int128
	known := false
	for i := range e.Lines {
		if c := &e.Lines[i].Cost; c.Known() {
			if c.Currency != currency {
				return
			}
			known = true
			ours, _ = ours.AddInt64(int64(c.Amount))
		}
	}
	if !known {
		return
	}
	d.add(driftKey{e.Provider, e.Model, currency}, decimal.FromInt64(int64(reported)), ours)
}

func (d *drift) add(k driftKey, reported, ours decimal.Int128) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.sums[k]
	if s == nil {
		if len(d.sums) >= d.limit {
			k.provider, k.model = other, other
		}
		if s = d.sums[k]; s == nil {
			s = &driftSum{}
			d.sums[driftKey{strings.Clone(k.provider), strings.Clone(k.model), strings.Clone(k.currency)}] = s
		}
	}
	s.reported, _ = s.reported.Add(reported)
	s.ours, _ = s.ours.Add(ours)
}

func (d *drift) observe(value func(*driftSum) int64) metric.Int64Callback {
	return func(_ context.Context, o metric.Int64Observer) error {
		d.mu.Lock()
		defer d.mu.Unlock()
		for k, s := range d.sums {
			o.Observe(value(s), metric.WithAttributes(
				attribute.String("provider", k.provider), attribute.String("model", k.model), attribute.String("currency", k.currency)))
		}
		return nil
	}
}

// micros is trillionths as millionths.
func micros(v decimal.Int128) int64 {
	return new(big.Int).Quo(v.Big(), big.NewInt(1_000_000)).Int64()
}
