package feed

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ReadDelivered calls each for every record that was delivered to a receiver, file after file, in the order of their delivery. It reads feed/RECEIVER/ in a ledger's directory, beside
// a collector that writes there. writer "" is all writers.
func ReadDelivered(directory, receiver, writer string, each func(*Record) error) error {
	dir := filepath.Join(directory, "feed", filepath.FromSlash(receiver))
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() || filepath.Ext(e.Name()) != lineExtension || writer != "" && !strings.HasPrefix(e.Name(), writer+"-") {
			continue
		}
		if err := readLines(filepath.Join(dir, e.Name()), writer, each); err != nil {
			return err
		}
	}
	return nil
}

func readLines(path, writer string, each func(*Record) error) (err error) {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	lines := bufio.NewReaderSize(file, 1<<16)
	for n := 1; ; n++ {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil // what is behind the last line end is still being written
		}
		if err != nil {
			return err
		}
		var r Record
		if err := json.Unmarshal(line, &r); err != nil {
			return fmt.Errorf("%s: line %d: %w", path, n, err)
		}
		if writer != "" && r.Writer != writer {
			continue
		}
		if err := each(&r); err != nil {
			return err
		}
	}
}

// deliveredRecords are those of the ids that were delivered.
func (s *sender) deliveredRecords(ids map[string]string) (found []Record, err error) {
	o := &s.receiver.feed.o
	seen := map[string]bool{}
	err = ReadDelivered(o.Directory, s.receiver.name, o.Writer, func(r *Record) error {
		if _, wanted := ids[r.ID]; wanted && !seen[r.ID] {
			seen[r.ID] = true
			found = append(found, *r)
		}
		return nil
	})
	return found, err
}
