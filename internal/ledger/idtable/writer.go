package idtable

import (
	"encoding/binary"
	"errors"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Writer writes a file.
type Writer struct {
	file    vfs.File
	pages   int64 // of the filter
	filter  section
	data    section
	last    [16]byte // the id that was added last
	records int64
	inPage  int // records in the page that is being filled
}

// section is pages that follow each other and are written many at a time.
type section struct {
	at   int64 // number of the first page in buf
	buf  []byte
	page []byte // the one that is being filled: the last in buf
}

const bufferedPages = 64

// NewWriter makes a file for at most so many records.
func NewWriter(fs vfs.FS, path string, records int64) (*Writer, error) {
	file, err := fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	w := &Writer{file: file, pages: filterPages(records)}
	w.filter.buf = make([]byte, 0, bufferedPages*pageBytes)
	w.data.buf = make([]byte, 0, bufferedPages*pageBytes)
	w.data.at = w.pages
	w.filter.begin()
	w.data.begin()
	return w, nil
}

func (s *section) begin() {
	s.buf = s.buf[:len(s.buf)+pageBytes]
	s.page = s.buf[len(s.buf)-pageBytes:]
	clear(s.page)
}

// end ends the page that is being filled.
func (s *section) end(file vfs.File) error {
	number := s.at + int64(len(s.buf)/pageBytes) - 1
	binary.LittleEndian.PutUint32(s.page[pageBody:], pageSum(number, s.page))
	if len(s.buf) < cap(s.buf) {
		return nil
	}
	return s.flush(file)
}

func (s *section) flush(file vfs.File) error {
	if len(s.buf) == 0 {
		return nil
	}
	_, err := file.WriteAt(s.buf, s.at*pageBytes)
	s.at += int64(len(s.buf) / pageBytes)
	s.buf = s.buf[:0]
	return err
}

// number is that of the page that is being filled.
func (s *section) number() int64 { return s.at + int64(len(s.buf)/pageBytes) - 1 }

// Add adds a record, whose id has to be greater than the one before.
func (w *Writer) Add(r *Record) error {
	if w.records > 0 && Compare(&w.last, &r.ID) >= 0 {
		return errors.New("ids are not in their order")
	}
	if r.Seq > MaxSeq {
		return errors.New("an event's number is too large")
	}
	page, at := place(&r.ID, w.pages)
	for w.filter.number() < page {
		if err := w.nextPage(&w.filter); err != nil {
			return err
		}
	}
	setBits(w.filter.page[at:at+blockBytes], &r.ID)
	if w.inPage == perPage {
		if err := w.nextPage(&w.data); err != nil {
			return err
		}
		w.inPage = 0
	}
	putRecord(w.data.page[w.inPage*recordBytes:], r)
	w.inPage++
	w.records++
	w.last = r.ID
	return nil
}

func (w *Writer) nextPage(s *section) error {
	if err := s.end(w.file); err != nil {
		return err
	}
	s.begin()
	return nil
}

// Finish makes the file durable, but not its name, and closes it. It gives the number of records.
func (w *Writer) Finish() (records int64, err error) {
	for w.filter.number() < w.pages-1 {
		if err := w.nextPage(&w.filter); err != nil {
			return 0, errors.Join(err, w.file.Close())
		}
	}
	data := w.data.number() + 1 - w.pages
	err = errors.Join(w.filter.end(w.file), w.nextPage(&w.data))
	end := w.data.page
	copy(end, magic)
	for i, n := range [...]int64{w.pages, data, w.records} {
		binary.LittleEndian.PutUint64(end[len(magic)+8*i:], uint64(n))
	}
	err = errors.Join(err, w.data.end(w.file), w.filter.flush(w.file), w.data.flush(w.file))
	if err == nil {
		err = w.file.Sync()
	}
	return w.records, errors.Join(err, w.file.Close())
}

// Abort closes a file that is not finished.
func (w *Writer) Abort() error { return w.file.Close() }
