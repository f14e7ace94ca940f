package parquetfile

import (
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/format"

	"github.com/usagebox/otelcol-usagebox/internal/decimal"
)

// plainType keeps a logical type from also claiming the older converted type, which for times says that readers should
// adjust them to their own zone.
type plainType struct{ parquet.Type }

func (plainType) ConvertedType() *deprecated.ConvertedType { return nil }

// signedDecimalType is a 16-byte decimal whose minima and maxima are in signed order. The library orders the bytes
// unsigned, so that negative numbers come after positive ones and readers that prune by statistics lose rows.
type signedDecimalType struct{ parquet.Type }

func (t signedDecimalType) Compare(a, b parquet.Value) int { return int128(a).Cmp(int128(b)) }

func (t signedDecimalType) NewColumnIndexer(sizeLimit int) parquet.ColumnIndexer {
	return signedIndexer{t.Type.NewColumnIndexer(sizeLimit)}
}

// NewColumnBuffer begins small: the library would allocate a whole page for each of the many columns of a small file.
func (t signedDecimalType) NewColumnBuffer(columnIndex, numValues int) parquet.ColumnBuffer {
	return signedColumnBuffer{t.Type.NewColumnBuffer(columnIndex, min(numValues, batchRows))}
}

type signedColumnBuffer struct{ parquet.ColumnBuffer }

func (b signedColumnBuffer) Page() parquet.Page { return signedPage{b.ColumnBuffer.Page()} }

type signedPage struct{ parquet.Page }

func (p signedPage) Bounds() (low, high parquet.Value, ok bool) {
	values := p.Data()
	data, size := values.FixedLenByteArray()
	if len(data) < size {
		return low, high, false
	}
	least, greatest := data[:size], data[:size]
	for i := size; i+size <= len(data); i += size {
		v := data[i : i+size]
		if int128Of(v).Cmp(int128Of(least)) < 0 {
			least = v
		}
		if int128Of(v).Cmp(int128Of(greatest)) > 0 {
			greatest = v
		}
	}
	return parquet.FixedLenByteArrayValue(least), parquet.FixedLenByteArrayValue(greatest), true
}

// signedIndexer says of no page index that its bounds ascend: the indexer below compares them unsigned.
type signedIndexer struct{ parquet.ColumnIndexer }

func (i signedIndexer) ColumnIndex() format.ColumnIndex {
	index := i.ColumnIndexer.ColumnIndex()
	index.BoundaryOrder = format.Unordered
	return index
}

func int128(v parquet.Value) decimal.Int128 { return int128Of(v.ByteArray()) }

func int128Of(b []byte) decimal.Int128 {
	if len(b) != 16 {
		return decimal.Int128{}
	}
	return decimal.FromBytes([16]byte(b))
}
