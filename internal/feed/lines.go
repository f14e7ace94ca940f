package feed

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/usagebox/otelcol-usagebox/internal/ledger"
)

const (
	linesAtOnce   = 5000
	lineExtension = ".ndjson"
)

// lineLog is the folder of the lines of the records that were delivered: a file for each day of delivery, of each writer. A line is in the store before it is in its file; how much
// of the file is surely written is in the store after that: what is behind it at the start is cut off and written again.
type lineLog struct {
	dir     string
	writer  string
	checked bool             // the files end where the store says
	sizes   map[string]int64 // surely written
	unsent  uint64           // lines of records that needed no call are in their files below this number
	sent    uint64           // lines of those that were sent, likewise
}

// fileName is the file of the lines of a moment's day, formatTime's text.
func (l *lineLog) fileName(sentAt string) string {
	return l.writer + "-" + sentAt[:len(time.DateOnly)] + lineExtension
}

// writeDueLines writes the lines that wait, not too often.
func (s *sender) writeDueLines() error {
	now := s.receiver.feed.o.Clock()
	if s.under > 0 && now.Sub(s.wroteAt) < linesWait || !s.receiver.lines.Swap(false) {
		return nil
	}
	s.wroteAt = now
	err := s.writeLines()
	if err != nil {
		s.receiver.lines.Store(true)
	}
	return err
}

// writeLines writes the lines that wait, and forgets them when they are on disk.
func (s *sender) writeLines() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	for {
		var numbers []uint64
		texts := map[string]*bytes.Buffer{}
		more := false
		if err := s.receiver.feed.o.Books.View(func(v ledger.View) error {
			if err := s.log.check(v, s.number); err != nil {
				return err
			}
			return s.log.eachWaiting(v, s.number, func(key, value []byte) error {
				if len(numbers) == linesAtOnce {
					more = true
					return ledger.ErrStop
				}
				day := lineDay(value)
				if day == "" {
					r, err := parseRecord(key, value)
					if err != nil {
						return err
					}
					day = r.SentAt
				}
				name := s.log.fileName(day)
				if texts[name] == nil {
					texts[name] = new(bytes.Buffer)
				}
				texts[name].Write(value)
				texts[name].WriteByte('\n')
				numbers = append(numbers, binary.BigEndian.Uint64(key[3:]))
				return nil
			})
		}); err != nil || len(numbers) == 0 {
			return err
		}
		if s.receiver.feed.o.sabotage == linesForgotten {
			if err := s.forget(numbers, nil); err != nil {
				return err
			}
		}
		sizes := map[string]int64{}
		for name, text := range texts {
			size, err := s.log.append(name, text.Bytes())
			if err != nil {
				return err
			}
			sizes[name] = size
		}
		if err := s.forget(numbers, sizes); err != nil {
			s.log.checked = false
			return err
		}
		for name, size := range sizes {
			s.log.sizes[name] = size
		}
		s.log.wrote(numbers)
		if !more {
			return nil
		}
	}
}

// eachWaiting calls each for the lines that wait, beginning behind those that were written: what was forgotten would all be passed over again.
func (l *lineLog) eachWaiting(v ledger.View, number uint16, each func(key, value []byte) error) error {
	stopped := false
	stoppable := func(key, value []byte) error {
		err := each(key, value)
		stopped = errors.Is(err, ledger.ErrStop)
		return err
	}
	err := v.Scan(numberKey(keyLine, number, l.unsent), numberKey(keyLine, number, firstSentLine), stoppable)
	if err != nil || stopped {
		return err
	}
	return v.Scan(numberKey(keyLine, number, max(firstSentLine, l.sent)), after(receiverKey(keyLine, number)), stoppable)
}

// wrote notes which lines, in order, are in their files.
func (l *lineLog) wrote(numbers []uint64) {
	for _, n := range numbers {
		if n < firstSentLine {
			l.unsent = n + 1
		} else {
			l.sent = n + 1
		}
	}
}

// forget takes lines that are written out of the store, which then knows how long their files are.
func (s *sender) forget(numbers []uint64, sizes map[string]int64) error {
	return s.receiver.feed.o.Books.Update(func(_ ledger.View, b ledger.Batch) error {
		for _, n := range numbers {
			b.Delete(numberKey(keyLine, s.number, n))
		}
		for name, size := range sizes {
			b.Set(fileKey(s.number, name), binary.BigEndian.AppendUint64(nil, uint64(size)))
		}
		return nil
	})
}

// check makes the files end where the store says.
func (l *lineLog) check(v ledger.View, number uint16) error {
	if l.checked {
		return nil
	}
	l.unsent, l.sent = 0, 0
	prefix := receiverKey(keyFile, number)
	sizes := map[string]int64{}
	if err := scanPrefix(v, prefix, func(key, value []byte) error {
		if len(value) != 8 {
			return fmt.Errorf("the feed's record %q can't be read", key)
		}
		sizes[string(key[len(prefix):])] = int64(binary.BigEndian.Uint64(value))
		return nil
	}); err != nil {
		return err
	}
	entries, err := os.ReadDir(l.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if name := e.Name(); filepath.Ext(name) == lineExtension && len(name) == len(l.fileName(time.DateOnly)) && name[:len(l.writer)] == l.writer {
			if err := l.cut(name, sizes[name]); err != nil {
				return err
			}
		}
	}
	l.sizes, l.checked = sizes, true
	return nil
}

// cut takes off what is behind the end. A file that is shorter was changed by someone: it stays as it is.
func (l *lineLog) cut(name string, end int64) error {
	path := filepath.Join(l.dir, name)
	info, err := os.Stat(path)
	if err != nil || info.Size() <= end {
		return err
	}
	return os.Truncate(path, end)
}

// append writes lines to a file, whole, and answers with its size when they are on disk.
func (l *lineLog) append(name string, lines []byte) (size int64, err error) {
	path := filepath.Join(l.dir, name)
	if err := makeFolder(l.dir); err != nil {
		return 0, err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return 0, fmt.Errorf("the lines of what was delivered are kept and written later: %w", err)
	}
	defer func() {
		if err != nil {
			l.checked = false
			err = errors.Join(fmt.Errorf("the lines of what was delivered are kept and written later: %w", err), file.Close())
		}
	}()
	if _, err := file.Write(lines); err != nil {
		return 0, err
	}
	if err := file.Sync(); err != nil {
		return 0, err
	}
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	if info.Size() == int64(len(lines)) { // it is new
		if err := syncFolder(l.dir); err != nil {
			return 0, err
		}
	}
	return info.Size(), file.Close()
}

// makeFolder makes a folder and those above it, surely.
func makeFolder(dir string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := makeFolder(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncFolder(parent)
}

func syncFolder(dir string) error {
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
