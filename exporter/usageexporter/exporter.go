package usageexporter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.uber.org/zap"

	"github.com/usagebox/otelcol-usagebox/exporter/usageexporter/internal/metadata"
	"github.com/usagebox/otelcol-usagebox/internal/catalog"
	"github.com/usagebox/otelcol-usagebox/internal/ledger"
	"github.com/usagebox/otelcol-usagebox/internal/ledger/control"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// usageExporter turns log records into events, hands them to the ledger and turns its verdicts into errors.
type usageExporter struct {
	config    *Config
	set       component.TelemetrySettings
	telemetry *metadata.TelemetryBuilder
	ledger    *ledger.Ledger // nil before start and after shutdown
	feed      *billingFeed   // nil without receivers
	feeding   atomic.Pointer[billingFeed]
	control   *control.Server
}

func newUsageExporter(set exporter.Settings, config *Config) (*usageExporter, error) {
	telemetry, err := metadata.NewTelemetryBuilder(set.TelemetrySettings)
	if err != nil {
		return nil, err
	}
	return &usageExporter{config: config, set: set.TelemetrySettings, telemetry: telemetry}, nil
}

// sealBytes is how many bytes of events are made into one part, all of which are in memory then and not of Go's heap: a sixth of what Go may have at most, which the
// program leaves room for when its control group has a limit.
func sealBytes(memoryLimit int64) int64 {
	return max(fewestSealBytes, min(ledger.DefaultSealBytes, memoryLimit/6))
}

const fewestSealBytes = 8 << 20

func (e *usageExporter) start(ctx context.Context, host component.Host) error {
	l, err := ledger.Open(ledger.Options{
		Directory:      e.config.Directory,
		WriterID:       e.config.WriterID,
		FlushInterval:  e.config.FlushInterval,
		SealAfter:      e.config.SealAfter,
		CorrectionWait: e.config.CorrectionWait,
		Settle:         e.versions().Settle,
		MaxOpenBytes:   e.config.MaxOpenBytes,

		RollupDimensions: e.config.RollupDimensions,
		Retention:        e.config.Retention.ledger(),
		KeepFrom:         e.keepFrom,

		MinFreeBytes: e.config.MinFreeBytes,
		CacheBytes:   e.config.CacheBytes,
		SealBytes:    sealBytes(debug.SetMemoryLimit(-1)),
		Logger:       e.set.Logger,
		Observer:     observer{e.telemetry},
	})
	if err != nil {
		return err
	}
	if err := registerGauges(e.telemetry, l); err != nil {
		return errors.Join(err, l.Close())
	}
	if e.feed, err = startFeed(ctx, host, e.config, e.set, e.telemetry, l); err != nil {
		return errors.Join(err, l.Close())
	}
	e.feeding.Store(e.feed)
	if e.control, err = control.Listen(filepath.Join(e.config.Directory, "state", "writer="+e.config.WriterID), l); err != nil {
		return errors.Join(err, e.feed.close(), l.Close())
	}
	e.ledger = l
	return nil
}

// versions are those of the catalogue that the pricing processor keeps.
func (e *usageExporter) versions() *catalog.Versions {
	return &catalog.Versions{
		Directory: cmp.Or(e.config.Catalogs, filepath.Join(e.config.Directory, "state", "catalogs")),
		Broken: func(version string, err error) {
			e.set.Logger.Error("A kept version of the catalogue can't be used: corrections of what it priced have no amount", zap.String("version", version), zap.Error(err))
		},
	}
}

func (e *usageExporter) shutdown(context.Context) error {
	e.telemetry.Shutdown()
	if e.ledger == nil {
		return nil
	}
	l := e.ledger
	e.ledger = nil
	return errors.Join(e.control.Close(), e.feed.close(), l.Close())
}

// rooms are for the events of a batch, which the ledger doesn't keep.
var rooms = sync.Pool{New: func() any { return new([]usage.Event) }}

const keptEvents = 4096 // of a room

// consume answers nil when every event is durable. A permanent error that holds a *usage.RejectedError names those that
// were not taken, all others are durable; any other error asks for all of them again.
func (e *usageExporter) consume(ctx context.Context, ld plog.Logs) error {
	room := rooms.Get().(*[]usage.Event)
	events, foreign, err := usage.DecodeLogsInto(*room, ld)
	rejections, _ := usage.Rejected(err)
	e.telemetry.UsageboxLedgerForeign.Add(ctx, int64(foreign))
	result, err := e.ledger.Append(ctx, events, rejections...)
	if cap(events) <= keptEvents {
		*room = events
		rooms.Put(room)
	}
	if err != nil {
		return err
	}
	if err := e.ledger.Refuse(ctx, append(usage.DecodeRefusals(ld), usage.RefusedNumbers(events)...)); err != nil {
		return err
	}
	if len(result.Rejections) == 0 && foreign == 0 {
		return nil
	}
	err = &usage.RejectedError{Rejections: result.Rejections}
	if foreign > 0 {
		err = fmt.Errorf("%d log records carry no usage event (no attribute %s) and were refused: route only usage events to this exporter: %w",
			foreign, usage.AttributeVersion, err)
	}
	return consumererror.NewPermanent(err)
}
