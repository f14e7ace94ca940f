package dedupeprocessor

import (
	"errors"
	"slices"
	"sync"

	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/usagebox/otelcol-usagebox/processor/dedupeprocessor/internal/index"
	"github.com/usagebox/otelcol-usagebox/usage"
)

type recordKind int8

const (
	anEvent    recordKind = iota
	unreadable            // a usage event that the ledger will refuse
	refusal               // what was not counted, on its way to the ledger
	foreign               // something else
)

// record is what a log record is, and what becomes of it.
type record struct {
	kind recordKind
	drop bool
}

// batch is log records, in order.
type batch struct {
	records []record
	entries []index.Entry // of the events among them
	known   []index.Known // the same
	copies  bool          // some are of one event
}

var batches = sync.Pool{New: func() any { return new(batch) }}

// release gives b's room to another one.
func (b *batch) release() { batches.Put(b) }

// read is one record for each log record.
func read(ld plog.Logs) *batch {
	b, count := batches.Get().(*batch), ld.LogRecordCount()
	b.records, b.entries, b.copies = slices.Grow(b.records[:0], count), slices.Grow(b.entries[:0], count), false
	var e usage.Event
	for _, rl := range ld.ResourceLogs().All() {
		for _, sl := range rl.ScopeLogs().All() {
			for _, lr := range sl.LogRecords().All() {
				kind := anEvent
				switch err := usage.DecodeRecord(rl.Resource(), lr, &e); {
				case err == nil:
					b.entries = append(b.entries, index.Entry{Hash: index.HashOf(e.Key()), Payload: e.Payload()})
				case usage.IsRefusal(lr):
					kind = refusal
				case errors.Is(err, usage.ErrNotUsage):
					kind = foreign
				default:
					kind = unreadable
				}
				b.records = append(b.records, record{kind: kind})
			}
		}
	}
	b.known = slices.Grow(b.known[:0], len(b.entries))[:len(b.entries)]
	clear(b.known)
	return b
}

// endBefore leaves what comes before the record of entry number n.
func (b *batch) endBefore(n int) {
	b.entries, b.known = b.entries[:n], b.known[:n]
	for i, r := range b.records {
		if r.kind != anEvent {
			continue
		}
		if n == 0 {
			b.records = b.records[:i]
			return
		}
		n--
	}
}

// taken is the entries of events that were sent on and are not among the rejections. One that is there, with whatever payload, is left to the ledger.
func (b *batch) taken(rejections []usage.Rejection) []index.Entry {
	if len(rejections) == 0 && !slices.ContainsFunc(b.records, func(r record) bool { return r.drop }) {
		return b.entries
	}
	refused := make(map[index.Hash]bool, len(rejections))
	for _, r := range rejections {
		refused[index.HashOf(r.Key)] = true
	}
	taken, n := make([]index.Entry, 0, len(b.entries)), 0
	for _, r := range b.records {
		if r.kind != anEvent {
			continue
		}
		if e := b.entries[n]; !r.drop && !refused[e.Hash] {
			taken = append(taken, e)
		}
		n++
	}
	return taken
}

// keyAt is the identity of the event that is record number i.
func keyAt(ld plog.Logs, i int) usage.Key {
	var e usage.Event
	for _, rl := range ld.ResourceLogs().All() {
		for _, sl := range rl.ScopeLogs().All() {
			records := sl.LogRecords()
			if i >= 0 && i < records.Len() {
				_ = usage.DecodeRecord(rl.Resource(), records.At(i), &e) // it was read before
			}
			i -= records.Len()
		}
	}
	return e.Key()
}

// keepOnly leaves the records whose number, counted from 0, keep says yes to.
func keepOnly(ld plog.Logs, keep func(i int) bool) {
	i := -1
	ld.ResourceLogs().RemoveIf(func(rl plog.ResourceLogs) bool {
		rl.ScopeLogs().RemoveIf(func(sl plog.ScopeLogs) bool {
			sl.LogRecords().RemoveIf(func(plog.LogRecord) bool {
				i++
				return !keep(i)
			})
			return sl.LogRecords().Len() == 0
		})
		return rl.ScopeLogs().Len() == 0
	})
}
