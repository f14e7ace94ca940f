package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"sort"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/usagebox/otelcol-usagebox/usage"
)

const (
	pageBytes  = 1024
	pageBody   = pageBytes - 4 // of which the last 8 bytes are its number
	entryBytes = 32
	perPage    = (pageBody - 8) / entryBytes
	endBytes   = 64
	magic      = "UBXdedup"
)

// damageError says that a part of a file is not what was written there.
type damageError struct {
	file   string
	reason string
}

func (e *damageError) Error() string { return e.file + ": " + e.reason }

// table is a file. get may be called from any number of goroutines until close.
type table struct {
	name
	seed     uint32 // of checksums
	file     vfs.File
	from, to int64 // when its entries came, in nanoseconds since 1970
	entries  int64
	size     int64
	fences   []uint32
	sums     []uint32 // of the filter's chunks

	filter atomic.Pointer[filter]
	spoilt bool // its filter can't be read: nobody tries again
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func newTable(n name, file vfs.File) *table {
	var b [12]byte
	binary.LittleEndian.PutUint32(b[:], n.generation)
	binary.LittleEndian.PutUint32(b[4:], n.first)
	binary.LittleEndian.PutUint32(b[8:], n.last)
	return &table{name: n, seed: crc32.Checksum(b[:], castagnoli), file: file}
}

func (t *table) checksum(b []byte) uint32 { return crc32.Update(t.seed, castagnoli, b) }

func (t *table) damage(format string, args ...any) error {
	return &damageError{t.name.String(), fmt.Sprintf(format, args...)}
}

// sealPage writes a page's number and checksum.
func (t *table) sealPage(number int64, b []byte) {
	binary.LittleEndian.PutUint64(b[pageBody-8:], uint64(number))
	binary.LittleEndian.PutUint32(b[pageBody:], t.checksum(b[:pageBody]))
}

func (t *table) checkPage(number int64, b []byte) error {
	if binary.LittleEndian.Uint32(b[pageBody:]) != t.checksum(b[:pageBody]) || int64(binary.LittleEndian.Uint64(b[pageBody-8:])) != number {
		return t.damage("the checksum of page %d is of other bytes", number)
	}
	return nil
}

// openTable opens a file. The error is a *damageError when it is not as it was written.
func openTable(fs vfs.FS, path string, n name) (*table, error) {
	file, err := fs.Open(path, vfs.RandomReadsOption)
	if err != nil {
		return nil, err
	}
	t := newTable(n, file)
	if err := t.readEnd(); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return t, nil
}

func (t *table) readEnd() error {
	info, err := t.file.Stat()
	if err != nil {
		return err
	}
	t.size = info.Size()
	var end [endBytes]byte
	if t.size < endBytes {
		return t.damage("it has %d bytes", t.size)
	}
	if _, err := t.file.ReadAt(end[:], t.size-endBytes); err != nil {
		return err
	}
	if string(end[:8]) != magic || binary.LittleEndian.Uint32(end[60:]) != t.checksum(end[:60]) {
		return t.damage("it has no end")
	}
	number := func(at int) int64 { return int64(binary.LittleEndian.Uint64(end[at:])) }
	blocks := uint64(number(32))
	t.from, t.to, t.entries = number(8), number(16), number(24)
	most := t.size / entryBytes
	if t.entries < 1 || t.entries > most || blocks < 1 || blocks > uint64(most) {
		return t.damage("its end says that it has %d entries and %d blocks", t.entries, blocks)
	}
	pages, chunks := t.pages(), chunksOf(blocks)
	tail := make([]byte, 4*(pages+int64(chunks)))
	if t.filterAt()+int64(blocks)*blockBytes+int64(len(tail))+endBytes != t.size {
		return t.damage("it has %d bytes, and its end is of another length", t.size)
	}
	if _, err := t.file.ReadAt(tail, t.size-endBytes-int64(len(tail))); err != nil {
		return err
	}
	if binary.LittleEndian.Uint32(end[56:]) != t.checksum(tail) {
		return t.damage("the checksum of its tail is of other bytes")
	}
	numbers := make([]uint32, len(tail)/4)
	for i := range numbers {
		numbers[i] = binary.LittleEndian.Uint32(tail[4*i:])
	}
	t.fences, t.sums = numbers[:pages:pages], numbers[pages:]
	t.filter.Store(&filter{blocks: blocks})
	return nil
}

func (t *table) pages() int64 { return (t.entries + perPage - 1) / perPage }

func (t *table) filterAt() int64 { return t.pages() * pageBytes }

// inPage is how many entries a page has.
func (t *table) inPage(number int64) int { return int(min(perPage, t.entries-number*perPage)) }

// page is one that was read last.
type page struct {
	b      [pageBytes]byte
	of     *table // nil: none
	number int64
}

func (t *table) read(number int64, p *page) error {
	if p.of == t && p.number == number {
		return nil
	}
	p.of = nil
	if _, err := t.file.ReadAt(p.b[:], number*pageBytes); err != nil {
		return fmt.Errorf("%s: page %d: %w", t.name, number, err)
	}
	if err := t.checkPage(number, p.b[:]); err != nil {
		return err
	}
	p.of, p.number = t, number
	return nil
}

// get looks for h, nearly always with one read, or none when p has the page.
func (t *table) get(h *Hash, p *page) (payload usage.Payload, found bool, err error) {
	fence := uint32(h.high() >> 32)
	for at := sort.Search(len(t.fences), func(i int) bool { return t.fences[i] > fence }) - 1; at >= 0; at-- {
		if err := t.read(int64(at), p); err != nil {
			return payload, false, err
		}
		entries := t.inPage(int64(at))
		i := sort.Search(entries, func(i int) bool { return !(*Hash)(p.b[i*entryBytes:]).less(h) })
		if i < entries && *(*Hash)(p.b[i*entryBytes:]) == *h {
			return usage.Payload(p.b[i*entryBytes+len(h) : (i+1)*entryBytes]), true, nil
		}
		if t.fences[at] < fence { // else the page before may end with such hashes
			return payload, false, nil
		}
	}
	return payload, false, nil
}

// filterBytes is what the filter takes in memory, whole.
func (t *table) filterBytes() int64 { return int64(t.filter.Load().blocks) * blockBytes }

// hold has no more of the filter in memory than so many bytes take, and reads what may be and is not.
func (t *table) hold(bytes int64) error {
	f := t.filter.Load()
	chunks := len(t.sums)
	if t.filterBytes() > bytes {
		chunks = int(bytes / (chunkBlocks * blockBytes))
	}
	if chunks < len(f.chunks) {
		t.filter.Store(&filter{f.blocks, slices.Clone(f.chunks[:chunks])})
		return nil
	}
	for n := len(f.chunks); n < chunks && !t.spoilt; n++ {
		b := make([]byte, 8*wordsOf(f.blocks, n))
		if _, err := t.file.ReadAt(b, t.filterAt()+int64(n)*chunkBlocks*blockBytes); err != nil {
			t.spoilt = true
			return fmt.Errorf("%s: its filter: %w", t.name, err)
		}
		if t.checksum(b) != t.sums[n] {
			t.spoilt = true
			return t.damage("the checksum of its filter is of other bytes")
		}
		f = &filter{f.blocks, append(slices.Clip(f.chunks), readWords(b))}
		t.filter.Store(f)
	}
	return nil
}

// close may be called again.
func (t *table) close() error {
	file := t.file
	if t.file = nil; file == nil {
		return nil
	}
	return file.Close()
}
