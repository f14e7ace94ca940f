package index

import (
	"encoding/binary"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/usagebox/otelcol-usagebox/usage"
)

const bufferedPages = 256

// writer writes a file.
type writer struct {
	table  *table
	buf    []byte
	page   []byte // the one that is being filled, at the end of buf
	filter filter
	last   Hash // that was added last
}

// newWriter makes a file for at most so many entries.
func newWriter(fs vfs.FS, path string, n name, entries int64) (*writer, error) {
	file, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	t, pages := newTable(n, file), (entries+perPage-1)/perPage
	t.fences = make([]uint32, 0, pages)
	return &writer{
		table:  t,
		buf:    make([]byte, 0, min(bufferedPages, pages)*pageBytes),
		filter: filter{blocks: blocksFor(entries)},
	}, nil
}

// add adds an entry, unless its hash is not greater than the one before.
func (w *writer) add(h *Hash, payload *usage.Payload) error {
	t := w.table
	if t.entries > 0 && !w.last.less(h) {
		return nil
	}
	at := t.entries % perPage * entryBytes
	if at == 0 {
		if err := w.begin(); err != nil {
			return err
		}
		t.fences = append(t.fences, uint32(h.high()>>32))
	}
	b := w.page[at : at+entryBytes]
	copy(b, h[:])
	copy(b[len(h):], payload[:])
	w.filter.add(h)
	w.last = *h
	t.entries++
	return nil
}

// begin ends the page before, and begins one.
func (w *writer) begin() error {
	w.end()
	if len(w.buf) == cap(w.buf) {
		if err := w.flush(); err != nil {
			return err
		}
	}
	w.buf = w.buf[:len(w.buf)+pageBytes]
	w.page = w.buf[len(w.buf)-pageBytes:]
	clear(w.page)
	return nil
}

func (w *writer) end() {
	if w.page != nil {
		w.table.sealPage(int64(len(w.table.fences)-1), w.page)
	}
}

func (w *writer) flush() error {
	_, err := w.table.file.Write(w.buf)
	w.table.size += int64(len(w.buf))
	w.buf = w.buf[:0]
	return err
}

// finish writes what follows the pages of a file that has an entry.
func (w *writer) finish(from, to int64) error {
	w.end()
	t, f := w.table, &w.filter
	f.grow(chunksOf(f.blocks))
	for _, chunk := range f.chunks {
		if cap(w.buf)-len(w.buf) < 8*len(chunk) {
			if err := w.flush(); err != nil {
				return err
			}
		}
		at := len(w.buf)
		w.buf = appendWords(w.buf, chunk)
		t.sums = append(t.sums, t.checksum(w.buf[at:]))
	}
	at := len(w.buf)
	for _, n := range t.fences {
		w.buf = binary.LittleEndian.AppendUint32(w.buf, n)
	}
	for _, n := range t.sums {
		w.buf = binary.LittleEndian.AppendUint32(w.buf, n)
	}
	tail := t.checksum(w.buf[at:])
	at = len(w.buf)
	w.buf = append(w.buf, magic...)
	for _, n := range [...]uint64{uint64(from), uint64(to), uint64(t.entries), f.blocks, 0, 0} {
		w.buf = binary.LittleEndian.AppendUint64(w.buf, n)
	}
	w.buf = binary.LittleEndian.AppendUint32(w.buf, tail)
	w.buf = binary.LittleEndian.AppendUint32(w.buf, t.checksum(w.buf[at:]))
	t.from, t.to = from, to
	t.filter.Store(f)
	return w.flush()
}
