// Package idfilter tells ids that were never seen from those that may have been, in memory and without a look at a store.
package idfilter

import (
	"encoding/binary"
	"slices"
	"sync/atomic"
)

const (
	blockWords   = 8  // of 64 bits: a cache line
	blockBytes   = 64 // the same
	keysPerBlock = 42 // 12 bits a key: of a hundred absent keys one or two seem to be there
	probes       = 6  // bits that a key sets in its block
	firstChunk   = 1 << 10
)

// Filter is a Bloom filter of hashes. It grows by chunks, each twice as large as the one before, up to its limit; what is added beyond fills the chunks that
// are there, and more of what is absent seems to be there. One goroutine adds; any number may read a Copy meanwhile.
type Filter struct {
	limit  int // blocks of all chunks
	first  int // blocks of the first one
	chunks [][]uint64
	blocks int // that they have
	room   int // keys that the last chunk still takes
}

// New is an empty filter of at most limit bytes, at least those of its first chunk.
func New(limit int64) *Filter { return &Filter{limit: int(limit / blockBytes), first: firstChunk} }

// Add adds a hash.
func (f *Filter) Add(h [16]byte) {
	if f.room == 0 {
		f.grow()
	}
	chunk := f.chunks[len(f.chunks)-1]
	if f.room > 0 {
		f.room--
	} else {
		chunk = f.share(h)
	}
	block, bits := place(chunk, h)
	for range probes {
		atomic.OrUint64(&block[bits>>6&(blockWords-1)], 1<<(bits&63))
		bits >>= 9
	}
}

// grow adds a chunk, unless that is more than the limit.
func (f *Filter) grow() {
	blocks := f.first << len(f.chunks)
	if len(f.chunks) > 0 && f.blocks+blocks > f.limit {
		f.room = -1
		return
	}
	f.chunks = append(slices.Clip(f.chunks), make([]uint64, blocks*blockWords))
	f.blocks += blocks
	f.room = blocks * keysPerBlock
}

// share is the chunk of a hash for which no room is left: each takes as many as fit its size.
func (f *Filter) share(h [16]byte) []uint64 {
	at := int((binary.LittleEndian.Uint64(h[:]) >> 32) % uint64(f.blocks))
	for _, chunk := range f.chunks {
		if at -= len(chunk) / blockWords; at < 0 {
			return chunk
		}
	}
	return f.chunks[len(f.chunks)-1]
}

// Copy reads what was added before it was made. What is added later may be in it or not.
func (f *Filter) Copy() *Filter { return &Filter{chunks: f.chunks} }

// MayHave is false only when h was never added.
func (f *Filter) MayHave(h [16]byte) bool {
	for i := len(f.chunks) - 1; i >= 0; i-- { // the newest has most
		block, bits := place(f.chunks[i], h)
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
func place(chunk []uint64, h [16]byte) (block []uint64, bits uint64) {
	blocks := uint64(len(chunk) / blockWords)
	at := binary.LittleEndian.Uint64(h[:]) & (blocks - 1) * blockWords
	return chunk[at : at+blockWords : at+blockWords], binary.LittleEndian.Uint64(h[8:])
}
