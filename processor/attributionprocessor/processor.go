package attributionprocessor

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/processor"
	"go.uber.org/zap"

	"github.com/usagebox/otelcol-usagebox/internal/attribution"
	"github.com/usagebox/otelcol-usagebox/internal/tracestore"
	"github.com/usagebox/otelcol-usagebox/processor/attributionprocessor/internal/metadata"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// attributionProcessor keeps facts, settles traces and emits what they mean. Spans come in at ConsumeTraces; one goroutine, run, does the rest.
type attributionProcessor struct {
	config    *Config
	next      consumer.Traces
	logger    *zap.Logger
	telemetry *metadata.TelemetryBuilder
	reader    *attribution.Reader
	now       func() time.Time
	jitter    func() float64 // 0 to 1
	tick      time.Duration  // between rounds; 0: a test calls them

	store  *tracestore.Store
	traces *openTraces
	values *valueCounter
	full   atomic.Bool // max_disk is reached although nothing settled is left to forget
	outbox atomic.Int64
	oldest atomic.Int64 // when the oldest kept trace settled

	stop context.CancelFunc
	done sync.WaitGroup

	// of run
	retryAt  time.Time
	failures int
	expireAt time.Time
}

func newAttribution(set processor.Settings, config *Config, next consumer.Traces, now func() time.Time) (*attributionProcessor, error) {
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
		config: config, next: next, logger: set.Logger, telemetry: telemetry, reader: reader, now: now, jitter: rand.Float64,
		tick: min(config.Settle.Grace/4, time.Second), values: newValueCounter(config.MaxValues),
	}, nil
}

// Capabilities says that spans are only read.
func (p *attributionProcessor) Capabilities() consumer.Capabilities {
	return consumer.Capabilities{MutatesData: false}
}

// Start takes the directory and goes on where the last run ended: what was about to be emitted goes out first.
func (p *attributionProcessor) Start(context.Context, component.Host) error {
	store, err := tracestore.Open(tracestore.Options{Directory: p.config.Directory, MinFreeBytes: p.config.MinFreeDisk, Logger: p.logger})
	if err != nil {
		return err
	}
	p.store = store
	p.traces = newOpenTraces(p.config)
	now := usage.MicrosOf(p.now())
	if err := store.Pending(func(t attribution.TraceID, first usage.Micros) { p.traces.restore(t, min(first, now), now) }); err != nil {
		return errors.Join(fmt.Errorf("open traces in %s: %w", p.config.Directory, err), store.Close())
	}
	if err := p.registerGauges(); err != nil {
		return errors.Join(err, store.Close())
	}
	if p.tick > 0 {
		ctx, cancel := context.WithCancel(context.Background())
		p.stop = cancel
		p.done.Add(1)
		go p.run(ctx)
	}
	return nil
}

// Shutdown stops emitting and gives the directory up. Facts that were acknowledged and events that were not taken stay there.
func (p *attributionProcessor) Shutdown(context.Context) error {
	if p.stop != nil {
		p.stop()
	}
	p.done.Wait()
	p.telemetry.Shutdown()
	if p.store == nil {
		return nil
	}
	store := p.store
	p.store = nil
	return errors.Join(store.Sync(), store.Close())
}

// ConsumeTraces answers nil when the facts of all spans are durable. Any error means: send all of them again.
func (p *attributionProcessor) ConsumeTraces(ctx context.Context, td ptrace.Traces) error {
	spans := int64(td.SpanCount())
	if spans == 0 {
		return nil
	}
	if p.full.Load() {
		p.telemetry.UsageboxAttributionHeld.Add(ctx, spans)
		return fmt.Errorf("max_disk of %d bytes is reached in %s: nothing was taken, send again later", p.config.MaxDisk, p.config.Directory)
	}
	now := usage.MicrosOf(p.now())
	arrivals := arrive(p.reader.Read(td, now))
	p.traces.begin(arrivals, now)
	err := p.store.Append(arrivals, now)
	p.traces.end(arrivals, now, err == nil)
	if err != nil {
		p.telemetry.UsageboxAttributionHeld.Add(ctx, spans)
		return err
	}
	p.telemetry.UsageboxAttributionAccepted.Add(ctx, spans)
	return nil
}

// arrive groups facts by trace. A span without ids gets some that are a function of what it says: sent again it is the same span.
func arrive(facts []attribution.Fact) []tracestore.Arrival {
	at := make(map[attribution.TraceID]int, 8)
	var arrivals []tracestore.Arrival
	for i := range facts {
		f := &facts[i]
		if f.Span == (attribution.SpanID{}) || f.Trace == (attribution.TraceID{}) {
			name(f)
		}
		k, ok := at[f.Trace]
		if !ok {
			k = len(arrivals)
			at[f.Trace] = k
			arrivals = append(arrivals, tracestore.Arrival{Trace: f.Trace})
		}
		arrivals[k].Facts = append(arrivals[k].Facts, *f)
	}
	return arrivals
}

func name(f *attribution.Fact) {
	sum := sha256.Sum256(f.AppendBinary(nil))
	if f.Span == (attribution.SpanID{}) {
		f.Span = attribution.SpanID(sum[16:24])
	}
	if f.Trace == (attribution.TraceID{}) {
		f.Trace = attribution.TraceID(sum[:16])
	}
}

func (p *attributionProcessor) run(ctx context.Context) {
	defer p.done.Done()
	ticker := time.NewTicker(p.tick)
	defer ticker.Stop()
	for {
		for p.round(ctx) && ctx.Err() == nil {
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
