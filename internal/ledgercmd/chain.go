package ledgercmd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

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
	broken  error                          // where the chain breaks; the records before it are there
}

// readChain reads a writer's chain; a writer that has sealed nothing has none.
func (c *common) readChain(writer string) (*chain, error) {
	ch := &chain{writer: writer, sealed: map[string]*ledger.ChainRecord{}, gone: map[string]*ledger.ChainRecord{}}
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

// standing are the records of sealed parts that are in the tree, in the chain's order.
func (ch *chain) standing() []*ledger.ChainRecord {
	var records []*ledger.ChainRecord
	for _, r := range ch.records {
		if f, ok := recordFolder(r); ok && ch.sealed[f.part(trees[0], r.Part)] == r {
			records = append(records, r)
		}
	}
	return records
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
