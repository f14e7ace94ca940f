package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// exchangeHour builds the hour's folders anew, with the sealed part in the place of those that it covers, and exchanges them for
// those that are there. What was there is in the stage then.
func (l *Ledger) exchangeHour(s *state, h *hour) (*ChainRecord, error) {
	seal := h.seal
	var files [len(trees)]*countingFile
	var live [len(trees)]bool // an earlier attempt has exchanged this one
	for i, tree := range trees {
		var err error
		if live[i], err = l.paths.exists(l.paths.part(tree, h.Hour, seal.Name)); err != nil {
			return nil, err
		}
		if live[i] {
			files[i] = l.countingFile(nil)
			continue
		}
		stage := l.paths.staged(tree)
		if err := l.o.FS.RemoveAll(stage); err != nil {
			return nil, err
		}
		if err := l.o.FS.MkdirAll(stage, 0o755); err != nil {
			return nil, err
		}
		file, err := l.o.FS.Create(l.paths.join(stage, seal.Name+extension), vfs.WriteCategoryUnspecified)
		if err != nil {
			return nil, err
		}
		defer file.Close() // again, when all went well: that changes nothing
		files[i] = l.countingFile(file)
	}
	made, err := l.writeContents(s, h.Hour, seal.From, seal.To, seal.Dimensions, files)
	if err != nil {
		return nil, err
	}
	if made.totals.Events != seal.Events {
		return nil, corrupt("the store", fmt.Errorf("%s has %d events from %d to %d, %d were counted", hourText(h.Hour), made.totals.Events, seal.From, seal.To-1, seal.Events))
	}
	record := l.chainRecord(h.Hour, seal)
	record.Totals = made.totals
	for i, tree := range trees {
		f := files[i]
		if live[i] {
			_, found, err := l.digestFile(l.paths.part(tree, h.Hour, seal.Name))
			if err != nil {
				return nil, err
			}
			if found != f.digest() {
				return nil, corrupt(l.paths.part(tree, h.Hour, seal.Name), fmt.Errorf("it has the SHA-256 %s, its events give %s", found, f.digest()))
			}
		} else {
			if err := f.finish(); err != nil {
				return nil, err
			}
			if err := l.exchangeTree(h, tree); err != nil {
				return nil, err
			}
		}
		// Also when an earlier attempt exchanged it: that may have ended before it was durable.
		if err := l.syncExchange(h, tree); err != nil {
			return nil, err
		}
		record.Files = append(record.Files, ChainFile{Path: l.recordPath(tree, h.Hour, seal.Name), Bytes: f.bytes, SHA256: f.digest()})
	}
	return record, nil
}

// exchangeTree links into the stage what stays of the hour's folder, and exchanges the two.
func (l *Ledger) exchangeTree(h *hour, tree string) error {
	live, stage := l.paths.hour(tree, h.Hour), l.paths.staged(tree)
	names, err := l.paths.list(live, extension)
	if err != nil {
		return err
	}
	covered := 0
	for _, name := range names {
		if slices.Contains(h.seal.Covers, name[:len(name)-len(extension)]) {
			covered++
			continue
		}
		if err := l.o.FS.Link(l.paths.join(live, name), l.paths.join(stage, name)); err != nil {
			return err
		}
	}
	if covered != len(h.seal.Covers) {
		return corrupt(live, fmt.Errorf("it has %d of the %d parts that are to be sealed", covered, len(h.seal.Covers)))
	}
	if err := l.paths.sync(stage); err != nil {
		return err
	}
	if l.o.sabotage == sealBeforeExchange {
		return nil
	}
	return l.o.FS.Exchange(stage, live)
}

func (l *Ledger) syncExchange(h *hour, tree string) error {
	if err := l.paths.sync(l.paths.fs.PathDir(l.paths.hour(tree, h.Hour))); err != nil {
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
		made, err := l.writeContents(s, h.Hour, p.From, p.To, p.Dimensions, files)
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
	return fmt.Sprintf("%s/date=%s/hour=%02d/writer=%s/%s%s", tree, t.Format("2006-01-02"), t.Hour(), l.o.WriterID, name, extension)
}
