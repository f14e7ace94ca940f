package ledgercmd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/usagebox/otelcol-usagebox/internal/ledger"
)

// chain is a writer's chain as its file has it.
type chain struct {
	writer  string
	records []*ledger.ChainRecord
	hashes  []string // of the records' lines
	head    string
	sealed  map[string]*ledger.ChainRecord // by the path of the events file: those that stand
	gone    map[string]*ledger.ChainRecord // by path: parts that were replaced by a sealed one
	left    map[string]*ledger.ChainRecord // by path: files of sealed parts that are older than their retention
	daily   map[string]*ledger.ChainRecord // by path: daily parts that stand, also those that have left
	entered map[string]bool                // sealed parts whose rollups are in a daily part
	broken  error                          // where the chain breaks; the records before it are there
}

// readChain reads a writer's chain; a writer that has sealed nothing has none.
func (c *common) readChain(writer string) (*chain, error) {
	ch := &chain{writer: writer, sealed: map[string]*ledger.ChainRecord{}, gone: map[string]*ledger.ChainRecord{}, left: map[string]*ledger.ChainRecord{}, daily: map[string]*ledger.ChainRecord{}, entered: map[string]bool{}}
	text, err := os.ReadFile(c.path("state/writer=" + writer + "/chain.ndjson"))
	if errors.Is(err, fs.ErrNotExist) {
		return ch, nil
	}
	if err != nil {
		return nil, err
	}
	rest := text
	ch.head, err = ledger.ReadChain(text, func(r *ledger.ChainRecord) error {
		line, after, _ := bytes.Cut(rest, []byte("\n"))
		rest = after
		ch.hashes = append(ch.hashes, ledger.HashChainLine(line))
		ch.records = append(ch.records, r)
		return nil
	})
	var broken *ledger.ChainError
	if errors.As(err, &broken) {
		ch.broken = fmt.Errorf("the chain of writer %s: %w", writer, broken)
	} else if err != nil {
		return nil, err
	}
	for _, r := range ch.records {
		ch.add(r)
	}
	return ch, nil
}

func (ch *chain) add(r *ledger.ChainRecord) {
	f, ok := recordFolder(r)
	if !ok {
		return
	}
	if len(r.Left) > 0 {
		for _, file := range r.Left {
			ch.left[file.Path] = r
		}
		return
	}
	if r.Day != "" {
		ch.addDay(r)
		return
	}
	if r.InDaily {
		ch.entered[r.Part] = true
	}
	for _, name := range r.Replaces {
		if name == r.Part {
			continue
		}
		for _, tree := range trees {
			ch.gone[f.part(tree, name)] = r
		}
		delete(ch.sealed, f.part(trees[0], name))
	}
	ch.sealed[f.part(trees[0], r.Part)] = r
}

// recordFolder is where a record's files are.
func recordFolder(r *ledger.ChainRecord) (folder, bool) {
	hour, err := parseMoment("hour", r.Hour)
	return folder{hour.Hour(), r.Writer}, err == nil
}

// standing are the records of sealed parts that are in a tree, in the chain's order.
func (ch *chain) standing() []*ledger.ChainRecord {
	var records []*ledger.ChainRecord
	for _, r := range ch.records {
		f, ok := recordFolder(r)
		if !ok || ch.sealed[f.part(trees[0], r.Part)] != r {
			continue
		}
		if slices.ContainsFunc(trees[:], func(tree string) bool { return ch.left[f.part(tree, r.Part)] == nil }) {
			records = append(records, r)
		}
	}
	return records
}

// leftEvents is how many events of hours in within have left.
func (ch *chain) leftEvents(within timeRange) (n int64) {
	for _, r := range ch.records {
		if f, ok := recordFolder(r); ok && within.touches(f.hour) && len(r.Left) > 0 && strings.HasPrefix(r.Left[0].Path, trees[0]+"/") {
			n += r.Totals.Events
		}
	}
	return n
}

// isAbout says whether a record is about a part of its writer's hour, or about files of parts that are recorded before it.
func (ch *chain) isAbout(r *ledger.ChainRecord, recorded map[string]bool) bool {
	f, ok := recordFolder(r)
	if !ok || f.writer != ch.writer {
		return false
	}
	if len(r.Left) > 0 {
		return !slices.ContainsFunc(r.Left, func(file ledger.ChainFile) bool { return !recorded[file.Path] })
	}
	for _, file := range r.Files {
		recorded[file.Path] = true
	}
	if r.Day != "" {
		return len(r.Files) == 1 && r.Files[0].Path == dayFolder{r.Day, r.Writer}.part(r.Part)
	}
	return len(r.Files) == len(trees)
}

// leftFiles are the files of a writer that have left. The chain is read again when it has grown.
func (c *common) leftFiles(writer string) (map[string]*ledger.ChainRecord, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	size := int64(-1)
	if info, err := os.Stat(c.path("state/writer=" + writer + "/chain.ndjson")); err == nil {
		size = info.Size()
	}
	known, ok := c.left[writer]
	if ok && known.size == size {
		return known.files, nil
	}
	ch, err := c.readChain(writer)
	if err != nil {
		return nil, err
	}
	if c.left == nil {
		c.left = map[string]leftFiles{}
	}
	c.left[writer] = leftFiles{size, ch.left}
	return ch.left, nil
}

type leftFiles struct {
	size  int64 // of the chain
	files map[string]*ledger.ChainRecord
}

// holds says whether a copy of the chain that someone kept is a beginning of this one.
func (ch *chain) holds(copied []byte) error {
	records := 0
	head, err := ledger.ReadChain(copied, func(*ledger.ChainRecord) error { records++; return nil })
	switch {
	case err != nil:
		return fmt.Errorf("the copy of the chain is broken: %w", err)
	case records == 0:
		return errors.New("the copy of the chain has no record")
	case records > len(ch.hashes):
		return fmt.Errorf("the copy of the chain has %d records, the chain of writer %s has only %d", records, ch.writer, len(ch.hashes))
	case ch.hashes[records-1] != head:
		return fmt.Errorf("the chain of writer %s is not the one that was copied: record %d has another SHA-256", ch.writer, records)
	}
	return nil
}

// readStatus reads what a collector says of a writer's open hours; nil when it has said nothing.
func (c *common) readStatus(writer string) (*ledger.Status, error) {
	rel := "state/writer=" + writer + "/status.json"
	text, err := os.ReadFile(c.path(rel))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	st := &ledger.Status{}
	if err := json.Unmarshal(text, st); err != nil {
		return nil, fmt.Errorf("%s: %w", rel, err)
	}
	return st, nil
}

// requireKnownVersion refuses a directory that a newer program writes. A status that can't be read is for verify to tell of.
func (c *common) requireKnownVersion() error {
	writers, err := c.writers()
	if err != nil {
		return err
	}
	for _, w := range writers {
		if st, err := c.readStatus(w); err == nil && st != nil && st.Version > ledger.StatusVersion {
			return fmt.Errorf("the state of writer %s has version %d, this program reads %d: use the newer program that wrote it", w, st.Version, ledger.StatusVersion)
		}
	}
	return nil
}

// agreesWith says whether the chain has the record that a status names as its end.
func (ch *chain) agreesWith(st *ledger.Status) error {
	n := st.Chain.Records
	switch {
	case n == 0:
		return nil
	case n > uint64(len(ch.hashes)):
		return fmt.Errorf("the chain of writer %s has %d records, %d were written", ch.writer, len(ch.hashes), n)
	case ch.hashes[n-1] != st.Chain.Head:
		return fmt.Errorf("record %d of the chain of writer %s has another SHA-256 than the one that was written", n, ch.writer)
	}
	return nil
}

func sortedNames(m map[string]bool) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
