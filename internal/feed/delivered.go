package feed

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// Lines are the lines of what was delivered to a receiver, in feed/RECEIVER/ of a ledger's directory.
type Lines struct {
	Directory string // of the ledger
	Receiver  string
	Writer    string    // "" is all writers
	Since     time.Time // days of delivery before its day are passed over

	wanted func(line []byte) bool // others are passed over before it is read what is in them; nil: all are wanted
}

// Each is called for every record, file after file, in the order of their delivery. A collector may write there meanwhile.
func (l Lines) Each(each func(*Record) error) error {
	files, err := l.files()
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := readLines(file, l.Writer, l.wanted, each); err != nil {
			return err
		}
	}
	return nil
}

// files are those that are meant, by writer and day.
func (l Lines) files() (paths []string, err error) {
	dir := filepath.Join(l.Directory, "feed", filepath.FromSlash(l.Receiver))
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	since := l.Since.UTC().Format(time.DateOnly)
	for _, e := range entries {
		name, isLines := strings.CutSuffix(e.Name(), lineExtension)
		if e.IsDir() || !isLines || len(name) < len(since) || l.Writer != "" && !strings.HasPrefix(name, l.Writer+"-") {
			continue
		}
		if l.Since.IsZero() || name[len(name)-len(since):] >= since {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return paths, err
}

// readLines passes over lines that are not wanted before it reads what is in them; nil wants all.
func readLines(path, writer string, wanted func(line []byte) bool, each func(*Record) error) (err error) {
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
		if wanted != nil && !wanted(line) {
			continue
		}
		r, err := parseRecord(nil, bytes.TrimSuffix(line, []byte{'\n'}))
		if err != nil {
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

// linesOf are those of one of this feed's receivers that may be of hours from h on: nothing of an hour is sent before it begins. A day more is for clocks that were set.
func (r *receiver) linesOf(h usage.Hour) Lines {
	return Lines{Directory: r.feed.o.Directory, Receiver: r.name, Writer: r.feed.o.Writer, Since: h.Start().Time().Add(-24 * time.Hour)}
}

// deliveredRecords are those of the ids that have their lines in files. It begins with the last file and ends when it has them all.
func (s *sender) deliveredRecords(ids map[string]string) (found map[string]Record, err error) {
	lines := s.receiver.linesOf(0)
	files, err := lines.files()
	if err != nil {
		return nil, err
	}
	found = map[string]Record{}
	wanted := func(line []byte) bool {
		id, plain := lineID(line)
		_, wanted := ids[id]
		return wanted || !plain
	}
	for _, file := range slices.Backward(files) {
		if err := readLines(file, lines.Writer, wanted, func(r *Record) error {
			if _, wanted := ids[r.ID]; wanted {
				found[r.ID] = *r
			}
			return nil
		}); err != nil || len(found) == len(ids) {
			return found, err
		}
	}
	return found, nil
}
