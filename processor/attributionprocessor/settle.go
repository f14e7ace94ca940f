package attributionprocessor

import (
	"bytes"
	"context"
	"errors"
	"math"
	"runtime"
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/usagebox/otelcol-usagebox/internal/attribution"
	"github.com/usagebox/otelcol-usagebox/internal/tracestore"
	"github.com/usagebox/otelcol-usagebox/usage"
)

const (
	roundTraces = 512  // looked at in one round
	roundEvents = 4096 // emitted in one batch, about
)

// round emits what waits, settles what is due and forgets what is old. It says whether there is more to do at once.
func (p *attributionProcessor) round(ctx context.Context) (more bool) {
	sent, blocked := p.emit(ctx)
	if blocked && !p.traces.crowded() {
		return false // what comes meanwhile needs no correction then
	}
	settled, err := p.settle(ctx)
	if err != nil {
		p.logger.Error("traces could not be settled: they are kept and tried again", zap.Error(err))
		return false
	}
	woken, err := p.store.WakeConversations(roundTraces, usage.MicrosOf(p.now()))
	if err != nil {
		p.logger.Error("what is said of conversations could not be looked at: it is tried again", zap.Error(err))
		return false
	}
	p.traces.wake(woken, usage.MicrosOf(p.now()))
	p.expire()
	return sent || settled || len(woken) > 0
}

type outcome struct {
	settlement tracestore.Settlement
	tally      attribution.Tally // what metrics have not counted yet
	reason     string
	skip       bool // incomplete: not yet
	late       bool // its facts were forgotten before
}

// settle looks at the traces that are due.
func (p *attributionProcessor) settle(ctx context.Context) (more bool, err error) {
	now := usage.MicrosOf(p.now())
	looks := p.traces.due(now, roundTraces)
	if len(looks) == 0 {
		return false, nil
	}
	ids := make([]attribution.TraceID, len(looks))
	for i := range looks {
		ids[i] = looks[i].trace
	}
	befores, err := p.store.Before(ids)
	if err != nil {
		return false, err
	}
	outcomes := make([]outcome, len(looks))
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range looks {
		g.Go(func() (err error) {
			outcomes[i], err = p.decide(looks[i], befores[i], now)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return false, err
	}
	done := make([]look, 0, len(looks))
	kept := outcomes[:0]
	for i := range outcomes {
		if outcomes[i].skip {
			p.traces.postpone(looks[i].trace)
			continue
		}
		done, kept = append(done, looks[i]), append(kept, outcomes[i])
	}
	if len(done) == 0 {
		return len(looks) == roundTraces, nil
	}
	settlements := make([]*tracestore.Settlement, len(kept))
	for i := range kept {
		settlements[i] = &kept[i].settlement
	}
	round, err := p.store.Begin(settlements)
	if err != nil {
		return false, err
	}
	pending := p.traces.pending(done)
	for i := range kept {
		settlements[i].Pending = pending[i]
	}
	if err := errors.Join(round.Settle(), round.Close()); err != nil {
		return false, err
	}
	p.traces.settled(done, pending, now)
	for i := range kept {
		p.traces.wake(settlements[i].Wake, now)
	}
	p.count(ctx, kept)
	return true, nil
}

// decide is a trace's settlement, from what the store knows alone.
func (p *attributionProcessor) decide(l look, before tracestore.Before, now usage.Micros) (o outcome, err error) {
	room := factsRoom.Get().(*[]attribution.Fact)
	known, err := p.store.Read(l.trace, before, *room)
	facts := known.Facts
	defer func() { giveBack(room, facts) }()
	if err != nil {
		return o, err
	}
	known.Facts = nil
	p.traces.weigh(l.trace, len(facts), now)
	o.reason = l.reason
	if l.reason == "" {
		if !attribution.Complete(facts) {
			return outcome{skip: true}, nil
		}
		o.reason = "complete"
	}
	links := linksOf(facts)
	if len(links) > 0 && known.Fresh() {
		if err := p.store.Wait(l.trace, links); err != nil {
			return o, err
		}
	}
	others := p.store.Others(l.trace, p.nextLogs != nil)
	decision := attribution.Decide(facts, others)
	o.late = known.Lost || known.Forgot
	if o.late {
		for i := range decision.Events {
			decision.Events[i].Event.AddFlag(usage.FlagLateUnmatched)
		}
	}
	events, after := attribution.Revise(known.Emitted, decision.Events)
	var counted attribution.Tally
	o.tally, counted = decision.Tally.Since(known.Counted())
	o.settlement = tracestore.Settlement{Trace: l.trace, At: now, Known: known, Emitted: after, Links: links, Counted: counted}
	o.settlement.Events = make([]tracestore.Event, len(events))
	startOf := starts(decision.Events)
	for i, e := range events {
		start, ok := startOf(e.SpanID)
		if !ok || start > e.Timestamp {
			start = e.Timestamp
		}
		o.settlement.Events[i] = tracestore.Event{Event: e, Start: start}
	}
	if p.store.LinkedTo(l.trace) {
		if o.settlement.Shown = decision.Shown(); o.settlement.Shown != known.Shown() {
			if o.settlement.Wake, err = p.store.Waiting(l.trace); err != nil {
				return o, err
			}
		}
	}
	o.settlement.Notes = others.Notes(&decision)
	if err := others.Err(); err != nil {
		return o, err
	}
	if copies := len(facts) - len(decision.Spans); known.Old || known.Arrivals > 4 && copies > len(decision.Spans) {
		unique := make([]attribution.Fact, 0, len(decision.Spans))
		for i := range decision.Spans {
			unique = append(unique, *decision.Spans[i].Fact)
		}
		if err := p.store.Rewrite(&o.settlement, unique); err != nil {
			return o, err
		}
	}
	o.settlement.Prepare()
	return o, nil
}

// starts tells when the spans of planned events began.
func starts(planned []attribution.Planned) func(spanID string) (start usage.Micros, ok bool) {
	if len(planned) <= 16 { // most traces: looking is less work than a map
		return func(spanID string) (usage.Micros, bool) {
			for i := range planned {
				if planned[i].Event.SpanID == spanID {
					return planned[i].Start, true
				}
			}
			return 0, false
		}
	}
	all := make(map[string]usage.Micros, len(planned))
	for i := range planned {
		all[planned[i].Event.SpanID] = planned[i].Start
	}
	return func(spanID string) (usage.Micros, bool) {
		start, ok := all[spanID]
		return start, ok
	}
}

func linksOf(facts []attribution.Fact) (traces []attribution.TraceID) {
	for i := range facts {
		for _, l := range facts[i].Links {
			if l.Trace != facts[i].Trace {
				traces = append(traces, l.Trace)
			}
		}
	}
	slices.SortFunc(traces, func(a, b attribution.TraceID) int { return bytes.Compare(a[:], b[:]) })
	return slices.Compact(traces)
}

// count adds a round to the metrics.
func (p *attributionProcessor) count(ctx context.Context, round []outcome) {
	t := p.telemetry
	var tally attribution.Tally
	reasons := map[string]int64{}
	events, corrections, late := 0, 0, 0
	for i := range round {
		o := &round[i]
		reasons[o.reason]++
		tally.Add(&o.tally)
		events += len(o.settlement.Events)
		if o.late {
			late += len(o.settlement.Events)
		}
		for k := range o.settlement.Events {
			e := &o.settlement.Events[k].Event
			if e.Kind != usage.KindUsage {
				corrections++
			}
			for _, dimension := range p.values.add(e) {
				t.UsageboxAttributionValuesExceeded.Add(ctx, 1, metric.WithAttributes(attribute.String("dimension", dimension)))
				p.logger.Warn("a dimension has more values in an hour than max_values: every value is kept, but queries by it will be slow; is an id in it?",
					zap.String("dimension", dimension), zap.Int("max_values", p.config.MaxValues))
			}
		}
	}
	p.outbox.Add(int64(events))
	for reason, n := range reasons {
		t.UsageboxAttributionSettled.Add(ctx, n, metric.WithAttributes(attribute.String("reason", reason)))
	}
	for dialect, n := range tally.Calls {
		t.UsageboxAttributionCalls.Add(ctx, int64(n), metric.WithAttributes(attribute.String("dialect", dialect)))
	}
	t.UsageboxAttributionCorrections.Add(ctx, int64(corrections))
	t.UsageboxAttributionLateUnmatched.Add(ctx, int64(late))
	t.UsageboxAttributionDoubles.Add(ctx, int64(tally.Doubles))
	t.UsageboxAttributionWrappers.Add(ctx, int64(tally.Wrappers))
	t.UsageboxAttributionWrapperExcess.Add(ctx, tally.WrapperExcess)
	t.UsageboxAttributionAggregates.Add(ctx, int64(tally.Aggregates))
	t.UsageboxAttributionUsageMissing.Add(ctx, int64(tally.UsageMissing))
	t.UsageboxAttributionUnattributed.Add(ctx, int64(tally.Unattributed))
	t.UsageboxAttributionUnknownDialect.Add(ctx, int64(tally.Unknown))
	t.UsageboxAttributionSampled.Add(ctx, int64(tally.Sampled))
	t.UsageboxAttributionInvalid.Add(ctx, int64(tally.Invalid))
	t.UsageboxAttributionFailedAttempts.Add(ctx, int64(tally.Failed))
}

const (
	expireEvery  = time.Minute
	expireTraces = 10_000
	markLife     = 10 // times the retention that a forgotten trace is known as such
)

// expire forgets the facts of old traces, and of the oldest ones when the directory is too large.
func (p *attributionProcessor) expire() {
	now := p.now()
	if now.Before(p.expireAt) {
		return
	}
	p.expireAt = now.Add(expireEvery)
	at := usage.MicrosOf(now)
	before, marks := usage.MicrosOf(now.Add(-p.config.Retention)), usage.MicrosOf(now.Add(-markLife*p.config.Retention))
	forgotten, err := p.store.Expire(before, expireTraces, math.MaxInt64, at, marks)
	if err == nil {
		err = p.store.Drop(at, p.config.MaxDisk)
	}
	if excess := p.store.DiskBytes() - p.config.MaxDisk; err == nil && excess > 0 {
		var more int
		more, err = p.store.Expire(at+usage.MicrosPerHour, expireTraces, excess, at, marks)
		forgotten += more
		p.full.Store(more == 0)
		p.expireAt = now.Add(expireEvery / 60)
	} else {
		p.full.Store(false)
	}
	oldest, oldestErr := p.store.OldestSettled()
	p.oldest.Store(int64(oldest))
	if err = errors.Join(err, oldestErr); err != nil {
		p.logger.Error("old traces could not be forgotten: tried again in a minute", zap.Error(err))
		return
	}
	if forgotten >= expireTraces {
		p.expireAt = now
	}
}
