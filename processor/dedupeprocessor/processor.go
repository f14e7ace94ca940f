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
	index     *index

	conflicts, forgotten seldom // what of them is logged

	mu      sync.Mutex // guards flights
	flights map[hash]*flight
}

// flight is events of one batch on their way through the rest of the pipeline.
type flight struct{ landed chan struct{} }

func newDedupe(set processor.Settings, config *Config, next consumer.Logs, now func() time.Time) (*dedupe, error) {
	telemetry, err := metadata.NewTelemetryBuilder(set.TelemetrySettings)
	if err != nil {
		return nil, err
	}
	return &dedupe{config: config, next: next, logger: set.Logger, telemetry: telemetry, now: now, fs: vfs.Default, flights: map[hash]*flight{}}, nil
}

func (d *dedupe) Start(context.Context, component.Host) (err error) {
	if d.index, err = openIndex(d.config, d.fs, d.logger); err != nil {
		return err
	}
	index := d.index
	return d.telemetry.RegisterUsageboxDedupeIndexSizeCallback(func(_ context.Context, o metric.Int64Observer) error {
		o.Observe(index.size())
		return nil
	})
}

func (d *dedupe) Shutdown(context.Context) error {
	d.telemetry.Shutdown()
	if d.index == nil {
		return nil
	}
	index := d.index
	d.index = nil
	return index.close()
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
	records := read(ld)
	own := &flight{landed: make(chan struct{})}
	mine := d.claim(own, records)
	defer d.land(own, mine.records)
	sum, err := d.sort(mine)
	if err != nil {
		d.telemetry.UsageboxDedupeFailed.Add(ctx, int64(len(records)))
		return later, nil, fmt.Errorf("the index of known events can't be read, nothing was taken: %w", err)
	}
	if wait = mine.wait; wait != nil {
		ld.CopyTo(later)
		keepOnly(later, func(i int) bool { return i >= len(mine.records) })
	}
	d.telemetry.UsageboxDedupeDuplicates.Add(ctx, sum.duplicates)
	d.telemetry.UsageboxDedupeConflicts.Add(ctx, sum.conflicts)
	d.telemetry.UsageboxDedupeForeign.Add(ctx, sum.foreign)
	if sum.events+sum.foreign == 0 {
		return later, wait, nil
	}
	if wait != nil || sum.duplicates > 0 {
		keepOnly(ld, func(i int) bool { return i < len(mine.records) && !mine.records[i].drop })
	}
	err = d.next.ConsumeLogs(ctx, ld)
	rejections, partly := usage.Rejected(err)
	if err != nil && !partly {
		d.telemetry.UsageboxDedupeFailed.Add(ctx, sum.events)
		return later, nil, err
	}
	d.telemetry.UsageboxDedupeRejected.Add(ctx, int64(len(rejections)))
	d.telemetry.UsageboxDedupePassed.Add(ctx, sum.events-int64(len(rejections)))
	d.remember(ctx, mine.records, rejections)
	return later, wait, err
}

// remember puts what was taken into the index. A key that is among the rejections is left to the ledger, whatever payload was refused.
func (d *dedupe) remember(ctx context.Context, records []record, rejections []usage.Rejection) {
	var refused map[usage.Key]bool
	for _, r := range rejections {
		if refused == nil {
			refused = make(map[usage.Key]bool, len(rejections))
		}
		refused[r.Key] = true
	}
	taken := make([]entry, 0, len(records))
	for i := range records {
		if r := &records[i]; r.kind == anEvent && !r.drop && !refused[r.key] {
			taken = append(taken, entry{r.hash, r.payload})
		}
	}
	now := d.now()
	evicted, err := d.index.record(taken, now)
	d.telemetry.UsageboxDedupeEvicted.Add(ctx, int64(evicted))
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

// sort decides for every record, in order, whether it is dropped.
func (d *dedupe) sort(mine claimed) (sum sorted, err error) {
	now := d.now()
	live := d.index.live(now)
	var first map[hash]usage.Payload // the payload that a copy must have
	if mine.copies {
		first = make(map[hash]usage.Payload, len(mine.records))
	}
	for i := range mine.records {
		r := &mine.records[i]
		switch r.kind {
		case foreign:
			sum.foreign++
			continue
		case unreadable, refusal:
			sum.events++
			continue
		}
		known, seen := first[r.hash]
		if !seen {
			if known, seen, err = d.index.seen(live, r.hash); err != nil {
				return sum, err
			}
			if !seen {
				known = r.payload
			}
			if mine.copies {
				first[r.hash] = known
			}
		}
		if seen && known == r.payload {
			r.drop = true
			sum.duplicates++
			continue
		}
		if seen {
			sum.conflicts++
			d.conflict(r.key, now)
		}
		sum.events++
	}
	return sum, nil
}

// conflict tells the log of an event with another payload.
func (d *dedupe) conflict(k usage.Key, now time.Time) {
	if others, due := d.conflicts.due(now); due {
		d.logger.Warn("an event came again with another payload: it is passed on, and the ledger keeps the first",
			zap.String("event_id", k.ID), zap.String("customer", k.Customer), zap.Int("others_before", others))
	}
}

// claimed is the records that a flight may take, and the flight that has the next one.
type claimed struct {
	records []record
	copies  bool // some are of one event
	wait    *flight
}

// claim takes the events of records, up to one that another flight has.
func (d *dedupe) claim(own *flight, records []record) (mine claimed) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range records {
		if records[i].kind != anEvent {
			continue
		}
		switch other := d.flights[records[i].hash]; other {
		case nil:
			d.flights[records[i].hash] = own
		case own:
			mine.copies = true
		default:
			mine.records, mine.wait = records[:i], other
			return mine
		}
	}
	mine.records = records
	return mine
}

func (d *dedupe) land(own *flight, records []record) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range records {
		if records[i].kind == anEvent {
			delete(d.flights, records[i].hash)
		}
	}
	close(own.landed)
}
