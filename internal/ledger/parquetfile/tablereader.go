package parquetfile

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go"

	"github.com/usagebox/otelcol-usagebox/internal/decimal"
)

// ErrCorrupt says that a file is not what this package writes: cut short, changed, or something else. What was read from
// it before the error is not to be trusted.
var ErrCorrupt = errors.New("corrupt ledger file")

// ErrVersion says that a file has a form that this program doesn't know.
var ErrVersion = errors.New("ledger file of another version")

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrCorrupt}, args...)...)
}

// asCorrupt is deferred. It turns what the library says or panics with about bad bytes into ErrCorrupt; errors of the
// reader below, as EIO, stay what they are.
func asCorrupt(err *error) {
	if r := recover(); r != nil {
		*err = corrupt("%v", r)
		return
	}
	*err = corruption(*err)
}

// rowAsCorrupt is asCorrupt for what says io.EOF at its proper end.
func rowAsCorrupt(err *error) {
	if r := recover(); r != nil {
		*err = corrupt("%v", r)
		return
	}
	if !errors.Is(*err, io.EOF) {
		*err = corruption(*err)
	}
}

func corruption(err error) error {
	if err == nil || errors.Is(err, ErrCorrupt) || errors.Is(err, ErrVersion) || errors.Is(err, errRead) || errors.Is(err, errClosed) {
		return err
	}
	return corrupt("%v", err)
}

var errRead = errors.New("reading a ledger file")

// honestReader marks errors of the file system, so that they are not taken for corruption.
type honestReader struct{ r io.ReaderAt }

func (h honestReader) ReadAt(p []byte, off int64) (int, error) {
	n, err := h.r.ReadAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: %w", errRead, err)
	}
	return n, err
}

// tableFile is an open file of one of the tables. It holds the footer and the page index.
type tableFile struct {
	f     *parquet.File
	r     io.ReaderAt
	table table
	rows  int64
	// extra columns follow those of the table.
	extra []string
}

// openTable checks that the file is one of the table, in a version that is known. size is the file's.
func openTable(r io.ReaderAt, size int64, t table, extraColumns bool) (tf *tableFile, err error) {
	defer asCorrupt(&err)
	r = honestReader{r}
	if err := checkGuard(r, size); err != nil {
		return nil, err
	}
	f, err := parquet.OpenFile(r, size)
	if err != nil {
		return nil, err
	}
	if version, _ := f.Lookup(formatKey); version != formatVersion {
		return nil, fmt.Errorf("%w: %s is %.32q, this program reads %s", ErrVersion, formatKey, version, formatVersion)
	}
	if name, _ := f.Lookup(tableKey); name != t.name {
		return nil, corrupt("it holds the table %.32q, not %s", name, t.name)
	}
	tf = &tableFile{f: f, r: r, table: t, rows: f.NumRows()}
	if err := tf.check(t, extraColumns); err != nil {
		return nil, err
	}
	return tf, checkMetadata(f)
}

func (tf *tableFile) check(t table, extraColumns bool) error {
	want := t.schema.Columns()
	schema := tf.f.Schema()
	have := schema.Columns()
	for i, path := range want {
		if i >= len(have) || !slices.Equal(have[i], path) {
			return corrupt("column %d is not %s", i, strings.Join(path, "."))
		}
		leaf, ok := schema.Lookup(path...)
		ours, _ := t.schema.Lookup(path...)
		if !ok || leaf.MaxDefinitionLevel != ours.MaxDefinitionLevel || leaf.MaxRepetitionLevel != ours.MaxRepetitionLevel ||
			leaf.Node.Type().Kind() != ours.Node.Type().Kind() || leaf.Node.Type().Length() != ours.Node.Type().Length() {
			return corrupt("column %s is of another type", strings.Join(path, "."))
		}
	}
	for _, path := range have[len(want):] {
		leaf, ok := schema.Lookup(path...)
		if !extraColumns || !ok || len(path) != 1 || leaf.MaxDefinitionLevel != 1 || leaf.MaxRepetitionLevel != 0 || leaf.Node.Type().Kind() != parquet.ByteArray {
			return corrupt("unknown column %.64q", strings.Join(path, "."))
		}
		tf.extra = append(tf.extra, path[0])
		tf.table.columns = append(slices.Clip(tf.table.columns), nullable(path[0], text))
	}
	var rows int64
	for _, g := range tf.f.RowGroups() {
		if g.NumRows() < 0 || len(g.ColumnChunks()) != len(have) {
			return corrupt("a row group has %d columns and %d rows", len(g.ColumnChunks()), g.NumRows())
		}
		rows += g.NumRows()
	}
	if rows != tf.rows {
		return corrupt("its row groups have %d rows, its footer says %d", rows, tf.rows)
	}
	return nil
}

// rowReader reads a file row by row, in memory of a page per column.
type rowReader struct {
	tf      *tableFile
	group   int // the next row group
	cursors []cursor
	left    int64 // rows of the open row group
}

func (tf *tableFile) rowReader() *rowReader { return &rowReader{tf: tf} }

// nextRow goes to the next row; io.EOF when there is none. The row is then read leaf by leaf, each once.
func (r *rowReader) nextRow() (err error) {
	for r.left == 0 {
		r.close()
		if r.group == len(r.tf.f.RowGroups()) {
			return io.EOF
		}
		if err := r.open(r.group, 0); err != nil {
			return err
		}
		r.group++
	}
	r.left--
	return nil
}

// open reads a row group from a row on.
func (r *rowReader) open(group int, row int64) error {
	g := r.tf.f.RowGroups()[group]
	if r.cursors == nil {
		r.cursors = make([]cursor, len(g.ColumnChunks()))
	}
	for leaf := range r.cursors {
		if err := r.cursors[leaf].open(r.tf, group, leaf, row); err != nil {
			return err
		}
	}
	r.left = g.NumRows() - row
	return nil
}

func (r *rowReader) close() {
	for i := range r.cursors {
		r.cursors[i].close()
	}
	r.left = 0
}

// value is the next value of a leaf that is not repeated.
func (r *rowReader) value(leaf int) (parquet.Value, error) {
	v, err := r.cursors[leaf].next()
	if err != nil {
		return v, fmt.Errorf("column %d: %w", leaf, err)
	}
	return v, nil
}

func (r *rowReader) int64(leaf int) (int64, error) {
	v, err := r.value(leaf)
	if err != nil {
		return 0, err
	}
	return v.Int64(), nil
}

func (r *rowReader) optionalInt64(leaf int) (n int64, known bool, err error) {
	v, err := r.value(leaf)
	if err != nil || v.IsNull() {
		return 0, false, err
	}
	return v.Int64(), true, nil
}

func (r *rowReader) int128(leaf int) (n decimal.Int128, known bool, err error) {
	v, err := r.value(leaf)
	if err != nil || v.IsNull() {
		return decimal.Int128{}, false, err
	}
	return int128(v), true, nil
}

// text is a string of its own; null is "".
func (r *rowReader) text(leaf int) (string, error) {
	v, err := r.value(leaf)
	if err != nil || v.IsNull() {
		return "", err
	}
	return r.cursors[leaf].intern(v.ByteArray()), nil
}

// elements appends the row's values of a repeated leaf to dst.
func (r *rowReader) elements(leaf int, dst []string) ([]string, error) {
	c := &r.cursors[leaf]
	v, err := c.next()
	if err != nil {
		return dst, fmt.Errorf("column %d: %w", leaf, err)
	}
	if v.RepetitionLevel() != 0 {
		return dst, corrupt("column %d: a list has no beginning", leaf)
	}
	if v.DefinitionLevel() == 0 {
		return dst, nil
	}
	for {
		dst = append(dst, c.intern(v.ByteArray()))
		more, err := c.continues()
		if err != nil || !more {
			return dst, err
		}
		if v, err = c.next(); err != nil {
			return dst, err
		}
	}
}
