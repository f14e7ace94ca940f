package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// replacement is one part of an hour that takes the place of others.
type replacement struct {
	hour   usage.Hour
	name   string
	covers []string
	events int64 // that it has

	order [len(trees)]int // of the trees in which it takes their place
	write func(files [len(trees)]*countingFile) (parquetfile.Totals, error)
}

// eventsFirst is the order of a part that is made of what is in the store; eventsLast that of one made of the events files that it replaces.
var (
	eventsFirst = [len(trees)]int{0, 1, 2}
	eventsLast  = [len(trees)]int{2, 1, 0}
)

// exchangeHour puts the part that is planned in the place of those that it covers.
func (l *Ledger) exchangeHour(s *state, h *hour) (*ChainRecord, error) {
	seal := h.seal
	record := l.chainRecord(h.Hour, seal)
	return record, l.exchange(record, &replacement{
		hour: h.Hour, name: seal.Name, covers: seal.Covers, events: seal.Events, order: eventsFirst,
		write: func(files [len(trees)]*countingFile) (parquetfile.Totals, error) {
			made, err := l.writeContents(s, h.Hour, span{seal.From, seal.To, seal.Events, seal.Bytes}, seal.Dimensions, files)
			return made.totals, err
		},
	})
}

// exchange builds the hour's folders anew, with the new part in the place of those that it covers, exchanges them for those that are there, and fills
// in the record. What was there is in the stage then.
func (l *Ledger) exchange(record *ChainRecord, x *replacement) error {
	var files [len(trees)]*countingFile
	var live [len(trees)]bool // an earlier attempt has exchanged this one
	for i, tree := range trees {
		var err error
		if live[i], err = l.paths.exists(l.paths.part(tree, x.hour, x.name)); err != nil {
			return err
		}
		if live[i] {
			files[i] = l.countingFile(nil)
			continue
		}
		stage := l.paths.staged(tree)
		if err := l.o.FS.RemoveAll(stage); err != nil {
			return err
		}
		if err := l.o.FS.MkdirAll(stage, 0o755); err != nil {
			return err
		}
		file, err := l.o.FS.Create(l.paths.join(stage, x.name+extension), vfs.WriteCategoryUnspecified)
		if err != nil {
			return err
		}
		defer file.Close() // again, when all went well: that changes nothing
		files[i] = l.countingFile(file)
	}
	totals, err := x.write(files)
	if err != nil {
		return err
	}
	if totals.Events != x.events {
		return corrupt("what "+x.name+" is made of", fmt.Errorf("%s has %d events in it, %d were counted", hourText(x.hour), totals.Events, x.events))
	}
	record.Totals = totals
	record.Files = make([]ChainFile, len(trees))
	for _, i := range x.order {
		tree, f := trees[i], files[i]
		if live[i] {
			_, found, err := l.digestFile(l.paths.part(tree, x.hour, x.name))
			if err != nil {
				return err
			}
			if found != f.digest() {
				return corrupt(l.paths.part(tree, x.hour, x.name), fmt.Errorf("it has the SHA-256 %s, its events give %s", found, f.digest()))
			}
		} else {
			if err := f.finish(); err != nil {
				return err
			}
			if err := l.exchangeTree(x, tree); err != nil {
				return err
			}
		}
		// Also when an earlier attempt exchanged it: that may have ended before it was durable.
		if err := l.syncExchange(x.hour, tree); err != nil {
			return err
		}
		record.Files[i] = ChainFile{Path: l.recordPath(tree, x.hour, x.name), Bytes: f.bytes, SHA256: f.digest()}
	}
	return nil
}

// exchangeTree links into the stage what stays of the hour's folder, and exchanges the two.
func (l *Ledger) exchangeTree(x *replacement, tree string) error {
	live, stage := l.paths.hour(tree, x.hour), l.paths.staged(tree)
	names, err := l.paths.list(live, extension)
	if err != nil {
		return err
	}
	covered := 0
	for _, name := range names {
		if slices.Contains(x.covers, name[:len(name)-len(extension)]) {
			covered++
			continue
		}
		if err := l.o.FS.Link(l.paths.join(live, name), l.paths.join(stage, name)); err != nil {
			return err
		}
	}
	if covered != len(x.covers) {
		return corrupt(live, fmt.Errorf("it has %d of the %d parts that are to be replaced", covered, len(x.covers)))
	}
	if err := l.paths.sync(stage); err != nil {
		return err
	}
	if l.o.sabotage == sealBeforeExchange && x.order == eventsFirst || l.o.sabotage == mergeBeforeExchange && x.order == eventsLast {
		return nil
	}
	return l.o.FS.Exchange(stage, live)
}

func (l *Ledger) syncExchange(h usage.Hour, tree string) error {
	if err := l.paths.sync(l.paths.fs.PathDir(l.paths.hour(tree, h))); err != nil {
		return err
	}
	err := l.paths.sync(l.paths.stage())
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a power cut took the stage after the exchange was durable: what is live is what counts
	}
	return err
}

// sealInPlace records the parts as they are.
func (l *Ledger) sealInPlace(s *state, h *hour) (records []*ChainRecord, seals []*sealed, err error) {
	for i := range h.parts {
		p := &h.parts[i]
		if p.From >= h.seal.To {
			break
		}
		seal := &sealed{Name: p.Name, From: p.From, To: p.To, At: h.seal.At, Last: h.seal.Last, Events: p.Events, Bytes: p.Bytes, Covers: []string{p.Name}}
		files := [len(trees)]*countingFile{l.countingFile(nil), l.countingFile(nil), l.countingFile(nil)}
		made, err := l.writeContents(s, h.Hour, span{p.From, p.To, p.Events, p.Bytes}, p.Dimensions, files)
		if err != nil {
			return nil, nil, err
		}
		record := l.chainRecord(h.Hour, seal)
		record.Totals = made.totals
		for i, tree := range trees {
			path := l.paths.part(tree, h.Hour, p.Name)
			size, found, err := l.digestFile(path)
			if err != nil {
				return nil, nil, err
			}
			if found != files[i].digest() {
				return nil, nil, corrupt(path, fmt.Errorf("it has the SHA-256 %s, its events give %s", found, files[i].digest()))
			}
			record.Files = append(record.Files, ChainFile{Path: l.recordPath(tree, h.Hour, p.Name), Bytes: size, SHA256: found})
		}
		records, seals = append(records, record), append(seals, seal)
	}
	return records, seals, nil
}

func (l *Ledger) chainRecord(h usage.Hour, seal *sealed) *ChainRecord {
	return &ChainRecord{
		Writer: l.o.WriterID, Hour: h.Start().Time().Format(time.RFC3339), Part: seal.Name, SealedAt: seal.At, Replaces: seal.Covers,
	}
}

// recordPath is a file's path below the ledger's directory.
func (l *Ledger) recordPath(tree string, h usage.Hour, name string) string {
	t := h.Start().Time()
	if tree == treeDaily {
		return fmt.Sprintf("%s/date=%s/writer=%s/%s%s", tree, t.Format("2006-01-02"), l.o.WriterID, name, extension)
	}
	return fmt.Sprintf("%s/date=%s/hour=%02d/writer=%s/%s%s", tree, t.Format("2006-01-02"), t.Hour(), l.o.WriterID, name, extension)
}
