package dedupeprocessor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"

	"github.com/usagebox/otelcol-usagebox/processor/dedupeprocessor/internal/index"
	"github.com/usagebox/otelcol-usagebox/processor/dedupeprocessor/internal/metadata"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// dedupe lets one copy of an event through. While it is on its way other copies wait for its fate; once it is taken they are dropped.
type dedupe struct {
	config    *Config
	next      consumer.Logs
	logger    *zap.Logger
	telemetry *metadata.TelemetryBuilder
	now       func() time.Time
	fs        vfs.FS
	index     *index.Index

	conflicts, forgotten, trouble seldom // what of them is logged

	mu      sync.Mutex // guards flights
	flights map[index.Hash]*flight
}

// flight is events of one batch on their way through the rest of the pipeline.
type flight struct{ landed chan struct{} }

func newDedupe(set processor.Settings, config *Config, next consumer.Logs, now func() time.Time) (*dedupe, error) {
	telemetry, err := metadata.NewTelemetryBuilder(set.TelemetrySettings)
	if err != nil {
		return nil, err
	}
	return &dedupe{config: config, next: next, logger: set.Logger, telemetry: telemetry, now: now, fs: vfs.Default, flights: map[index.Hash]*flight{}}, nil
}

func (d *dedupe) Start(context.Context, component.Host) (err error) {
	x, err := index.Open(index.Options{
		Directory: d.config.Directory, Window: d.config.Window, MaxDisk: d.config.MaxDisk, CacheSize: d.config.CacheSize, FS: d.fs, Logger: d.logger, Report: d.report,
	})
	if err != nil {
		return err
	}
	d.index = x
	return d.telemetry.RegisterUsageboxDedupeIndexSizeCallback(func(_ context.Context, o metric.Int64Observer) error {
		o.Observe(x.Size())
		return nil
	})
}

// report tells the log what is wrong with the index.
func (d *dedupe) report(err error) {
	if others, due := d.trouble.due(d.now()); due {
		d.logger.Warn("dedupe's index", zap.Int("others_before", others), zap.Error(err))
	}
}

func (d *dedupe) Shutdown(context.Context) error {
	d.telemetry.Shutdown()
	if d.index == nil {
		return nil
	}
	x := d.index
	d.index = nil
	return x.Close()
}

func (*dedupe) Capabilities() consumer.Capabilities { return consumer.Capabilities{MutatesData: true} }

// ConsumeLogs answers nil when every event is durable, here or before. A permanent error with a *usage.RejectedError names those that were
// refused, all others are durable; any other error asks for all of them again.
func (d *dedupe) ConsumeLogs(ctx context.Context, ld plog.Logs) error {
	d.telemetry.UsageboxDedupeReceived.Add(ctx, int64(ld.LogRecordCount()))
	var refused []error
	for {
		later, wait, err := d.pass(ctx, ld)
		if _, ok := usage.Rejected(err); ok {
			refused = append(refused, err)
		} else if err != nil {
			d.telemetry.UsageboxDedupeFailed.Add(ctx, int64(later.LogRecordCount()))
			return err
		}
		if wait == nil {
			return together(refused)
		}
		select {
		case <-wait.landed:
		case <-ctx.Done():
			d.telemetry.UsageboxDedupeFailed.Add(ctx, int64(later.LogRecordCount()))
			return fmt.Errorf("another copy of an event is still on its way, send all again: %w", ctx.Err())
		}
		ld = later
	}
}

// together is the refusals of a batch that went on in several pieces.
func together(refused []error) error {
	switch len(refused) {
	case 0:
		return nil
	case 1:
		return refused[0]
	}
	all := &usage.RejectedError{}
	for _, err := range refused {
		rejections, _ := usage.Rejected(err)
		all.Rejections = append(all.Rejections, rejections...)
	}
	return consumererror.NewPermanent(fmt.Errorf("%w (%w)", all, errors.Join(refused...)))
}

// pass sends on what is new, up to the first event that another batch has on its way: that batch's flight is wait, and the rest, in order, is later.
func (d *dedupe) pass(ctx context.Context, ld plog.Logs) (later plog.Logs, wait *flight, err error) {
	later = plog.NewLogs()
	b := read(ld)
	defer b.release()
	own := &flight{landed: make(chan struct{})}
	wait = d.claim(own, b)
	defer d.land(own, b)
	sum := d.sort(ld, b)
	if wait != nil {
		ld.CopyTo(later)
		keepOnly(later, func(i int) bool { return i >= len(b.records) })
	}
	d.telemetry.UsageboxDedupeDuplicates.Add(ctx, sum.duplicates)
	d.telemetry.UsageboxDedupeConflicts.Add(ctx, sum.conflicts)
	d.telemetry.UsageboxDedupeForeign.Add(ctx, sum.foreign)
	if sum.events+sum.foreign == 0 {
		return later, wait, nil
	}
	if wait != nil || sum.duplicates > 0 {
		keepOnly(ld, func(i int) bool { return i < len(b.records) && !b.records[i].drop })
	}
	err = d.next.ConsumeLogs(ctx, ld)
	rejections, partly := usage.Rejected(err)
	if err != nil && !partly {
		d.telemetry.UsageboxDedupeFailed.Add(ctx, sum.events)
		return later, nil, err
	}
	d.telemetry.UsageboxDedupeRejected.Add(ctx, int64(len(rejections)))
	d.telemetry.UsageboxDedupePassed.Add(ctx, sum.events-int64(len(rejections)))
	d.remember(ctx, b.taken(rejections))
	return later, wait, err
}

// remember puts what was taken into the index.
func (d *dedupe) remember(ctx context.Context, taken []index.Entry) {
	now := d.now()
	evicted, err := d.index.Record(taken, now)
	d.telemetry.UsageboxDedupeEvicted.Add(ctx, evicted)
	if err == nil {
		return
	}
	if others, due := d.forgotten.due(now); due {
		d.logger.Error("events could not be put into the index: they are kept, and a copy of them will be known to the ledger only",
			zap.Int("batches_before", others), zap.Error(err))
	}
}

// sorted is what becomes of records.
type sorted struct{ events, foreign, duplicates, conflicts int64 }

// sort decides for every record of b, in order, whether it is dropped.
func (d *dedupe) sort(ld plog.Logs, b *batch) (sum sorted) {
	now := d.now()
	d.index.Seen(now, b.entries, b.known)
	var first map[index.Hash]usage.Payload // the payload that a copy must have
	if b.copies {
		first = make(map[index.Hash]usage.Payload, len(b.entries))
	}
	n := 0
	for i := range b.records {
		r := &b.records[i]
		switch r.kind {
		case foreign:
			sum.foreign++
			continue
		case unreadable, refusal:
			sum.events++
			continue
		}
		e, known := &b.entries[n], b.known[n]
		n++
		if b.copies {
			if payload, again := first[e.Hash]; again {
				known = index.Known{Payload: payload, Found: true}
			} else if known.Found {
				first[e.Hash] = known.Payload
			} else {
				first[e.Hash] = e.Payload
			}
		}
		if known.Found && known.Payload == e.Payload {
			r.drop = true
			sum.duplicates++
			continue
		}
		if known.Found {
			sum.conflicts++
			d.conflict(ld, i, now)
		}
		sum.events++
	}
	return sum
}

// conflict tells the log of record number i of ld, an event with another payload.
func (d *dedupe) conflict(ld plog.Logs, i int, now time.Time) {
	if others, due := d.conflicts.due(now); due {
		k := keyAt(ld, i)
		d.logger.Warn("an event came again with another payload: it is passed on, and the ledger keeps the first",
			zap.String("event_id", k.ID), zap.String("customer", k.Customer), zap.Int("others_before", others))
	}
}

// claim takes the events of b, up to one that another flight has: b ends before it.
func (d *dedupe) claim(own *flight, b *batch) (wait *flight) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range b.entries {
		switch other := d.flights[b.entries[i].Hash]; other {
		case nil:
			d.flights[b.entries[i].Hash] = own
		case own:
			b.copies = true
		default:
			b.endBefore(i)
			return other
		}
	}
	return nil
}

func (d *dedupe) land(own *flight, b *batch) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range b.entries {
		delete(d.flights, b.entries[i].Hash)
	}
	close(own.landed)
}
