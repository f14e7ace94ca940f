package usageexporter

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/usagebox/otelcol-usagebox/exporter/usageexporter/internal/metadata"
	"github.com/usagebox/otelcol-usagebox/internal/ledger"
)

// observer counts what the ledger reports.
type observer struct{ telemetry *metadata.TelemetryBuilder }

func (o observer) Appended(received int, r *ledger.Result) {
	ctx := context.Background()
	t := o.telemetry
	t.UsageboxLedgerReceived.Add(ctx, int64(received))
	t.UsageboxLedgerAccepted.Add(ctx, int64(r.Accepted))
	t.UsageboxLedgerDuplicates.Add(ctx, int64(r.Duplicates))
	t.UsageboxLedgerUnattributed.Add(ctx, int64(r.Unattributed))
	t.UsageboxLedgerLate.Add(ctx, int64(r.Late))
	if len(r.Rejections) == 0 {
		return
	}
	reasons := make(map[string]int64)
	for i := range r.Rejections {
		reasons[r.Rejections[i].Reason]++
	}
	for reason, n := range reasons {
		t.UsageboxLedgerRejected.Add(ctx, n, metric.WithAttributes(attribute.String("reason", reason)))
	}
}

func (o observer) Failed(received int) {
	o.telemetry.UsageboxLedgerReceived.Add(context.Background(), int64(received))
	o.telemetry.UsageboxLedgerFailed.Add(context.Background(), int64(received))
}

func (o observer) Synced(d time.Duration) {
	o.telemetry.UsageboxLedgerFsyncDuration.Record(context.Background(), d.Seconds())
}

func (o observer) PartMade(bytes int64) {
	o.telemetry.UsageboxLedgerParts.Add(context.Background(), 1)
	o.telemetry.UsageboxLedgerWritten.Add(context.Background(), bytes)
}

func (o observer) Sealed(bytes int64, exchanged bool) {
	o.telemetry.UsageboxLedgerSealedParts.Add(context.Background(), 1)
	o.telemetry.UsageboxLedgerWritten.Add(context.Background(), bytes)
	if !exchanged {
		o.telemetry.UsageboxLedgerExchangeUnsupported.Add(context.Background(), 1)
	}
}

func (o observer) MaintenanceFailed() {
	o.telemetry.UsageboxLedgerFailures.Add(context.Background(), 1)
}

func registerGauges(t *metadata.TelemetryBuilder, l *ledger.Ledger) error {
	for _, g := range [...]struct {
		register func(metric.Int64Callback) error
		value    func(ledger.Stats) int64
	}{
		{t.RegisterUsageboxLedgerOpenEventsCallback, func(s ledger.Stats) int64 { return s.OpenEvents }},
		{t.RegisterUsageboxLedgerOpenBytesCallback, func(s ledger.Stats) int64 { return s.OpenBytes }},
		{t.RegisterUsageboxLedgerOpenHoursCallback, func(s ledger.Stats) int64 { return int64(s.OpenHours) }},
		{t.RegisterUsageboxLedgerWaitingCorrectionsCallback, func(s ledger.Stats) int64 { return s.WaitingCorrections }},
		{t.RegisterUsageboxLedgerSealLagCallback, func(s ledger.Stats) int64 { return int64(s.SealLag / time.Second) }},
		{t.RegisterUsageboxLedgerChainRecordsCallback, func(s ledger.Stats) int64 { return s.ChainRecords }},
		{t.RegisterUsageboxLedgerStoreSizeCallback, func(s ledger.Stats) int64 { return s.StoreBytes }},
	} {
		if err := g.register(func(_ context.Context, o metric.Int64Observer) error {
			o.Observe(g.value(l.Stats()))
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}
