package attributionprocessor

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/processor"
	"go.uber.org/zap"

	"github.com/usagebox/otelcol-usagebox/internal/attribution"
	"github.com/usagebox/otelcol-usagebox/internal/tracestore"
	"github.com/usagebox/otelcol-usagebox/processor/attributionprocessor/internal/metadata"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// attributionProcessor keeps facts, settles traces and emits what they mean. Spans come in at ConsumeTraces, log records at ConsumeLogs; one
// goroutine, run, does the rest.
type attributionProcessor struct {
	config     *Config
	nextTraces consumer.Traces // nil without a traces pipeline
	nextLogs   consumer.Logs   // nil without a logs pipeline
	logger     *zap.Logger
	telemetry  *metadata.TelemetryBuilder
	reader     *attribution.Reader
	now        func() time.Time
	jitter     func() float64 // 0 to 1
	tick       time.Duration  // between rounds; 0: a test calls them

	fs       vfs.FS // nil: the operating system's
	store    *tracestore.Store
	traces   *openTraces
	requests *inflight
	values   *valueCounter
	full     atomic.Bool // max_disk is reached although nothing settled is left to forget
	outbox   atomic.Int64
	oldest   atomic.Int64 // when the oldest kept trace settled

	stop context.CancelFunc
	done sync.WaitGroup

	// of run
	parked   parking
	retryAt  time.Time
	failures int
	expireAt time.Time
}

func newAttribution(set processor.Settings, config *Config, now func() time.Time) (*attributionProcessor, error) {
	reader, err := attribution.NewReader(attribution.Config{
		Dimensions: config.Dimensions, Dialects: config.Dialects, MaxValueBytes: config.MaxValueBytes, MaxAhead: usage.Micros(config.MaxAhead.Microseconds()),
	})
	if err != nil {
		return nil, err
	}
	telemetry, err := metadata.NewTelemetryBuilder(set.TelemetrySettings)
	if err != nil {
		return nil, err
	}
	return &attributionProcessor{
		config: config, logger: set.Logger, telemetry: telemetry, reader: reader, now: now, jitter: rand.Float64,
		tick: min(config.Settle.Grace/4, time.Second), values: newValueCounter(config.MaxValues), requests: newInflight(),
	}, nil
}

const (
	maxSegment      = 64 << 20 // of the log of facts
	segmentsAtLeast = 16       // of what max_disk holds: room is given back by segments
	maxTable        = 16 << 20
	tablesAtLeast   = 64
	topicShare      = 32 // of memory_limit
)

// open takes the directory and goes on where the last run ended: what was about to be emitted goes out first.
func (p *attributionProcessor) open() error {
	store, err := tracestore.Open(tracestore.Options{
		FS: p.fs, Directory: p.config.Directory, MinFreeBytes: p.config.MinFreeDisk, Logger: p.logger, Retention: usage.Micros(p.config.Retention.Microseconds()),
		SegmentBytes: min(maxSegment, p.config.MaxDisk/segmentsAtLeast), TableBytes: min(maxTable, p.config.MaxDisk/tablesAtLeast),
		TopicBytes: p.config.MemoryLimit / topicShare,
		Synced: func(d time.Duration) {
			p.telemetry.UsageboxAttributionFactsSyncDuration.Record(context.Background(), d.Seconds())
		},
	})
	if err != nil {
		return err
	}
	p.traces = newOpenTraces(p.config)
	now := usage.MicrosOf(p.now())
	store.Pending(func(t attribution.TraceID, first usage.Micros) { p.traces.restore(t, min(first, now), now) })
	p.store = store
	if err := p.registerGauges(); err != nil {
		p.store = nil
		return errors.Join(err, store.Close())
	}
	return nil
}

// launch begins to settle and emit.
func (p *attributionProcessor) launch() {
	ctx, cancel := context.WithCancel(context.Background())
	p.stop = cancel
	p.done.Add(1)
	go p.run(ctx)
}

// halt ends settling and emission, and waits for what is under way.
func (p *attributionProcessor) halt() {
	if p.stop != nil {
		p.stop()
	}
	p.done.Wait()
}

// close gives the directory up. Facts that were acknowledged and events that were not taken stay there.
func (p *attributionProcessor) close() error {
	p.telemetry.Shutdown()
	if p.store == nil {
		return nil
	}
	store := p.store
	p.store = nil
	return errors.Join(store.Sync(), store.Close())
}

func (p *attributionProcessor) run(ctx context.Context) {
	defer p.done.Done()
	ticker := time.NewTicker(p.tick)
	defer ticker.Stop()
	for {
		for began := time.Now(); p.round(ctx) && ctx.Err() == nil; began = time.Now() {
			p.giveWay(ctx, time.Since(began))
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
