package idtable

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Writer writes a file.
type Writer struct {
	file    vfs.File
	version *version
	pages   int64 // of a layer
	layers  []section
	data    section
	every   int64    // data pages from a mark to the next
	marks   []uint64 // of the data pages that have begun
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

const (
	bufferedPages = 64
	markEvery     = 16      // data pages, or twice that, or four times…
	mostMarks     = 1 << 16 // so that there are no more than these
)

// NewWriter makes a file for at most so many records.
func NewWriter(fs vfs.FS, path string, records int64) (*Writer, error) {
	file, err := fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	v := &current
	w := &Writer{file: file, version: v, pages: v.layerPages(records), layers: make([]section, v.layers), every: markEvery}
	for (records+perPage-1)/perPage > w.every*mostMarks {
		w.every *= 2
	}
	for i := range w.layers {
		w.layers[i] = newSection(int64(i)*w.pages, w.pages)
	}
	w.data = newSection(int64(v.layers)*w.pages, records/perPage+1)
	return w, nil
}

// newSection begins with page number first, and will have about so many.
func newSection(first, pages int64) section {
	s := section{at: first, buf: make([]byte, 0, max(1, min(bufferedPages, pages))*pageBytes)}
	s.begin()
	return s
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
	for i := range w.layers {
		if err := w.layerTo(i, page); err != nil {
			return err
		}
		w.version.setBits(w.layers[i].page[at:at+blockBytes], w.version.probesOf(&r.ID, i))
	}
	if w.inPage == perPage {
		if err := w.nextPage(&w.data); err != nil {
			return err
		}
		w.inPage = 0
	}
	if w.inPage == 0 && w.records%(perPage*w.every) == 0 {
		w.marks = append(w.marks, binary.BigEndian.Uint64(r.ID[:]))
	}
	putRecord(w.data.page[w.inPage*recordBytes:], r)
	w.inPage++
	w.records++
	w.last = r.ID
	return nil
}

// layerTo ends the pages of a layer before one of its own.
func (w *Writer) layerTo(n int, page int64) error {
	s := &w.layers[n]
	for s.number() < int64(n)*w.pages+page {
		if err := w.nextPage(s); err != nil {
			return err
		}
	}
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
	err = w.finish()
	if err == nil {
		err = w.file.Sync()
	}
	return w.records, errors.Join(err, w.file.Close())
}

func (w *Writer) finish() error {
	for i := range w.layers {
		if err := w.layerTo(i, w.pages-1); err != nil {
			return err
		}
		if err := errors.Join(w.layers[i].end(w.file), w.layers[i].flush(w.file)); err != nil {
			return err
		}
	}
	data := w.data.number() + 1 - int64(len(w.layers))*w.pages
	for marks := range slices.Chunk(w.marks, marksPerPage) {
		if err := w.nextPage(&w.data); err != nil {
			return err
		}
		for i, mark := range marks {
			binary.LittleEndian.PutUint64(w.data.page[8*i:], mark)
		}
	}
	if err := w.nextPage(&w.data); err != nil {
		return err
	}
	end := w.data.page
	copy(end, w.version.magic)
	for i, n := range [...]int64{w.pages, data, w.records, w.every} {
		binary.LittleEndian.PutUint64(end[len(w.version.magic)+8*i:], uint64(n))
	}
	return errors.Join(w.data.end(w.file), w.data.flush(w.file))
}

// Abort closes a file that is not finished.
func (w *Writer) Abort() error { return w.file.Close() }
