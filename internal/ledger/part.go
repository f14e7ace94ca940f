package ledger

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// part is a part that is not sealed: the events of its hour with numbers in [From, To). It is recorded before it is
// made, so that after a crash the same one is made again.
type part struct {
	Name   string       `json:"name"`
	From   uint64       `json:"from"`
	To     uint64       `json:"to"`
	Events int64        `json:"events"`
	Bytes  int64        `json:"bytes"` // of the events in the store
	At     usage.Micros `json:"at"`
	Done   bool         `json:"done"`
	Merged int          `json:"merged,omitempty"` // how often it was merged over

	Dimensions []string `json:"dimensions"` // that its rollups are grouped by; null is the default
}

// groupingOf is what rollups are grouped by; nil is the default.
func groupingOf(dimensions []string) (*parquetfile.Grouping, error) {
	if dimensions == nil {
		return parquetfile.DefaultGrouping(), nil
	}
	return parquetfile.NewGrouping(dimensions)
}

// update makes one change of the maintainer's records durable.
func (s *state) update(fill func(b *pebble.Batch) error) error {
	b := s.store.db.NewBatch()
	if err := fill(b); err != nil {
		return errors.Join(err, b.Close())
	}
	return s.store.commit(b)
}

var errEnough = errors.New("enough")

// planPart records the next part of an hour: whole chunks, as many as SealBytes take.
func (l *Ledger) planPart(s *state, h *hour, until uint64) error {
	p := part{From: h.To, To: until, At: l.now(), Dimensions: l.o.RollupDimensions}
	err := s.store.scan(hourSeqKey(keyChunk, h.Hour, h.To), hourSeqKey(keyChunk, h.Hour, until), func(key, value []byte) error {
		events, bytes, _, err := readChunkHeader(value)
		if err != nil {
			return err
		}
		if p.Events > 0 && p.Bytes+int64(bytes) > l.o.SealBytes {
			p.To = seqOf(key)
			return errEnough
		}
		if p.Events == 0 {
			p.From = seqOf(key)
		}
		p.Events += int64(events)
		p.Bytes += int64(bytes)
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return err
	}
	if p.Events == 0 {
		return corrupt("the store", fmt.Errorf("the events %d to %d of %s are not there", h.To, until-1, hourText(h.Hour)))
	}
	p.Name = fmt.Sprintf("part-%012d-%012d", p.From, p.To-1)
	if l.o.sabotage == reuseNames {
		p.Name = fmt.Sprintf("part-%012d-%012d", len(h.parts), len(h.parts))
	}
	if err := s.update(func(b *pebble.Batch) error {
		return setJSON(b, hourSeqKey(keyPart, h.Hour, p.From), p)
	}); err != nil {
		return err
	}
	l.mu.Lock()
	h.plan = &p
	l.mu.Unlock()
	return nil
}

// finishPart makes the part that was planned, and records that it is done.
func (l *Ledger) finishPart(s *state, h *hour) error {
	p := *h.plan
	if l.o.sabotage == doneBeforeMade {
		done := p
		done.Done = true
		if err := s.update(func(b *pebble.Batch) error { return setJSON(b, hourSeqKey(keyPart, h.Hour, p.From), done) }); err != nil {
			return err
		}
	}
	contents, bytes, err := l.makePart(s, h, &p)
	if err != nil {
		return fmt.Errorf("make part %s of %s, which is tried again: %w", p.Name, hourText(h.Hour), err)
	}
	if l.o.sabotage == totalsApart {
		if err := s.update(func(b *pebble.Batch) error { return s.addTotals(b, h.Hour, contents.rollups) }); err != nil {
			return err
		}
	}
	if l.o.sabotage == totalsApart || l.o.sabotage == lateNotRolledUp && h.Sealed {
		contents.rollups = nil
	}
	p.Done = true
	change := s.change + 1
	flushed := h.flushedRecord
	flushed.To = p.To
	if err := s.update(func(b *pebble.Batch) error {
		if err := setJSON(b, hourSeqKey(keyPart, h.Hour, p.From), p); err != nil {
			return err
		}
		if err := s.addTotals(b, h.Hour, contents.rollups); err != nil {
			return err
		}
		if err := markChange(b, h.Hour, &flushed, change); err != nil {
			return err
		}
		return setJSON(b, hourKey(keyFlushed, h.Hour), flushed)
	}); err != nil {
		return err
	}
	l.mu.Lock()
	h.plan, h.flushedRecord, s.change = nil, flushed, change
	h.parts = append(h.parts, p)
	l.mu.Unlock()
	l.o.Observer.PartMade(bytes)
	return nil
}

// makePart writes the files of a part and lets them appear.
func (l *Ledger) makePart(s *state, h *hour, p *part) (made contents, bytes int64, err error) {
	var files [len(trees)]*countingFile
	defer func() {
		if err == nil {
			return
		}
		for _, tree := range trees {
			// It gives back the room; what can't be removed is written over by the next attempt.
			_ = l.o.FS.Remove(l.paths.part(tree, h.Hour, p.Name) + temporary)
		}
	}()
	for i, tree := range trees {
		if err := l.paths.makeFolder(l.paths.hour(tree, h.Hour)); err != nil {
			return contents{}, 0, err
		}
		file, err := l.o.FS.Create(l.paths.part(tree, h.Hour, p.Name)+temporary, vfs.WriteCategoryUnspecified)
		if err != nil {
			return contents{}, 0, err
		}
		files[i] = l.countingFile(file)
		defer file.Close() // again, when all went well: that changes nothing
	}
	if made, err = l.writeContents(s, h.Hour, span{p.From, p.To, p.Events, p.Bytes}, p.Dimensions, files); err != nil {
		return contents{}, 0, err
	}
	if made.totals.Events != p.Events {
		return contents{}, 0, corrupt("the store", fmt.Errorf("%s has %d events from %d to %d, %d were counted", hourText(h.Hour), made.totals.Events, p.From, p.To-1, p.Events))
	}
	for i, tree := range trees {
		if err := files[i].finish(); err != nil {
			return contents{}, 0, err
		}
		if err := l.appear(l.paths.part(tree, h.Hour, p.Name), files[i].digest()); err != nil {
			return contents{}, 0, err
		}
		if err := l.paths.sync(l.paths.hour(tree, h.Hour)); err != nil {
			return contents{}, 0, err
		}
		bytes += files[i].bytes
	}
	return made, bytes, nil
}

// contents is what was written.
type contents struct {
	totals  parquetfile.Totals
	rollups []parquetfile.RollupRow
}

// writeContents writes a span of an hour's events, sorted, with their sums, into a file for each of trees. The same events give the same bytes.
func (l *Ledger) writeContents(s *state, h usage.Hour, of span, dimensions []string, files [len(trees)]*countingFile) (made contents, err error) {
	grouping, err := groupingOf(dimensions)
	if err != nil {
		return contents{}, err
	}
	events, err := s.readSpan(h, of)
	if err != nil {
		return contents{}, err
	}
	defer func() { err = errors.Join(err, events.free()) }()
	w := parquetfile.NewPartWriter(files[0], files[2], files[1], grouping)
	if err := events.each(w.Write); err != nil {
		return contents{}, err
	}
	totals, err := w.Close()
	if err != nil {
		return contents{}, err
	}
	return contents{totals, ownStrings(w.Rollups())}, nil
}

// ownStrings lets the strings of rows be of the heap.
func ownStrings(rows []parquetfile.RollupRow) []parquetfile.RollupRow {
	for i := range rows {
		for _, s := range totalStrings(&rows[i]) {
			*s = strings.Clone(*s)
		}
		for j := range rows[i].Extra {
			rows[i].Extra[j] = strings.Clone(rows[i].Extra[j])
		}
	}
	return rows
}

func hourText(h usage.Hour) string { return "hour " + h.Start().Time().Format("2006-01-02T15Z") }
