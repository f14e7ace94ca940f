package attributionprocessor

import (
	"context"
	"fmt"
	"sync"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/usagebox/otelcol-usagebox/internal/attribution"
	"github.com/usagebox/otelcol-usagebox/internal/tracestore"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// ConsumeTraces answers nil when the facts of all spans are durable. Any error means: send all of them again.
func (s tracesSide) ConsumeTraces(ctx context.Context, td ptrace.Traces) error {
	return s.p.consumeTraces(ctx, td)
}

// ConsumeLogs answers nil when the facts of all records that tell of calls are durable, and when what follows has taken the records that are usage events
// already. Records of anything else go no further.
func (s logsSide) ConsumeLogs(ctx context.Context, ld plog.Logs) error {
	return s.p.consumeLogs(ctx, ld)
}

func (p *attributionProcessor) consumeTraces(ctx context.Context, td ptrace.Traces) error {
	spans := td.SpanCount()
	if spans == 0 {
		return nil
	}
	p.requests.begin()
	defer p.requests.end()
	now := usage.MicrosOf(p.now())
	room := factsRoom.Get().(*[]attribution.Fact)
	facts := p.reader.Append((*room)[:0], td, now)
	defer giveBack(room, facts)
	return p.keep(ctx, facts, spans, now)
}

// factsRoom is room for facts, which nothing holds once they are stored or decided on.
var factsRoom = sync.Pool{New: func() any { return new([]attribution.Fact) }}

const mostRoom = 4096 // facts

func giveBack(room *[]attribution.Fact, facts []attribution.Fact) {
	if cap(facts) > mostRoom {
		facts = nil
	}
	clear(facts)
	*room = facts[:0]
	factsRoom.Put(room)
}

func (p *attributionProcessor) consumeLogs(ctx context.Context, ld plog.Logs) error {
	now := usage.MicrosOf(p.now())
	facts := p.reader.ReadLogs(ld, now)
	if len(facts) > 0 {
		p.requests.begin()
		err := p.keep(ctx, facts, len(facts), now)
		p.requests.end()
		if err != nil {
			return err
		}
	}
	events, others := eventsIn(ld)
	p.telemetry.UsageboxAttributionRecordsPassed.Add(ctx, int64(events.LogRecordCount()))
	p.telemetry.UsageboxAttributionRecordsDropped.Add(ctx, int64(max(0, others-len(facts))))
	if events.LogRecordCount() == 0 {
		return nil
	}
	return p.nextLogs.ConsumeLogs(ctx, events)
}

// keep makes facts durable.
func (p *attributionProcessor) keep(ctx context.Context, facts []attribution.Fact, spans int, now usage.Micros) error {
	if p.full.Load() {
		p.telemetry.UsageboxAttributionHeld.Add(ctx, int64(spans))
		return fmt.Errorf("max_disk of %d bytes is reached in %s: nothing was taken, send again later", p.config.MaxDisk, p.config.Directory)
	}
	arrivals := arrive(facts)
	p.traces.begin(arrivals, now)
	err := p.store.Append(arrivals, now)
	p.traces.end(arrivals, now, err == nil)
	if err != nil {
		p.telemetry.UsageboxAttributionHeld.Add(ctx, int64(spans))
		return err
	}
	p.telemetry.UsageboxAttributionAccepted.Add(ctx, int64(spans))
	return nil
}

// arrive groups facts by trace, in the place where they are if each trace's lie together. A span without ids gets some that are a function of what it says: sent
// again it is the same span.
func arrive(facts []attribution.Fact) []tracestore.Arrival {
	at := make(map[attribution.TraceID]int, 8)
	of := make([]int, len(facts)) // the trace of each
	var counts []int
	together := true
	for i := range facts {
		f := &facts[i]
		if i > 0 && f.Trace == facts[i-1].Trace {
			of[i] = of[i-1]
			counts[of[i]]++
			continue
		}
		k, ok := at[f.Trace]
		if !ok {
			k = len(counts)
			at[f.Trace] = k
			counts = append(counts, 0)
		}
		together = together && !ok
		of[i] = k
		counts[k]++
	}
	if !together {
		facts = gather(facts, of, counts)
	}
	arrivals := make([]tracestore.Arrival, len(counts))
	for k, n := range counts {
		arrivals[k] = tracestore.Arrival{Trace: facts[0].Trace, Facts: facts[:n:n]}
		facts = facts[n:]
	}
	return arrivals
}

// gather sorts facts by their trace, those of one in their order.
func gather(facts []attribution.Fact, of, counts []int) []attribution.Fact {
	next := make([]int, len(counts))
	for k := 1; k < len(counts); k++ {
		next[k] = next[k-1] + counts[k-1]
	}
	sorted := make([]attribution.Fact, len(facts))
	for i := range facts {
		sorted[next[of[i]]] = facts[i]
		next[of[i]]++
	}
	return sorted
}

func ours(r plog.LogRecord) bool { return r.EventName() == usage.EventName || usage.IsRefusal(r) }

// eventsIn are the records that carry usage events, or refusals of such; others counts the rest.
func eventsIn(ld plog.Logs) (events plog.Logs, others int) {
	total, carrying := ld.LogRecordCount(), 0
	for _, rl := range ld.ResourceLogs().All() {
		for _, sl := range rl.ScopeLogs().All() {
			for _, r := range sl.LogRecords().All() {
				if ours(r) {
					carrying++
				}
			}
		}
	}
	switch carrying {
	case total:
		return ld, 0
	case 0:
		return plog.NewLogs(), total
	}
	events = plog.NewLogs()
	ld.CopyTo(events)
	events.ResourceLogs().RemoveIf(func(rl plog.ResourceLogs) bool {
		rl.ScopeLogs().RemoveIf(func(sl plog.ScopeLogs) bool {
			sl.LogRecords().RemoveIf(func(r plog.LogRecord) bool { return !ours(r) })
			return sl.LogRecords().Len() == 0
		})
		return rl.ScopeLogs().Len() == 0
	})
	return events, total - carrying
}
