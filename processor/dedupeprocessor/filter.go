package dedupeprocessor

import (
	"encoding/binary"
	"slices"
	"sync/atomic"
)

const (
	blockWords    = 8  // of 64 bits: a cache line
	keysPerBlock  = 42 // 12 bits a key: of a hundred absent keys one or two seem to be there
	probes        = 6  // bits that a key sets in its block
	smallestChunk = 1 << 10
	largestChunk  = 1 << 17 // blocks: 8 MiB, 5.5 M keys
)

// filter is a Bloom filter of a generation's hashes, in memory: most events are new, and it says so without a look at the index. It grows by chunks, each
// twice as large as the one before. One goroutine adds; any number may read a copy of the filter meanwhile.
type filter struct {
	chunks [][]uint64
	room   int // keys that the last chunk still takes
}

func (f *filter) add(h hash) {
	if f.room == 0 {
		blocks := min(largestChunk, smallestChunk<<len(f.chunks))
		f.chunks = append(slices.Clip(f.chunks), make([]uint64, blocks*blockWords))
		f.room = blocks * keysPerBlock
	}
	f.room--
	block, bits := place(f.chunks[len(f.chunks)-1], h)
	for range probes {
		word := &block[bits>>6&(blockWords-1)]
		atomic.StoreUint64(word, atomic.LoadUint64(word)|1<<(bits&63))
		bits >>= 9
	}
}

// mayHave is false only when h was never added.
func (f *filter) mayHave(h hash) bool {
	for _, chunk := range f.chunks {
		block, bits := place(chunk, h)
		all := true
		for range probes {
			if atomic.LoadUint64(&block[bits>>6&(blockWords-1)])>>(bits&63)&1 == 0 {
				all = false
				break
			}
			bits >>= 9
		}
		if all {
			return true
		}
	}
	return false
}

// place is the block of h in a chunk, whose number of blocks is a power of two, and the bits to choose from.
func place(chunk []uint64, h hash) (block []uint64, bits uint64) {
	blocks := uint64(len(chunk) / blockWords)
	at := binary.LittleEndian.Uint64(h[:]) & (blocks - 1) * blockWords
	return chunk[at : at+blockWords], binary.LittleEndian.Uint64(h[8:])
}
