package idtable

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Table reads a file. Its methods may be called from any number of goroutines, LoadFilter and Close from one beside no other.
type Table struct {
	file          vfs.File
	filter        int64 // pages
	data          int64 // pages
	records, size int64

	loaded []byte // the filter's pages; nil: they are read one by one
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
	if !bytes.HasPrefix(p[:], []byte(magic)) {
		return &DamageError{last, "it is not the end of a table of ids"}
	}
	var counts [3]int64
	for i := range counts {
		counts[i] = int64(binary.LittleEndian.Uint64(p[len(magic)+8*i:]))
	}
	t.filter, t.data, t.records = counts[0], counts[1], counts[2]
	if t.filter < 1 || t.data < 1 || t.filter+t.data != last || t.records <= (t.data-1)*perPage || t.records > t.data*perPage {
		return &DamageError{last, fmt.Sprintf("it says that %d records are in %d pages, behind %d of a filter", t.records, t.data, t.filter)}
	}
	return nil
}

func (t *Table) read(number int64, p *Page) error {
	if _, err := t.file.ReadAt(p[:], number*pageBytes); err != nil {
		return fmt.Errorf("page %d: %w", number, err)
	}
	return checkPage(number, p[:])
}

// Close ends the use of the file.
func (t *Table) Close() error { return t.file.Close() }

// Records is how many the file has.
func (t *Table) Records() int64 { return t.records }

// Size is the file's, in bytes.
func (t *Table) Size() int64 { return t.size }

// FilterSize is what LoadFilter takes of memory, in bytes.
func (t *Table) FilterSize() int64 { return t.filter * pageBytes }

// LoadFilter reads the filter into memory.
func (t *Table) LoadFilter() error {
	b := make([]byte, t.filter*pageBytes)
	if _, err := t.file.ReadAt(b, 0); err != nil {
		return fmt.Errorf("read the filter: %w", err)
	}
	for i := range t.filter {
		if err := checkPage(i, b[i*pageBytes:(i+1)*pageBytes]); err != nil {
			return err
		}
	}
	t.loaded = b
	return nil
}

// UnloadFilter gives its memory back.
func (t *Table) UnloadFilter() { t.loaded = nil }

// Loaded says whether the filter is in memory.
func (t *Table) Loaded() bool { return t.loaded != nil }

// MayHave is false only when id is not in the table. p is room.
func (t *Table) MayHave(id *[16]byte, p *Page) (bool, error) {
	page, at := place(id, t.filter)
	if t.loaded != nil {
		return hasBits(t.loaded[page*pageBytes+int64(at):], id), nil
	}
	if err := t.read(page, p); err != nil {
		return false, err
	}
	return hasBits(p[at:], id), nil
}

// guesses is how often the place of an id is computed from its neighbours before the rest is halved: enough for ids that are spread as digests are.
const guesses = 8

// Get looks for an id. p is room.
func (t *Table) Get(id *[16]byte, p *Page) (r Record, found bool, err error) {
	key := binary.BigEndian.Uint64(id[:])
	low, high := int64(0), t.data     // the page is among these
	from, to := uint64(0), ^uint64(0) // between which their ids are
	for n := 0; low < high; n++ {
		guess := low + (high-low)/2
		if n < guesses && to > from {
			over, part := bits.Mul64(key-from, uint64(high-low))
			if span := to - from; over < span {
				q, _ := bits.Div64(over, part, span)
				guess = low + min(int64(q), high-low-1)
			}
		}
		if err := t.read(t.filter+guess, p); err != nil {
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
		return &DamageError{c.t.filter + c.page, "its ids are not in their order"}
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
		if _, err := c.t.file.ReadAt(c.buf, (c.t.filter+c.page)*pageBytes); err != nil {
			return fmt.Errorf("page %d: %w", c.t.filter+c.page, err)
		}
	}
	c.at = int(within) * pageBytes
	c.left = c.t.inPage(c.page)
	return checkPage(c.t.filter+c.page, c.buf[c.at:c.at+pageBytes])
}

// Check reads the whole file: each page against its checksum, that ids are in their order, and that the filter has each.
func Check(fs vfs.FS, path string) (err error) {
	t, err := Open(fs, path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	var p Page
	for i := range t.filter {
		if err := t.read(i, &p); err != nil {
			return err
		}
	}
	held := int64(-1) // the filter's page in p
	c := cursor{t: t}
	for {
		if err := c.next(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		page, at := place(&c.record.ID, t.filter)
		if page != held {
			if err := t.read(page, &p); err != nil {
				return err
			}
			held = page
		}
		if !hasBits(p[at:], &c.record.ID) {
			return &DamageError{page, "the filter lacks an id"}
		}
	}
}
