package idtable

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Table reads a file. MayHave and Get may be called from any number of goroutines.
type Table struct {
	file          vfs.File
	version       *version
	layerPages    int64
	data          int64 // pages
	records, size int64
	every         int64    // data pages from a mark to the next
	marks         []uint64 // none in a file of the version before
	layers        []layer
}

// Page is room for a page that is read.
type Page [pageBytes]byte

// Open opens a file.
func Open(fs vfs.FS, path string) (*Table, error) {
	file, err := fs.Open(path, vfs.RandomReadsOption)
	if err != nil {
		return nil, err
	}
	t := &Table{file: file}
	if err := t.readEnd(); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return t, nil
}

func (t *Table) readEnd() error {
	info, err := t.file.Stat()
	if err != nil {
		return err
	}
	t.size = info.Size()
	last := t.size/pageBytes - 1
	if t.size%pageBytes != 0 || last < 1 {
		return &DamageError{last, fmt.Sprintf("the file has %d bytes, which is no number of pages", t.size)}
	}
	var p Page
	if err := t.read(last, &p); err != nil {
		return err
	}
	at := slices.IndexFunc(versions[:], func(v version) bool { return bytes.HasPrefix(p[:], []byte(v.magic)) })
	if at < 0 {
		return &DamageError{last, "it is not the end of a table of ids"}
	}
	t.version = &versions[at]
	var counts [4]int64
	for i := range counts {
		counts[i] = int64(binary.LittleEndian.Uint64(p[len(t.version.magic)+8*i:]))
	}
	t.layerPages, t.data, t.records, t.every = counts[0], counts[1], counts[2], counts[3]
	filter, marks := int64(t.version.layers)*t.layerPages, int64(0)
	if t.version.marks && t.every > 0 {
		marks = markPages(t.data, t.every)
	}
	if t.layerPages < 1 || t.layerPages > last || t.data < 1 || t.data > last || t.version.marks && (t.every < 1 || t.every > last+markEvery*mostMarks) ||
		filter+t.data+marks != last || t.records <= (t.data-1)*perPage || t.records > t.data*perPage {
		return &DamageError{last, fmt.Sprintf("it says that %d records are in %d pages, behind %d of a filter", t.records, t.data, filter)}
	}
	t.layers = make([]layer, t.version.layers)
	for i := range t.layers {
		t.layers[i] = newLayer(t.layerPages)
	}
	return t.readMarks(filter+t.data, marks)
}

// markPages is how many have a mark of every so many of the data pages.
func markPages(data, every int64) int64 {
	marks := (data + every - 1) / every
	return (marks + marksPerPage - 1) / marksPerPage
}

func (t *Table) readMarks(first, pages int64) error {
	if pages == 0 {
		return nil
	}
	left := int((t.data + t.every - 1) / t.every)
	t.marks = make([]uint64, 0, left)
	var p Page
	for i := range pages {
		if err := t.read(first+i, &p); err != nil {
			return err
		}
		for n := range min(left, marksPerPage) {
			t.marks = append(t.marks, binary.LittleEndian.Uint64(p[8*n:]))
		}
		left -= marksPerPage
	}
	if !slices.IsSorted(t.marks) {
		return &DamageError{first, "its marks are not in their order"}
	}
	return nil
}

// filterPages is how many come before the data.
func (t *Table) filterPages() int64 { return int64(len(t.layers)) * t.layerPages }

func (t *Table) readPages(first int64, b []byte) error {
	if _, err := t.file.ReadAt(b, first*pageBytes); err != nil {
		return fmt.Errorf("page %d: %w", first, err)
	}
	return nil
}

func (t *Table) read(number int64, p *Page) error {
	if err := t.readPages(number, p[:]); err != nil {
		return err
	}
	return checkPage(number, p[:])
}

// Close ends the use of the file.
func (t *Table) Close() error { return t.file.Close() }

// Records is how many the file has.
func (t *Table) Records() int64 { return t.records }

// Size is the file's, in bytes.
func (t *Table) Size() int64 { return t.size }

// guesses is how often the place of an id is computed from its neighbours before the rest is halved: enough for ids that are spread as digests are.
const guesses = 8

// Get looks for an id. p is room.
func (t *Table) Get(id *[16]byte, p *Page) (r Record, found bool, err error) {
	key := binary.BigEndian.Uint64(id[:])
	low, high, from, to := t.between(key) // the pages, and between what their ids are
	for n := 0; low < high; n++ {
		guess := low + (high-low)/2
		if n < guesses && to > from {
			over, part := bits.Mul64(key-from, uint64(high-low))
			if span := to - from; over < span {
				q, _ := bits.Div64(over, part, span)
				guess = low + min(int64(q), high-low-1)
			}
		}
		if err := t.read(t.filterPages()+guess, p); err != nil {
			return Record{}, false, err
		}
		records := t.inPage(guess)
		first, last := (*[16]byte)(p[:]), (*[16]byte)(p[(records-1)*recordBytes:])
		switch {
		case Compare(id, first) < 0:
			high, to = guess, binary.BigEndian.Uint64(first[:])
		case Compare(id, last) > 0:
			low, from = guess+1, binary.BigEndian.Uint64(last[:])
		default:
			r, found = search(p, records, id)
			return r, found, nil
		}
	}
	return Record{}, false, nil
}

// between is which data pages may have an id that begins with key, and between what their ids begin.
func (t *Table) between(key uint64) (low, high int64, from, to uint64) {
	high, to = t.data, math.MaxUint64
	at, _ := slices.BinarySearch(t.marks, key)
	if at > 0 {
		low, from = int64(at-1)*t.every, t.marks[at-1]
	}
	for at < len(t.marks) && t.marks[at] == key {
		at++
	}
	if at < len(t.marks) {
		high, to = int64(at)*t.every, t.marks[at]
	}
	return low, high, from, to
}

// inPage is how many records a data page has.
func (t *Table) inPage(data int64) int { return int(min(perPage, t.records-data*perPage)) }

func search(p *Page, records int, id *[16]byte) (Record, bool) {
	low, high := 0, records
	for low < high {
		mid := (low + high) / 2
		at := p[mid*recordBytes:]
		switch c := Compare(id, (*[16]byte)(at)); {
		case c == 0:
			return readRecord(at), true
		case c < 0:
			high = mid
		default:
			low = mid + 1
		}
	}
	return Record{}, false
}

// cursor reads a file's records in their order.
type cursor struct {
	t      *Table
	buf    []byte
	page   int64 // the data page that is read, and whose first byte is at
	at     int
	left   int // records of it
	record Record
	order  [16]byte
	begun  bool
}

const cursorPages = 64

// next is io.EOF at the end.
func (c *cursor) next() error {
	if c.left == 0 {
		if err := c.nextPage(); err != nil {
			return err
		}
	}
	c.record = readRecord(c.buf[c.at:])
	if c.begun && Compare(&c.order, &c.record.ID) >= 0 {
		return &DamageError{c.t.filterPages() + c.page, "its ids are not in their order"}
	}
	c.order, c.begun = c.record.ID, true
	c.at += recordBytes
	c.left--
	return nil
}

func (c *cursor) nextPage() error {
	if c.begun {
		c.page++
	}
	if c.page == c.t.data {
		return io.EOF
	}
	within := c.page % cursorPages
	if within == 0 {
		n := min(cursorPages, c.t.data-c.page) * pageBytes
		if c.buf == nil {
			c.buf = make([]byte, n)
		}
		c.buf = c.buf[:n]
		if err := c.t.readPages(c.t.filterPages()+c.page, c.buf); err != nil {
			return err
		}
	}
	c.at = int(within) * pageBytes
	c.left = c.t.inPage(c.page)
	return checkPage(c.t.filterPages()+c.page, c.buf[c.at:c.at+pageBytes])
}
