package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// ChainRecord says what a sealed part is, or which files of sealed parts have left. Records are lines of JSON in state/writer=W/chain.ndjson and in the store. Each names
// the SHA-256 of the line before it, without its line feed, so that none can be changed, left out or moved unseen.
type ChainRecord struct {
	Version  int                `json:"v"` // 1
	Number   uint64             `json:"n"` // from 1
	Writer   string             `json:"writer"`
	Hour     string             `json:"hour"`          // RFC 3339, UTC; of a daily part the first of its day
	Day      string             `json:"day,omitempty"` // of a daily part or files of such: YYYY-MM-DD
	Part     string             `json:"part"`          // file name without its extension; empty in a record of files that left
	SealedAt usage.Micros       `json:"sealed_at_us"`
	Files    []ChainFile        `json:"files"`              // events, runs, rollups; of a daily part its one file
	Totals   parquetfile.Totals `json:"totals"`             // of the events file; of a daily part those of all that it sums
	Left     []ChainFile        `json:"left,omitempty"`     // files of one table that are older than their retention; Totals are those of their parts
	Replaces []string           `json:"replaces"`           // the parts whose events it holds; itself where the file system can't exchange folders
	Covers   []string           `json:"covers,omitempty"`   // of a daily part: the sealed parts whose rollups it sums beside the daily parts that it replaces
	InDaily  bool               `json:"in_daily,omitempty"` // of a part merged of late parts: these were in daily parts
	Previous string             `json:"prev"`               // SHA-256 of the line before, in hex; empty in the first
}

// ChainFile is one file of a sealed part.
type ChainFile struct {
	Path   string `json:"path"` // below the ledger's directory, with slashes
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"` // hex
}

// ChainVersion is the version of the chain's form.
const ChainVersion = 1

func (r *ChainRecord) line() ([]byte, error) { return json.Marshal(r) }

// HashChainLine is the SHA-256 of a line of the chain, without its line feed, in hex.
func HashChainLine(line []byte) string {
	sum := sha256.Sum256(line)
	return hex.EncodeToString(sum[:])
}

// ChainError says which record of a chain is not what it has to be.
type ChainError struct {
	Record uint64 // its place, from 1
	Detail string
}

func (e *ChainError) Error() string {
	return fmt.Sprintf("record %d of the chain %s", e.Record, e.Detail)
}

// ReadChain calls each for the records in text, the content of a chain file, and checks that each follows the one before it. A last
// line without its line feed is being written and is left out. The error is a *ChainError, or that of each.
func ReadChain(text []byte, each func(r *ChainRecord) error) (head string, err error) {
	for n := uint64(1); ; n++ {
		end := bytes.IndexByte(text, '\n')
		if end < 0 {
			return head, nil
		}
		line := text[:end]
		text = text[end+1:]
		var r ChainRecord
		if err := json.Unmarshal(line, &r); err != nil {
			return head, &ChainError{n, "can't be read: " + err.Error()}
		}
		switch {
		case r.Version != ChainVersion:
			return head, &ChainError{n, fmt.Sprintf("has version %d, this program reads %d", r.Version, ChainVersion)}
		case r.Number != n:
			return head, &ChainError{n, fmt.Sprintf("has the number %d", r.Number)}
		case r.Previous != head:
			return head, &ChainError{n, fmt.Sprintf("names %q as the record before it, whose SHA-256 is %q", r.Previous, head)}
		}
		if err := each(&r); err != nil {
			return head, err
		}
		head = HashChainLine(line)
	}
}

// chainHead is the end of the chain as the store has it.
type chainHead struct {
	Records uint64 `json:"records"`
	Hash    string `json:"hash"`
	Size    int64  `json:"size"`    // of the file, when all records are in it
	Written uint64 `json:"written"` // records that are surely in the file
}

const metaChain = "chain"

func (s *state) loadChain() error {
	_, err := s.store.getJSON(metaKey(metaChain), &s.chain)
	return err
}

// appendChain puts records at the end of the chain; head is its new end.
func (s *state) appendChain(b *pebble.Batch, records []*ChainRecord) (head chainHead, err error) {
	head = s.chain
	for _, r := range records {
		r.Version, r.Number, r.Previous = ChainVersion, head.Records+1, head.Hash
		line, err := r.line()
		if err != nil {
			return head, err
		}
		if err := b.Set(numberKey(keyChain, r.Number), line, nil); err != nil {
			return head, err
		}
		head.Records = r.Number
		head.Hash = HashChainLine(line)
		head.Size += int64(len(line)) + 1
	}
	return head, setJSON(b, metaKey(metaChain), head)
}

// writeChain brings the chain's file up to the store's records. What a crash may have torn is written again: all records that were not surely in
// the file when the last one came. A file that is missing is made anew. Other records are not changed: ledger verify says when they are not those of
// the store.
func (l *Ledger) writeChain(s *state) error {
	if s.chain.Written == s.chain.Records {
		return nil
	}
	path := l.paths.chain()
	size := int64(0)
	info, err := l.o.FS.Stat(path)
	switch {
	case err == nil:
		size = info.Size()
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("write the chain %s: %w", path, err)
	}
	offset, tail, err := s.chainTail(size)
	if err != nil {
		return err
	}
	if err := l.writeTail(path, offset, tail); err != nil {
		return fmt.Errorf("write the chain %s, which is tried again: %w", path, err)
	}
	l.mu.Lock()
	s.chain.Written = s.chain.Records
	l.mu.Unlock()
	return nil
}

// checkChainFile says when the chain's file has not the records that are surely in it. It changes nothing: the file as it is, and copies of it, tell what happened.
func (l *Ledger) checkChainFile(s *state) error {
	if s.chain.Written == 0 {
		return nil
	}
	path := l.paths.chain()
	last, found, err := s.store.get(numberKey(keyChain, s.chain.Written))
	if err != nil {
		return err
	}
	if !found {
		return corrupt("the store", fmt.Errorf("record %d of the chain is not there", s.chain.Written))
	}
	text, err := l.readAll(path)
	if err != nil {
		return fmt.Errorf("read the chain %s: %w", path, err)
	}
	records := uint64(0)
	head, err := ReadChain(text, func(*ChainRecord) error {
		if records == s.chain.Written {
			return errEnough
		}
		records++
		return nil
	})
	switch {
	case errors.Is(err, errEnough) || records == s.chain.Written:
		err = nil // what comes after may be torn
	case err == nil:
		err = fmt.Errorf("it has %d records, %d were written", records, s.chain.Written)
	}
	if want := HashChainLine(last); err == nil && head != want {
		err = fmt.Errorf("its record %d has the SHA-256 %s, the store's %s", records, head, want)
	}
	if err != nil {
		return corrupt("the chain "+path, err)
	}
	return nil
}

// chainTail is the records that a file of a size lacks, or has only in part, and where they belong.
func (s *state) chainTail(size int64) (offset int64, tail []byte, err error) {
	offset = s.chain.Size
	first := s.chain.Records + 1
	var lines [][]byte
	for first > 1 && (offset > size || first > s.chain.Written+1) {
		first--
		line, found, err := s.store.get(numberKey(keyChain, first))
		if err != nil {
			return 0, nil, err
		}
		if !found {
			return 0, nil, corrupt("the store", fmt.Errorf("record %d of the chain is not there", first))
		}
		offset -= int64(len(line)) + 1
		lines = append(lines, append(line, '\n'))
	}
	for i := len(lines) - 1; i >= 0; i-- {
		tail = append(tail, lines[i]...)
	}
	return offset, tail, nil
}

func (l *Ledger) writeTail(path string, offset int64, tail []byte) error {
	file, err := l.o.FS.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if len(tail) > 0 {
		_, err = file.WriteAt(tail, offset)
	}
	if err == nil {
		err = file.Sync()
	}
	if err = closeAfter(file, err); err != nil {
		return err
	}
	return l.paths.sync(l.paths.state())
}
