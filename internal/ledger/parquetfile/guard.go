package parquetfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// Parquet guards the bodies of pages by a CRC, but neither page headers, nor bloom filters, nor the page index, nor the
// footer; a bit that flips there loses rows without an error. So the end of a file of ours, from an offset before the first
// bloom filter on, has a guard: 16 bytes right before the footer, where Parquet allows any.
//
//	0   "UBXg"
//	4   offset at which the guarded end begins, 8 bytes, little endian
//	12  CRC-32C of the guarded end without these 4 bytes, little endian
//
// Page headers are then held against the page index.
const (
	guardMagic = "UBXg"
	guardBytes = 16
	magic      = "PAR1"
	endBytes   = 8 // footer length and magic

	maxGuarded   = 1 << 30
	maxPageBytes = 256 << 20
	maxPageRows  = 1 << 24
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// endWriter passes bytes on until hold is called, and keeps what comes after.
type endWriter struct {
	out     io.Writer
	written int64
	held    []byte
	holding bool
}

func (w *endWriter) Write(p []byte) (int, error) {
	if w.holding {
		w.held = append(w.held, p...)
		return len(p), nil
	}
	n, err := w.out.Write(p)
	w.written += int64(n)
	return n, err
}

// finish writes what is held, with the guard.
func (w *endWriter) finish() error {
	footer := len(w.held) - endBytes
	footer -= int(binary.LittleEndian.Uint32(w.held[footer:]))
	guard := make([]byte, 0, guardBytes)
	guard = append(guard, guardMagic...)
	guard = binary.LittleEndian.AppendUint64(guard, uint64(w.written))
	sum := crc32.Update(0, castagnoli, w.held[:footer])
	sum = crc32.Update(sum, castagnoli, guard)
	sum = crc32.Update(sum, castagnoli, w.held[footer:])
	guard = binary.LittleEndian.AppendUint32(guard, sum)
	for _, b := range [][]byte{w.held[:footer], guard, w.held[footer:]} {
		if _, err := w.out.Write(b); err != nil {
			return err
		}
	}
	return nil
}

// checkGuard reads the end of a file and holds it against its guard.
func checkGuard(r io.ReaderAt, size int64) error {
	if size < int64(len(magic)+guardBytes+endBytes) {
		return corrupt("it has %d bytes", size)
	}
	end, err := readSection(r, size-endBytes, endBytes)
	if err != nil {
		return err
	}
	if string(end[4:]) != magic {
		return corrupt("it does not end in %s", magic)
	}
	guardAt := size - endBytes - int64(binary.LittleEndian.Uint32(end)) - guardBytes
	if guardAt < int64(len(magic)) {
		return corrupt("its footer does not fit into %d bytes", size)
	}
	guard, err := readSection(r, guardAt, guardBytes)
	if err != nil {
		return err
	}
	begin := int64(binary.LittleEndian.Uint64(guard[4:]))
	if string(guard[:4]) != guardMagic || begin < 0 || begin > guardAt || size-begin > maxGuarded {
		return corrupt("its footer is not guarded")
	}
	guarded, err := readSection(r, begin, size-begin)
	if err != nil {
		return err
	}
	sumAt := guardAt + guardBytes - 4 - begin
	sum := crc32.Update(0, castagnoli, guarded[:sumAt])
	sum = crc32.Update(sum, castagnoli, guarded[sumAt+4:])
	if sum != binary.LittleEndian.Uint32(guarded[sumAt:]) {
		return corrupt("the checksum of its footer and indexes is wrong")
	}
	return nil
}

func readSection(r io.ReaderAt, offset, size int64) ([]byte, error) {
	b := make([]byte, size)
	n, err := r.ReadAt(b, offset)
	if n == len(b) {
		return b, nil
	}
	if errors.Is(err, io.EOF) {
		return nil, corrupt("it ends at %d of %d bytes", offset+int64(n), offset+size)
	}
	return nil, err
}

// checkPages holds the page headers of a column chunk against the page index.
func (tf *tableFile) checkPages(group, leaf int) error {
	meta := &tf.f.Metadata().RowGroups[group]
	chunk := &meta.Columns[leaf].MetaData
	i := group*len(meta.Columns) + leaf
	if i >= len(tf.f.ColumnIndexes()) || i >= len(tf.f.OffsetIndexes()) {
		return corrupt("column %d has no page index", leaf)
	}
	index, offsets := &tf.f.ColumnIndexes()[i], tf.f.OffsetIndexes()[i].PageLocations
	if len(index.NullCounts) != len(offsets) {
		return corrupt("column %d has %d pages and %d null counts", leaf, len(offsets), len(index.NullCounts))
	}
	for p, at := range offsets {
		rows := meta.NumRows - at.FirstRowIndex
		if p+1 < len(offsets) {
			rows = offsets[p+1].FirstRowIndex - at.FirstRowIndex
		}
		h, err := tf.pageHeader(at.Offset, at.CompressedPageSize)
		if err != nil {
			return fmt.Errorf("page %d of column %d: %w", p, leaf, err)
		}
		v2 := h.DataPageHeaderV2.V
		values := v2.NumValues - v2.NumNulls
		switch {
		case h.Type != format.DataPageV2 || !h.DataPageHeaderV2.Valid,
			int64(v2.NumRows) != rows, rows <= 0, rows > maxPageRows,
			int64(v2.NumNulls) != index.NullCounts[p], values < 0, int64(v2.NumValues) < rows, v2.NumValues > maxPageRows,
			v2.IsCompressed.Valid && !v2.IsCompressed.V,
			tf.table.repeated(leaf) != (v2.RepetitionLevelsByteLength > 0),
			tf.table.nullable(leaf) != (v2.DefinitionLevelsByteLength > 0),
			!tf.table.repeated(leaf) && int64(v2.NumValues) != rows,
			int64(h.UncompressedPageSize) > chunk.TotalUncompressedSize,
			!tf.table.encodes(leaf, v2.Encoding):
			return corrupt("the header of page %d of column %d disagrees with the page index", p, leaf)
		}
	}
	if at := chunk.DictionaryPageOffset; at != 0 && len(offsets) > 0 {
		h, err := tf.pageHeader(at, int32(min(offsets[0].Offset-at, maxPageBytes)))
		if err != nil {
			return fmt.Errorf("dictionary of column %d: %w", leaf, err)
		}
		if d := h.DictionaryPageHeader; h.Type != format.DictionaryPage || !d.Valid || d.V.Encoding != format.Plain ||
			int64(h.UncompressedPageSize) > chunk.TotalUncompressedSize || int64(d.V.NumValues) > chunk.NumValues {
			return corrupt("the header of the dictionary of column %d disagrees with the footer", leaf)
		}
	}
	return nil
}

const maxHeaderBytes = 128

// pageHeader reads a page's header. size is that of the page with its header.
func (tf *tableFile) pageHeader(offset int64, size int32) (h format.PageHeader, err error) {
	if offset < int64(len(magic)) || size <= 0 || size > maxPageBytes || offset+int64(size) > tf.f.Size() {
		return h, corrupt("a page of %d bytes at %d does not fit into %d bytes", size, offset, tf.f.Size())
	}
	b, err := readSection(tf.r, offset, int64(min(size, maxHeaderBytes)))
	if err != nil {
		return h, err
	}
	var compact thrift.CompactProtocol
	r := compact.NewReaderFromBytes(b)
	if err := thrift.NewDecoder(r).Decode(&h); err != nil {
		return h, corrupt("its header: %v", err)
	}
	if h.CompressedPageSize < 0 || h.UncompressedPageSize < 0 || h.UncompressedPageSize > maxPageBytes || int64(r.BytesRead())+int64(h.CompressedPageSize) != int64(size) {
		return h, corrupt("its header says %d bytes, compressed from %d", h.CompressedPageSize, h.UncompressedPageSize)
	}
	return h, nil
}

// checkMetadata looks at what the library trusts in a footer.
func checkMetadata(f *parquet.File) error {
	for g := range f.Metadata().RowGroups {
		group := &f.Metadata().RowGroups[g]
		for leaf := range group.Columns {
			m := &group.Columns[leaf].MetaData
			if m.Codec != format.Zstd || m.NumValues < group.NumRows || m.TotalCompressedSize < 0 || m.TotalCompressedSize > f.Size() ||
				m.DataPageOffset < 0 || m.DataPageOffset > f.Size() || m.DictionaryPageOffset < 0 || m.DictionaryPageOffset > f.Size() {
				return corrupt("row group %d, column %d: its footer can't be right", g, leaf)
			}
		}
	}
	return nil
}
