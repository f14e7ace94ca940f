package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"

	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// lateMerge is a sealed part that is made of an hour's sealed parts of late usage. It is recorded before it is made; the events are read from the files
// that it replaces.
type lateMerge struct {
	Hour usage.Hour `json:"hour"`
	sealed
}

// maxLateParts is how many sealed parts of late usage that were merged equally often an hour has before they are merged into one: so their number
// grows with the logarithm of how often an hour is late, and so does how often an event is written.
const maxLateParts = 8

// mergeLate makes one sealed part of an hour's last ones of late usage when there are many. The part that was sealed first stays.
func (l *Ledger) mergeLate(ctx context.Context, s *state, h usage.Hour) error {
	for !l.noExchange && (s.days.plan == nil || s.days.day != dayOf(h)) {
		m, err := l.chooseLate(s, h)
		if err != nil || m == nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("merging late parts: %w", err)
		}
		if err := s.update(func(b *pebble.Batch) error { return setJSON(b, hourKey(keyMerge, h), m) }); err != nil {
			return fmt.Errorf("plan the merge of late parts of %s: %w", hourText(h), err)
		}
		s.merge = m
		if err := l.finishLateMerge(s); err != nil {
			return err
		}
	}
	return nil
}

// chooseLate is which late parts of an hour are to be merged at present, nil for none: the last ones that were merged equally often, as many as one
// sealed part holds. They are all in daily parts, or none is.
func (l *Ledger) chooseLate(s *state, h usage.Hour) (*lateMerge, error) {
	parts, err := s.sealedParts(h)
	if err != nil {
		return nil, err
	}
	first, bytes := len(parts), int64(0)
	for first > 0 {
		p := &parts[first-1]
		if bytes += p.Bytes; !p.Done || p.Late == 0 || p.Left != 0 || p.Late != parts[len(parts)-1].Late || p.Daily == 0 != (parts[len(parts)-1].Daily == 0) || bytes > l.o.SealBytes {
			break
		}
		first--
	}
	parts = parts[first:]
	if len(parts) < cmp.Or(l.o.maxLate, maxLateParts) {
		return nil, nil
	}
	m := &lateMerge{Hour: h, sealed: sealed{
		From: parts[0].From, To: parts[len(parts)-1].To, At: l.now(), Last: true, Late: parts[0].Late + 1, Daily: parts[len(parts)-1].Daily, Dimensions: l.o.RollupDimensions,
	}}
	for i := range parts {
		m.Events += parts[i].Events
		m.Bytes += parts[i].Bytes
		m.Covers = append(m.Covers, parts[i].Name)
	}
	m.Name = fmt.Sprintf("sealed-%012d-%012d", m.From, m.To-1)
	return m, l.checkSealed(s, h, parts)
}

// sealedParts are an hour's, in order.
func (s *state) sealedParts(h usage.Hour) (parts []sealed, err error) {
	low := hourKey(keySealed, h)
	err = s.store.scan(low, prefixEnd(low), func(key, value []byte) error {
		var p sealed
		err := decodeJSON(key, value, &p)
		parts = append(parts, p)
		return err
	})
	return parts, err
}

// checkSealed holds the events files of sealed parts against the chain, before anything is made of them.
func (l *Ledger) checkSealed(s *state, h usage.Hour, parts []sealed) error {
	for i := range parts {
		record, err := s.chainRecord(parts[i].Record, len(trees))
		if err != nil {
			return err
		}
		path := l.paths.part(treeEvents, h, parts[i].Name)
		_, found, err := l.digestFile(path)
		if err != nil {
			return fmt.Errorf("late parts of %s are not merged: %w", hourText(h), err)
		}
		if want := record.Files[0].SHA256; found != want {
			return corrupt(path, fmt.Errorf("it has the SHA-256 %s, record %d of the chain says %s", found, record.Number, want))
		}
	}
	return nil
}

// finishLateMerge makes the part that was planned, puts it in the place of those that it covers, and records it.
func (l *Ledger) finishLateMerge(s *state) error {
	m := s.merge
	if m == nil {
		return nil
	}
	record := l.chainRecord(m.Hour, &m.sealed)
	record.InDaily = m.Daily > 0
	err := l.exchange(record, &replacement{
		hour: m.Hour, name: m.Name, covers: m.Covers, events: m.Events, order: eventsLast,
		write: func(files [len(trees)]*countingFile) (parquetfile.Totals, error) { return l.writeMerged(m, files) },
	})
	if errors.Is(err, ErrExchangeUnsupported) {
		l.noExchange = true
		l.o.Logger.Warn("late parts stay as they are", zap.Error(err))
		return l.dropLateMerge(s)
	}
	if err != nil {
		return fmt.Errorf("merge late parts of %s, which is tried again: %w", hourText(m.Hour), err)
	}
	if err := l.recordLateMerge(s, record); err != nil {
		return err
	}
	if l.o.sabotage == mergeBeforeExchange {
		if err := l.exchangeAfterAll(m.Hour); err != nil {
			return err
		}
	}
	l.o.Observer.PartMade(record.Files[0].Bytes + record.Files[1].Bytes + record.Files[2].Bytes)
	l.removeStage()
	return l.writeChain(s)
}

// writeMerged writes the events of the parts that m covers, sorted, with their sums. Once the events file has taken their place it is read itself: its
// sums take their place before it does.
func (l *Ledger) writeMerged(m *lateMerge, files [len(trees)]*countingFile) (totals parquetfile.Totals, err error) {
	grouping, err := groupingOf(m.Dimensions)
	if err != nil {
		return totals, err
	}
	names := m.Covers
	if files[0].file == nil {
		names = []string{m.Name}
	}
	sources := make([]parquetfile.Source, 0, len(names))
	for _, name := range names {
		file, err := l.o.FS.Open(l.paths.part(treeEvents, m.Hour, name), vfs.SequentialReadsOption)
		if err != nil {
			return totals, err
		}
		defer file.Close() // it was only read
		info, err := file.Stat()
		if err != nil {
			return totals, err
		}
		events, err := parquetfile.OpenEvents(file, info.Size())
		if err != nil {
			return totals, err
		}
		r := events.Events()
		defer r.Close()
		sources = append(sources, r)
	}
	if l.o.sabotage == mergeSkipsLast && len(sources) > 1 {
		sources = sources[:len(sources)-1]
	}
	w := parquetfile.NewPartWriter(files[0], files[2], files[1], grouping)
	merged := parquetfile.NewMerge(sources...)
	for {
		var e usage.Event
		if err := merged.Next(&e); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return totals, err
		}
		if err := w.Write(&e); err != nil {
			return totals, err
		}
	}
	totals, err = w.Close()
	if l.o.sabotage == mergeSkipsLast {
		totals.Events = m.Events
	}
	return totals, err
}

// recordLateMerge puts the merged part into the chain and in the place of those that it covers.
func (l *Ledger) recordLateMerge(s *state, record *ChainRecord) error {
	m := s.merge
	var head chainHead
	if err := s.update(func(b *pebble.Batch) (err error) {
		if head, err = s.appendChain(b, []*ChainRecord{record}); err != nil {
			return err
		}
		if err := b.DeleteRange(hourSeqKey(keySealed, m.Hour, m.From), hourSeqKey(keySealed, m.Hour, m.To), nil); err != nil {
			return err
		}
		done := m.sealed
		done.Done, done.Record = true, record.Number
		if err := setJSON(b, hourSeqKey(keySealed, m.Hour, m.From), done); err != nil {
			return err
		}
		return b.Delete(hourKey(keyMerge, m.Hour), nil)
	}); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s.chain, s.merge = head, nil
	if m.Daily == 0 {
		s.days.waiting[dayOf(m.Hour)] -= len(m.Covers) - 1
	}
	return nil
}

// dropLateMerge forgets a merge that nothing was done of.
func (l *Ledger) dropLateMerge(s *state) error {
	if err := s.update(func(b *pebble.Batch) error { return b.Delete(hourKey(keyMerge, s.merge.Hour), nil) }); err != nil {
		return err
	}
	s.merge = nil
	l.removeStage()
	return nil
}

// chainRecord is a record of the chain by its number, which has so many files.
func (s *state) chainRecord(n uint64, files int) (*ChainRecord, error) {
	r := new(ChainRecord)
	found, err := s.store.getJSON(numberKey(keyChain, n), r)
	if err == nil && (!found || len(r.Files) != files) {
		err = corrupt("the store", fmt.Errorf("record %d of the chain is not there or has other files", n))
	}
	return r, err
}
