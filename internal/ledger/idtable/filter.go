package idtable

import (
	"encoding/binary"
	"math/bits"
)

// filterPages is how many a filter for so many ids has.
func filterPages(ids int64) int64 {
	blocks := max(1, (ids+keysPerBlock-1)/keysPerBlock)
	return (blocks + blocksPerPage - 1) / blocksPerPage
}

// place is the page of an id's block, of so many, and where in it the block begins.
func place(id *[16]byte, pages int64) (page int64, at int) {
	block, _ := bits.Mul64(binary.BigEndian.Uint64(id[:]), uint64(pages)*blocksPerPage)
	return int64(block / blocksPerPage), int(block%blocksPerPage) * blockBytes
}

func setBits(block []byte, id *[16]byte) {
	from := binary.BigEndian.Uint64(id[8:])
	for range probes {
		block[from>>3&(blockBytes-1)] |= 1 << (from & 7)
		from >>= 9
	}
}

func hasBits(block []byte, id *[16]byte) bool {
	block = block[:blockBytes]
	from := binary.BigEndian.Uint64(id[8:])
	for range probes {
		if block[from>>3&(blockBytes-1)]>>(from&7)&1 == 0 {
			return false
		}
		from >>= 9
	}
	return true
}
