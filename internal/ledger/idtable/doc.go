// Package idtable keeps what is known of event ids in files that never change: sorted, each with a filter of its own, so that an id is found, or found to be absent,
// with few reads and without an index in memory.
//
// A file is pages of 4,096 bytes. The last four of each are the CRC-32C, little endian, of the page's number in the file (8 bytes, little endian) and of its first 4,092 bytes.
// All numbers are little endian.
//
//	filter pages   three layers of equally many pages, one after the other; 63 blocks of 64 bytes each
//	data pages     120 records of 34 bytes each, ascending by id; the last page has what is left
//	mark pages     511 marks of 8 bytes each: the first 8 bytes, as a big-endian number, of the first id of every data page whose number is a multiple of the marks' distance
//	the last page  "UBXids\x00\x02", number of pages of a filter's layer, of data pages, of records, of data pages from a mark to the next, 8 bytes each
//
// A record is an id (16 bytes), half of its payload's digest (8), its hour (4) and its number (6). Ids are digests, evenly spread: the place of one is computed
// from its first 8 bytes, between the marks around it.
//
// Each layer of the filter is a Bloom filter in blocks. An id's block is number i·n/2^64 of n, where i is its first 8 bytes, big endian; its bits are twice 9 bits of its last 8 bytes, big
// endian, the lowest first: the first layer has the lowest 18 of them, the second the next, the third those after. A layer has 4 bits for each id, and one in six absent ids seems to be there; of a
// thousand, four seem to be in all three. Layers, and parts of them, are in memory or not: see Share.
//
// In files of the version before, which are read, the last page begins with "UBXids\x00\x01" and ends after the number of records; there are no marks, and one layer of 12 bits and
// six times 9 bits for each id.
package idtable

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// Record is what is known of an id.
type Record struct {
	ID      [16]byte
	Payload [8]byte
	Hour    uint32
	Seq     uint64 // at most MaxSeq
}

// MaxSeq is the largest number that a record takes.
const MaxSeq = 1<<48 - 1

const (
	pageBytes   = 4096
	pageBody    = pageBytes - 4
	recordBytes = 16 + 8 + 4 + 6
	perPage     = 120

	blockBytes    = 64
	probeBits     = 9 // of an id: which bit of a block
	blocksPerPage = 63
	marksPerPage  = 511
)

// DamageError says that a page of a file is not what was written there.
type DamageError struct {
	Page   int64
	Reason string
}

func (e *DamageError) Error() string { return fmt.Sprintf("page %d: %s", e.Page, e.Reason) }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func pageSum(number int64, page []byte) uint32 {
	var n [8]byte
	binary.LittleEndian.PutUint64(n[:], uint64(number))
	return crc32.Update(crc32.Update(0, castagnoli, n[:]), castagnoli, page[:pageBody])
}

func checkPage(number int64, page []byte) error {
	if binary.LittleEndian.Uint32(page[pageBody:]) != pageSum(number, page) {
		return &DamageError{number, "its checksum is of other bytes"}
	}
	return nil
}

func putRecord(b []byte, r *Record) {
	copy(b, r.ID[:])
	copy(b[16:], r.Payload[:])
	binary.LittleEndian.PutUint32(b[24:], r.Hour)
	binary.LittleEndian.PutUint32(b[28:], uint32(r.Seq))
	binary.LittleEndian.PutUint16(b[32:], uint16(r.Seq>>32))
}

func readRecord(b []byte) (r Record) {
	copy(r.ID[:], b)
	copy(r.Payload[:], b[16:])
	r.Hour = binary.LittleEndian.Uint32(b[24:])
	r.Seq = uint64(binary.LittleEndian.Uint32(b[28:])) | uint64(binary.LittleEndian.Uint16(b[32:]))<<32
	return r
}

// Compare orders ids as files do.
func Compare(a, b *[16]byte) int {
	x, y := binary.BigEndian.Uint64(a[:]), binary.BigEndian.Uint64(b[:])
	if x == y {
		x, y = binary.BigEndian.Uint64(a[8:]), binary.BigEndian.Uint64(b[8:])
	}
	switch {
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}
