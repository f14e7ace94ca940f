package dedupeprocessor

import (
	"context"
	"fmt"
	"testing"
	"time"

	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/processor/processortest"

	"github.com/usagebox/otelcol-usagebox/processor/dedupeprocessor/internal/metadata"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// BenchmarkConsumeLogs is batches of 1,000 events, all new or all known, before a pipeline that takes them at no cost.
func BenchmarkConsumeLogs(b *testing.B) {
	const size = 1000
	for _, known := range []bool{false, true} {
		b.Run(fmt.Sprintf("known=%t", known), func(b *testing.B) {
			config := createDefaultConfig().(*Config)
			config.Directory = b.TempDir()
			d, err := newDedupe(processortest.NewNopSettings(metadata.Type), config, consumertest.NewNop(), time.Now)
			if err != nil {
				b.Fatal(err)
			}
			if err := d.Start(context.Background(), componenttest.NewNopHost()); err != nil {
				b.Fatal(err)
			}
			next := 0
			batch := func() plog.Logs {
				events := make([]usage.Event, size)
				for i := range events {
					events[i] = event(fmt.Sprint("req_", next), 1)
					next++
				}
				return usage.EncodeLogs(events)
			}
			if known {
				if err := d.ConsumeLogs(context.Background(), batch()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				if known {
					next = 0
				}
				ld := batch()
				b.StartTimer()
				if err := d.ConsumeLogs(context.Background(), ld); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)*size/b.Elapsed().Seconds(), "events/s")
			if err := d.Shutdown(context.Background()); err != nil {
				b.Fatal(err)
			}
		})
	}
}
