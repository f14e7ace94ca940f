package idtable

import (
	"encoding/binary"
	"math/bits"
	"sync/atomic"
)

// version is what differs between files.
type version struct {
	magic        string
	layers       int
	probes       int // bits that an id sets in each layer
	keysPerBlock int64
	marks        bool
}

var (
	current  = version{magic: "UBXids\x00\x02", layers: 3, probes: 2, keysPerBlock: 128, marks: true}
	versions = [...]version{current, {magic: "UBXids\x00\x01", layers: 1, probes: 6, keysPerBlock: 42}}
)

// layerPages is how many a layer for so many ids has.
func (v *version) layerPages(ids int64) int64 {
	blocks := max(1, (ids+v.keysPerBlock-1)/v.keysPerBlock)
	return (blocks + blocksPerPage - 1) / blocksPerPage
}

// place is the page of an id's block, in layers of so many, and where in it the block begins.
func place(id *[16]byte, pages int64) (page int64, at int) {
	block, _ := bits.Mul64(binary.BigEndian.Uint64(id[:]), uint64(pages)*blocksPerPage)
	return int64(block / blocksPerPage), int(block%blocksPerPage) * blockBytes
}

// probesOf is what setBits and hasBits take an id's bits in a layer from.
func (v *version) probesOf(id *[16]byte, layer int) uint64 {
	return binary.BigEndian.Uint64(id[8:]) >> (layer * v.probes * probeBits)
}

func (v *version) setBits(block []byte, from uint64) {
	for range v.probes {
		block[from>>3&(blockBytes-1)] |= 1 << (from & 7)
		from >>= probeBits
	}
}

func (v *version) hasBits(block []byte, from uint64) bool {
	block = block[:blockBytes]
	for range v.probes {
		if block[from>>3&(blockBytes-1)]>>(from&7)&1 == 0 {
			return false
		}
		from >>= probeBits
	}
	return true
}

// layer is one of a filter's, of which the first chunks are in memory.
type layer struct {
	chunks []atomic.Pointer[[]byte]
	held   int
}

// chunkPages are read into memory, and let go, together.
const (
	chunkPages = 64
	chunkBytes = chunkPages * pageBytes
)

func newLayer(pages int64) layer {
	return layer{chunks: make([]atomic.Pointer[[]byte], (pages+chunkPages-1)/chunkPages)}
}

// release has no more than so many chunks.
func (l *layer) release(chunks int) {
	for l.held > chunks {
		l.held--
		l.chunks[l.held].Store(nil)
	}
}

// load has so many chunks of one of t's layers, each page of them as it was written.
func (t *Table) load(n, chunks int) error {
	l := &t.layers[n]
	for l.held < chunks {
		first := int64(l.held) * chunkPages
		pages := min(chunkPages, t.layerPages-first)
		first += int64(n) * t.layerPages
		b := make([]byte, pages*pageBytes)
		if err := t.readPages(first, b); err != nil {
			return err
		}
		for i := range pages {
			if err := checkPage(first+i, b[i*pageBytes:(i+1)*pageBytes]); err != nil {
				return err
			}
		}
		l.chunks[l.held].Store(&b)
		l.held++
	}
	return nil
}

// MayHave is false only when id is not in the table, which those parts of its filter say that are in memory.
func (t *Table) MayHave(id *[16]byte) bool {
	page, at := place(id, t.layerPages)
	chunk := page / chunkPages
	at += int(page%chunkPages) * pageBytes
	for i := range t.layers {
		if b := t.layers[i].chunks[chunk].Load(); b != nil && !t.version.hasBits((*b)[at:], t.version.probesOf(id, i)) {
			return false
		}
	}
	return true
}
