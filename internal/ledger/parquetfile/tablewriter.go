package parquetfile

import (
	"errors"
	"fmt"
	"io"
	"unsafe"

	"github.com/parquet-go/parquet-go"

	"github.com/usagebox/otelcol-usagebox/internal/decimal"
)

const (
	// RowsPerGroup is how many rows a row group has, or a few more, for an event is not torn apart. Engines prune by row group.
	RowsPerGroup = 120_000

	// RollupRowsPerGroup is that of rollups: a customer's invoice reads one or two of them in each file, whoever else is in it.
	RollupRowsPerGroup = 8_192

	pageBytes       = 64 << 10
	dictionaryBytes = 1 << 20 // a larger dictionary is given up for plain values
	batchRows       = 256     // small enough that the batches of all columns stay in a processor's cache
	batchBytes      = 128 << 10
	bloomBits       = 10 // per row: less than one in a hundred absent ids gets past
	indexBytes      = 256
)

var errClosed = errors.New("the file is finished")

// tableWriter writes rows column by column: what a row has of each leaf, then endRow. A leaf that is left out is null.
type tableWriter struct {
	w         *parquet.GenericWriter[any]
	end       *endWriter
	leaves    []*parquet.ColumnWriter
	batch     [][]parquet.Value
	rows      int // in batch
	bytes     int // in batch
	groupRows int // written to the row group
	perGroup  int
	total     int64
	err       error
}

func newTableWriter(out io.Writer, t table, perGroup int, sorted ...string) *tableWriter {
	options := []parquet.WriterOption{
		t.schema,
		parquet.CreatedBy("usagebox", "1.0.0", "ledger-format-"+formatVersion),
		parquet.KeyValueMetadata(formatKey, formatVersion),
		parquet.KeyValueMetadata(tableKey, t.name),
		parquet.Compression(zstdCodec{}),
		parquet.DataPageVersion(2),
		parquet.DataPageStatistics(false), // the page index has them
		parquet.PageBufferSize(pageBytes),
		parquet.DictionaryMaxBytes(dictionaryBytes),
		parquet.ColumnIndexSizeLimit(func([]string) int { return indexBytes }),
	}
	if t.name == Events {
		options = append(
			options,
			parquet.BloomFilters(parquet.SplitBlockFilter(bloomBits, "event_id")),
			parquet.DeferBloomFiltersWithBuffers(parquet.NewBufferPool()),
		)
	}
	var by []parquet.SortingColumn
	for _, name := range sorted {
		by = append(by, parquet.Ascending(name))
	}
	options = append(options, parquet.SortingWriterConfig(parquet.SortingColumns(by...)))
	end := &endWriter{out: out}
	w := parquet.NewGenericWriter[any](end, options...)
	tw := &tableWriter{w: w, end: end, leaves: w.ColumnWriters(), perGroup: perGroup}
	if perGroup <= 0 {
		tw.perGroup = RowsPerGroup
	}
	tw.batch = make([][]parquet.Value, len(tw.leaves))
	return tw
}

// put adds the row's value of a leaf that has one or none in a row, after nulls for the rows before it that had none.
func (t *tableWriter) put(leaf int, v parquet.Value) {
	b := t.batch[leaf]
	for len(b) < t.rows {
		b = append(b, parquet.Value{})
	}
	t.batch[leaf] = append(b, v)
}

func (t *tableWriter) text(leaf int, s string) {
	t.bytes += len(s)
	t.put(leaf, textValue(s))
}

// optionalText writes null for "".
func (t *tableWriter) optionalText(leaf int, s string) {
	if s == "" {
		return
	}
	t.bytes += len(s)
	t.put(leaf, textValue(s).Level(0, 1, leaf))
}

func (t *tableWriter) int64(leaf int, v int64) { t.put(leaf, parquet.Int64Value(v)) }

func (t *tableWriter) optionalInt64(leaf int, v int64, known bool) {
	if !known {
		return
	}
	t.put(leaf, parquet.Int64Value(v).Level(0, 1, leaf))
}

func (t *tableWriter) int128(leaf int, v decimal.Int128) {
	b := v.Bytes()
	t.put(leaf, parquet.FixedLenByteArrayValue(b[:]))
}

func (t *tableWriter) optionalInt128(leaf int, v decimal.Int128, known bool) {
	if !known {
		return
	}
	b := v.Bytes()
	t.put(leaf, parquet.FixedLenByteArrayValue(b[:]).Level(0, 1, leaf))
}

// element writes the i-th element of a list.
func (t *tableWriter) element(leaf, i int, s string) {
	t.bytes += len(s)
	t.batch[leaf] = append(t.batch[leaf], textValue(s).Level(min(i, 1), 1, leaf))
}

// noElements writes an empty list.
func (t *tableWriter) noElements(leaf int) { t.batch[leaf] = append(t.batch[leaf], parquet.Value{}) }

// endRow ends a row. last says that the next row may begin a row group.
func (t *tableWriter) endRow(last bool) error {
	if t.err != nil {
		return t.err
	}
	t.rows++
	t.total++
	full := last && t.groupRows+t.rows >= t.perGroup
	if t.rows >= batchRows || t.bytes >= batchBytes || full {
		t.err = t.writeBatch()
	}
	if full && t.err == nil {
		t.groupRows = 0
		t.err = t.w.Flush()
	}
	return t.err
}

func (t *tableWriter) writeBatch() error {
	if t.rows == 0 {
		return nil // the library computes addresses of the values of an empty batch
	}
	for leaf, values := range t.batch {
		for len(values) < t.rows { // lists have at least a value in each row
			values = append(values, parquet.Value{})
		}
		if _, err := t.leaves[leaf].WriteRowValues(values); err != nil {
			return err
		}
		clear(values)
		t.batch[leaf] = values[:0]
	}
	t.groupRows += t.rows
	t.rows, t.bytes = 0, 0
	return nil
}

func (t *tableWriter) close() error {
	if t.err != nil {
		return t.err
	}
	t.err = errClosed
	if err := t.writeBatch(); err != nil {
		return fmt.Errorf("writing the last rows: %w", err)
	}
	if err := t.w.Flush(); err != nil {
		return fmt.Errorf("writing the last rows: %w", err)
	}
	t.end.holding = true
	if err := t.w.Close(); err != nil {
		return err
	}
	return t.end.finish()
}

// textValue is s without a copy: the writer copies it into its page before the batch is forgotten.
func textValue(s string) parquet.Value {
	return parquet.ByteArrayValue(unsafe.Slice(unsafe.StringData(s), len(s)))
}
