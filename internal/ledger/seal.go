package ledger

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"go.uber.org/zap"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// sealed is a sealed part: the events of its hour with numbers in [From, To). It is recorded before it is made.
type sealed struct {
	Name   string       `json:"name"`
	From   uint64       `json:"from"`
	To     uint64       `json:"to"`
	At     usage.Micros `json:"at"`
	Last   bool         `json:"last"` // all of the hour that had come; what comes after it is late
	Done   bool         `json:"done"`
	Events int64        `json:"events"`
	Bytes  int64        `json:"bytes"` // of the events in the store
	Covers []string     `json:"covers"`
	Merged int          `json:"merged,omitempty"` // not 0: it is not sealed but a part, merged so many times over
	Late   int          `json:"late,omitempty"`   // 1: it is of late usage; more: it was merged of such so many times, less one
	Record uint64       `json:"record,omitempty"` // its number in the chain, once done
	Left   uint8        `json:"left,omitempty"`   // bit i: its file of trees[i] has left
	Daily  uint64       `json:"daily,omitempty"`  // the daily part that its rollups entered; of one that was merged, the last

	Dimensions []string `json:"dimensions"` // as in part
}

// maxOpenParts is how many parts that were merged equally often an hour has before they are merged into one.
const maxOpenParts = 64

// choice is which of an hour's parts are to be made into one: parts[first:end].
type choice struct {
	first, end int
	last       bool // a seal of all that had come
	merged     int  // as in sealed
}

// Seal makes parts of what was acknowledged, then seals every hour that is due, and removes what is older than its retention.
func (l *Ledger) Seal(ctx context.Context) error {
	l.maintenance.Lock()
	defer l.maintenance.Unlock()
	s, err := l.current()
	if err != nil {
		return err
	}
	err = l.sealHours(ctx, s)
	if s.merge != nil || s.store.failure() != nil {
		return err
	}
	// Also when it failed because the disk is full.
	return errors.Join(err, l.retain(ctx, s), l.makeDaily(ctx, s), l.mergeIDsSoon(s))
}

func (l *Ledger) sealHours(ctx context.Context, s *state) error {
	if err := l.flush(ctx, s); err != nil {
		return err
	}
	now := l.now()
	// What is late has been sealed already: that it can't be merged holds nothing else up.
	merging := l.finishLateMerge(s)
	for _, h := range l.openHours(s) {
		sealedNow := false
		for {
			c := l.sealNow(h, now)
			if c.end == 0 {
				break
			}
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("sealing: %w", err)
			}
			if err := l.planSeal(s, h, c); err != nil {
				return fmt.Errorf("plan the seal of %s: %w", hourText(h.Hour), err)
			}
			if err := l.finishSeal(s, h); err != nil {
				return err
			}
			sealedNow = sealedNow || c.merged == 0
		}
		if sealedNow && merging == nil {
			merging = l.mergeLate(ctx, s, h.Hour)
		}
	}
	return merging
}

func (l *Ledger) openHours(s *state) []*hour {
	l.mu.Lock()
	defer l.mu.Unlock()
	open := make([]*hour, 0, len(s.hours))
	for _, h := range s.hours {
		if len(h.parts) > 0 {
			open = append(open, h)
		}
	}
	slices.SortFunc(open, func(a, b *hour) int { return cmp.Compare(a.Hour, b.Hour) })
	return open
}

// sealDue is when an hour is to be sealed: SealAfter after its end, and after the first part of what came late. A part from
// before the clock was put back doesn't make it wait.
func (l *Ledger) sealDue(h *hour, now usage.Micros) usage.Micros {
	from := (h.Hour + 1).Start()
	if len(h.parts) > 0 && h.parts[0].At <= now {
		from = max(from, h.parts[0].At)
	}
	return from + usage.Micros(l.o.SealAfter/time.Microsecond)
}

// sealNow is which parts of an hour are to be sealed at present, the oldest first: all when it is due; before that as many as one
// sealed part holds, when there are more. Parts of an hour that is not due are merged when there are many.
func (l *Ledger) sealNow(h *hour, now usage.Micros) choice {
	var bytes int64
	for i := range h.parts {
		if bytes += h.parts[i].Bytes; i > 0 && bytes > l.o.SealBytes {
			return choice{end: i}
		}
	}
	if l.sealDue(h, now) <= now {
		return choice{end: len(h.parts), last: true}
	}
	if l.noExchange {
		return choice{}
	}
	// The oldest were merged most often, so those that were merged equally often lie together.
	for first := 0; first < len(h.parts); {
		end := first
		for end < len(h.parts) && h.parts[end].Merged == h.parts[first].Merged {
			end++
		}
		if end-first >= cmp.Or(l.o.maxParts, maxOpenParts) {
			return choice{first: first, end: end, merged: h.parts[first].Merged + 1}
		}
		first = end
	}
	return choice{}
}

// planSeal records the next sealed or merged part of an hour.
func (l *Ledger) planSeal(s *state, h *hour, c choice) error {
	parts := h.parts[c.first:c.end]
	seal := &sealed{From: parts[0].From, To: parts[len(parts)-1].To, At: l.now(), Last: c.last, Merged: c.merged, Dimensions: l.o.RollupDimensions}
	for i := range parts {
		p := &parts[i]
		seal.Events += p.Events
		seal.Bytes += p.Bytes
		seal.Covers = append(seal.Covers, p.Name)
	}
	seal.Name = fmt.Sprintf("sealed-%012d-%012d", seal.From, seal.To-1)
	if seal.Merged > 0 {
		seal.At = parts[0].At
		seal.Name = fmt.Sprintf("part-%012d-%012d", seal.From, seal.To-1)
	}
	if h.Sealed && c.merged == 0 {
		seal.Late = 1
	}
	if err := s.update(func(b *pebble.Batch) error {
		return setJSON(b, hourSeqKey(keySealed, h.Hour, seal.From), seal)
	}); err != nil {
		return err
	}
	l.mu.Lock()
	h.seal = seal
	l.mu.Unlock()
	return nil
}

// finishSeal makes the sealed part that was planned, puts it in the place of the parts that it covers, and records it.
func (l *Ledger) finishSeal(s *state, h *hour) error {
	var records []*ChainRecord
	var seals []*sealed
	var bytes int64
	exchanged := !l.noExchange
	if exchanged {
		record, err := l.exchangeHour(s, h)
		switch {
		case errors.Is(err, ErrExchangeUnsupported):
			l.noExchange, exchanged = true, false
			l.o.Logger.Warn("parts stay as they are when their hour is sealed", zap.Error(err))
		case err != nil:
			return fmt.Errorf("seal %s, which is tried again: %w", hourText(h.Hour), err)
		default:
			records, seals = []*ChainRecord{record}, []*sealed{h.seal}
			bytes = record.Files[0].Bytes + record.Files[1].Bytes + record.Files[2].Bytes
		}
	}
	if h.seal.Merged > 0 {
		return l.finishMerge(s, h, bytes)
	}
	if !exchanged {
		var err error
		if records, seals, err = l.sealInPlace(s, h); err != nil {
			return fmt.Errorf("seal %s, which is tried again: %w", hourText(h.Hour), err)
		}
	}
	if err := l.writeIDsBelow(s, h.seal.To); err != nil {
		return err
	}
	sealedHour := h.Hour
	if err := l.recordSeal(s, h, seals, records); err != nil {
		return err
	}
	if l.o.sabotage == sealBeforeExchange {
		if err := l.exchangeAfterAll(sealedHour); err != nil {
			return err
		}
	}
	l.o.Observer.Sealed(bytes, exchanged)
	if exchanged {
		l.removeStage()
	}
	return l.writeChain(s)
}

// finishMerge records a merged part in the place of those that it covers; where folders can't be exchanged they stay.
func (l *Ledger) finishMerge(s *state, h *hour, bytes int64) error {
	plan := h.seal
	first := slices.IndexFunc(h.parts, func(p part) bool { return p.From == plan.From })
	end := first + len(plan.Covers)
	if first < 0 || end > len(h.parts) {
		return corrupt("the store", fmt.Errorf("the parts that %s of %s is merged from are not there", plan.Name, hourText(h.Hour)))
	}
	merged := part{
		Name: plan.Name, From: plan.From, To: plan.To, Events: plan.Events, Bytes: plan.Bytes, At: plan.At, Merged: plan.Merged,
		Dimensions: plan.Dimensions, Done: true,
	}
	parts := slices.Concat(h.parts[:first], []part{merged}, h.parts[end:])
	if l.noExchange {
		parts = h.parts
	}
	if err := s.update(func(b *pebble.Batch) error {
		if err := b.Delete(hourSeqKey(keySealed, h.Hour, plan.From), nil); err != nil || l.noExchange {
			return err
		}
		for i := range h.parts[first:end] {
			if err := b.Delete(hourSeqKey(keyPart, h.Hour, h.parts[first+i].From), nil); err != nil {
				return err
			}
		}
		return setJSON(b, hourSeqKey(keyPart, h.Hour, merged.From), merged)
	}); err != nil {
		return err
	}
	l.mu.Lock()
	h.seal, h.parts = nil, parts
	l.mu.Unlock()
	l.o.Observer.PartMade(bytes)
	l.removeStage()
	return nil
}

// removeStage removes what an exchange has left. What remains is removed by the next.
func (l *Ledger) removeStage() {
	if err := l.o.FS.RemoveAll(l.paths.stage()); err != nil {
		l.o.Logger.Warn("parts that were replaced could not be removed from "+l.paths.stage()+", which the next seal will do", zap.Error(err))
	}
}

// recordSeal puts the seal into the chain; its events leave the store.
func (l *Ledger) recordSeal(s *state, h *hour, seals []*sealed, records []*ChainRecord) error {
	plan := h.seal
	flushed := h.flushedRecord
	flushed.SealedEvents += plan.Events
	flushed.SealedBytes += plan.Bytes
	flushed.Sealed = flushed.Sealed || plan.Last
	covered := 0
	for covered < len(h.parts) && h.parts[covered].From < plan.To {
		covered++
	}
	var head chainHead
	change := s.change + 1
	if err := s.update(func(b *pebble.Batch) (err error) {
		if err := b.Delete(hourSeqKey(keySealed, h.Hour, plan.From), nil); err != nil {
			return err
		}
		if err := markChange(b, h.Hour, &flushed, change); err != nil {
			return err
		}
		if head, err = s.appendChain(b, records); err != nil {
			return err
		}
		for i, seal := range seals {
			done := *seal
			done.Done, done.Record = true, records[i].Number
			if err := setJSON(b, hourSeqKey(keySealed, h.Hour, seal.From), done); err != nil {
				return err
			}
		}
		for i := range h.parts[:covered] {
			if err := b.Delete(hourSeqKey(keyPart, h.Hour, h.parts[i].From), nil); err != nil {
				return err
			}
		}
		end := plan.To
		if l.o.sabotage == sealTakesAll {
			end = math.MaxUint64
		}
		if err := b.DeleteRange(hourSeqKey(keyChunk, h.Hour, plan.From), hourSeqKey(keyChunk, h.Hour, end), nil); err != nil {
			return err
		}
		return setJSON(b, hourKey(keyFlushed, h.Hour), flushed)
	}); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	h.flushedRecord, h.seal, s.chain, s.change = flushed, nil, head, change
	h.parts = slices.Clone(h.parts[covered:])
	s.sealedAgain(h.Hour)
	if l.o.sabotage != dayBeforeSeals || s.days.parts[dayOf(h.Hour)] == 0 {
		s.days.waiting[dayOf(h.Hour)] += len(seals)
	}
	s.openEvents -= plan.Events
	s.openBytes -= plan.Bytes
	if h.idle() {
		delete(s.hours, h.Hour)
	}
	return nil
}

// lastSealed is the last sealed part of an hour that begins at or before an event's number, nil when there is none.
func (s *state) lastSealed(h usage.Hour, seq uint64) (*sealed, error) {
	high := prefixEnd(hourKey(keySealed, h))
	if seq+1 != 0 {
		high = hourSeqKey(keySealed, h, seq+1)
	}
	value, err := s.last(hourKey(keySealed, h), high)
	if err != nil || value == nil {
		return nil, err
	}
	found := new(sealed)
	if err := json.Unmarshal(value, found); err != nil {
		return nil, corrupt("the store's record of a sealed part of "+hourText(h), err)
	}
	return found, nil
}

// last is the value of the last key in [low, high), nil when there is none.
func (s *state) last(low, high []byte) (value []byte, err error) {
	it, err := s.store.db.NewIter(&pebble.IterOptions{LowerBound: low, UpperBound: high})
	if err != nil {
		return nil, s.store.readError(err)
	}
	defer func() { err = closeAfter(it, err) }()
	if !it.Last() {
		if err := it.Error(); err != nil {
			return nil, s.store.readError(err)
		}
		return nil, nil
	}
	v, err := it.ValueAndErr()
	if err != nil {
		return nil, s.store.readError(err)
	}
	return slices.Clone(v), nil
}
