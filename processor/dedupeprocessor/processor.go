package dedupeprocessor

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
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
	index     *index

	mu       sync.Mutex
	flights  map[usage.Key]*flight
	expireAt time.Time
}

// flight is an event on its way through the rest of the pipeline.
type flight struct{ landed chan struct{} }

const (
	expireEvery = time.Minute
	keepRecord  = int8(iota)
	dropRecord
	laterRecord
)

func (d *dedupe) Start(context.Context, component.Host) (err error) {
	if d.index, err = openIndex(d.config, d.logger); err != nil {
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
// refused; any other error asks for all of them again.
func (d *dedupe) ConsumeLogs(ctx context.Context, ld plog.Logs) error {
	if err := d.expire(ctx); err != nil {
		d.logger.Error("old entries of the index could not be forgotten: tried again in a minute", zap.Error(err))
	}
	received := int64(ld.LogRecordCount())
	d.telemetry.UsageboxDedupeReceived.Add(ctx, received)
	var rejections []usage.Rejection
	var foreign error // says more than the rejections do
	for {
		later, wait, err := d.pass(ctx, ld)
		if r, ok := usage.Rejected(err); ok {
			rejections = append(rejections, r...)
			if wait == nil && len(r) == len(rejections) {
				foreign = err
			}
		} else if err != nil {
			d.telemetry.UsageboxDedupeFailed.Add(ctx, int64(ld.LogRecordCount()+later.LogRecordCount()))
			return err
		}
		if wait == nil {
			break
		}
		select {
		case <-wait.landed:
		case <-ctx.Done():
			d.telemetry.UsageboxDedupeFailed.Add(ctx, int64(later.LogRecordCount()))
			return fmt.Errorf("another copy of an event is still on its way: %w", ctx.Err())
		}
		ld = later
	}
	if len(rejections) == 0 {
		return foreign
	}
	d.telemetry.UsageboxDedupeRejected.Add(ctx, int64(len(rejections)))
	if foreign != nil {
		return foreign
	}
	return consumererror.NewPermanent(&usage.RejectedError{Rejections: rejections})
}

// pass sends on what is new. later is what other batches have on their way, wait the first of these.
func (d *dedupe) pass(ctx context.Context, ld plog.Logs) (later plog.Logs, wait *flight, err error) {
	verdicts, claimed, entries, wait, err := d.sort(ctx, ld)
	later = plog.NewLogs()
	if err != nil {
		return later, nil, err
	}
	defer d.land(claimed)
	if wait != nil {
		ld.CopyTo(later)
		keepOnly(later, verdicts, laterRecord)
	}
	keepOnly(ld, verdicts, keepRecord)
	if ld.LogRecordCount() == 0 {
		return later, wait, nil
	}
	err = d.next.ConsumeLogs(ctx, ld)
	rejections, partly := usage.Rejected(err)
	if err != nil && !partly {
		return later, nil, err
	}
	type refused struct {
		key     usage.Key
		payload usage.Payload
	}
	gone := make(map[refused]bool, len(rejections))
	for _, r := range rejections {
		gone[refused{r.Key, r.Payload}] = true
	}
	taken := make([]entry, 0, len(entries))
	for _, e := range entries {
		if !gone[refused{e.key, e.payload}] {
			taken = append(taken, entry{e.hash, e.payload})
		}
	}
	d.telemetry.UsageboxDedupePassed.Add(ctx, int64(len(taken)))
	if indexErr := d.index.record(taken, d.now()); indexErr != nil {
		d.logger.Error("events could not be put into the index: a copy of them will be known to the ledger only", zap.Error(indexErr))
	}
	return later, wait, err
}

// passing is an event that goes on.
type passing struct {
	key     usage.Key
	hash    hash
	payload usage.Payload
}

// sort decides for every record, in order: drop it, send it now, or later when another batch has a copy on its way. It claims what is sent now.
func (d *dedupe) sort(ctx context.Context, ld plog.Logs) (verdicts []int8, claimed []usage.Key, entries []passing, wait *flight, err error) {
	now := d.now()
	own := map[usage.Key]usage.Payload{}
	var duplicates, conflicts, foreign int64
	defer func() {
		if err != nil {
			d.land(claimed)
			return
		}
		d.telemetry.UsageboxDedupeDuplicates.Add(ctx, duplicates)
		d.telemetry.UsageboxDedupeConflicts.Add(ctx, conflicts)
		d.telemetry.UsageboxDedupeForeign.Add(ctx, foreign)
	}()
	var e usage.Event
	for _, rl := range ld.ResourceLogs().All() {
		for _, sl := range rl.ScopeLogs().All() {
			for _, r := range sl.LogRecords().All() {
				if !read(rl.Resource(), r, &e) {
					foreign++
					verdicts = append(verdicts, keepRecord)
					continue
				}
				key, payload := e.Key(), e.Payload()
				p := passing{key, hashOf(key), payload}
				if first, twice := own[key]; twice {
					if first == payload {
						duplicates++
						verdicts = append(verdicts, dropRecord)
						continue
					}
				} else {
					f := d.claim(key)
					if f != nil {
						if wait == nil {
							wait = f
						}
						verdicts = append(verdicts, laterRecord)
						continue
					}
					claimed = append(claimed, key)
					own[key] = payload
				}
				before, seen, err := d.index.seen(p.hash, now)
				if err != nil {
					return nil, claimed, nil, nil, fmt.Errorf("the index of known events can't be read, nothing was taken: %w", err)
				}
				if seen && before == payload {
					duplicates++
					verdicts = append(verdicts, dropRecord)
					continue
				}
				if seen || own[key] != payload {
					conflicts++
					d.logger.Warn("an event came again with another payload: the ledger keeps the first", zap.String("event_id", key.ID), zap.String("customer", key.Customer))
				}
				entries = append(entries, p)
				verdicts = append(verdicts, keepRecord)
			}
		}
	}
	return verdicts, claimed, entries, wait, nil
}

func read(res pcommon.Resource, r plog.LogRecord, e *usage.Event) bool {
	*e = usage.Event{}
	return usage.DecodeRecord(res, r, e) == nil
}

// claim takes a key, or gives the flight that has it.
func (d *dedupe) claim(k usage.Key) *flight {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f := d.flights[k]; f != nil {
		return f
	}
	d.flights[k] = &flight{landed: make(chan struct{})}
	return nil
}

func (d *dedupe) land(keys []usage.Key) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, k := range keys {
		close(d.flights[k].landed)
		delete(d.flights, k)
	}
}

// keepOnly leaves the records of one verdict.
func keepOnly(ld plog.Logs, verdicts []int8, keep int8) {
	i := 0
	ld.ResourceLogs().RemoveIf(func(rl plog.ResourceLogs) bool {
		rl.ScopeLogs().RemoveIf(func(sl plog.ScopeLogs) bool {
			sl.LogRecords().RemoveIf(func(plog.LogRecord) bool {
				i++
				return verdicts[i-1] != keep
			})
			return sl.LogRecords().Len() == 0
		})
		return rl.ScopeLogs().Len() == 0
	})
}

func (d *dedupe) expire(ctx context.Context) error {
	d.mu.Lock()
	now := d.now()
	due := !now.Before(d.expireAt)
	if due {
		d.expireAt = now.Add(expireEvery)
	}
	d.mu.Unlock()
	if !due {
		return nil
	}
	evicted, err := d.index.expire(now)
	d.telemetry.UsageboxDedupeEvicted.Add(ctx, int64(evicted))
	return err
}
