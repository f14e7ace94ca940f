package index

import (
	"encoding/binary"
	"hash/crc32"
	"math/big"
	"time"
)

// goldenFile is the first file of the first generation, by doc.go alone: entries are in their order and came at one time.
func goldenFile(entries []Entry, came time.Time) (file []byte) {
	le := binary.LittleEndian
	sum := func(b []byte) uint32 {
		of := append([]byte{1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0}, b...)
		return crc32.Checksum(of, crc32.MakeTable(crc32.Castagnoli))
	}
	var tail []byte
	for number := 0; number*31 < len(entries); number++ {
		page := make([]byte, 0, 1024)
		for i := number * 31; i < min(len(entries), number*31+31); i++ {
			page = append(append(page, entries[i].Hash[:]...), entries[i].Payload[:]...)
		}
		tail = le.AppendUint32(tail, binary.BigEndian.Uint32(page))
		page = append(page, make([]byte, 1012-len(page))...)
		page = le.AppendUint64(page, uint64(number))
		file = append(file, le.AppendUint32(page, sum(page))...)
	}
	blocks := (len(entries) + 31) / 32
	filter := make([]byte, 64*blocks)
	for i := range entries {
		p := new(big.Int).SetBytes(entries[i].Hash[:8])
		block := int(p.Mul(p, big.NewInt(int64(blocks))).Rsh(p, 64).Int64())
		v := binary.BigEndian.Uint64(entries[i].Hash[8:])
		for n, word := range []uint64{v % 4, 4 + v/4%4} {
			at := filter[64*block+8*int(word):]
			bits := le.Uint64(at)
			for shift := range 3 {
				bits |= 1 << (v >> (4 + 18*n + 6*shift) % 64)
			}
			le.PutUint64(at, bits)
		}
	}
	file = append(file, filter...)
	tail = le.AppendUint32(tail, sum(filter))
	file = append(file, tail...)
	end := []byte("UBXdedup")
	for _, n := range []int64{came.UnixNano(), came.UnixNano(), int64(len(entries)), int64(blocks), 0, 0} {
		end = le.AppendUint64(end, uint64(n))
	}
	end = le.AppendUint32(end, sum(tail))
	return append(file, le.AppendUint32(end, sum(end))...)
}
