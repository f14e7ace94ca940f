package index

import (
	"encoding/binary"
	"math/bits"
)

const (
	blockWords  = 8
	blockBytes  = 64 // a cache line
	perBlock    = 32 // entries: 16 bits for each
	chunkBlocks = 1 << 10
)

// filter tells hashes that a file does not have from those that it may have. Its chunks from the first to some one are in memory.
type filter struct {
	blocks uint64
	chunks [][]uint64
}

func blocksFor(entries int64) uint64 { return max(1, uint64(entries+perBlock-1)/perBlock) }

// chunksOf is how many so many blocks have.
func chunksOf(blocks uint64) int { return int((blocks + chunkBlocks - 1) / chunkBlocks) }

// wordsOf is the length of a chunk.
func wordsOf(blocks uint64, chunk int) int {
	return int(min(chunkBlocks, blocks-uint64(chunk)*chunkBlocks)) * blockWords
}

// bitsOf is the bits that a hash with such last 8 bytes sets in two numbers of its block.
func bitsOf(v uint64) (one, two uint64) {
	return 1<<(v>>4&63) | 1<<(v>>10&63) | 1<<(v>>16&63), 1<<(v>>22&63) | 1<<(v>>28&63) | 1<<(v>>34&63)
}

// numbersOf is which numbers those are.
func numbersOf(v uint64) (one, two uint64) { return v & 3, 4 + v>>2&3 }

// add wants hashes in their order.
func (f *filter) add(h *Hash) {
	at, _ := bits.Mul64(h.high(), f.blocks)
	f.grow(int(at/chunkBlocks) + 1)
	block := f.chunks[at/chunkBlocks][at%chunkBlocks*blockWords:][:blockWords]
	v := h.low()
	one, two := bitsOf(v)
	i, j := numbersOf(v)
	block[i] |= one
	block[j] |= two
}

// grow has so many chunks.
func (f *filter) grow(chunks int) {
	for n := len(f.chunks); n < chunks; n++ {
		f.chunks = append(f.chunks, make([]uint64, wordsOf(f.blocks, n)))
	}
}

// probe is what a filter is asked for an entry.
type probe struct {
	high     uint64 // which chooses the block
	one, two uint64 // bits of two numbers of the block
	i, j     uint8  // which
	entry    int32  // number of the entry that it is about
}

func probeOf(h *Hash, entry int) probe {
	v := h.low()
	one, two := bitsOf(v)
	i, j := numbersOf(v)
	return probe{h.high(), one, two, uint8(i), uint8(j), int32(entry)}
}

// mayHave appends to may the entries that may be in the file: all that are, few others, and those of chunks that are not in memory. It does little for each probe,
// so that what it waits for, which is memory, comes for many at once.
func (f *filter) mayHave(probes []probe, may []int32) []int32 {
	for i := range probes {
		p := &probes[i]
		at, _ := bits.Mul64(p.high, f.blocks)
		if at/chunkBlocks >= uint64(len(f.chunks)) {
			may = append(may, p.entry)
			continue
		}
		block := f.chunks[at/chunkBlocks][at%chunkBlocks*blockWords:][:blockWords]
		if p.one&^block[p.i&7]|p.two&^block[p.j&7] == 0 {
			may = append(may, p.entry)
		}
	}
	return may
}

// appendWords writes a chunk as files have it.
func appendWords(b []byte, chunk []uint64) []byte {
	for _, w := range chunk {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return b
}

func readWords(b []byte) []uint64 {
	chunk := make([]uint64, len(b)/8)
	for i := range chunk {
		chunk[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	return chunk
}
