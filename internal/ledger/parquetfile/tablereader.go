package parquetfile

import (
	"encoding/binary"
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
	f    *parquet.File
	rows int64
	// extra columns follow those of the table.
	extra []string
}

// openTable checks that the file is one of the table, in a version that is known. size is the file's.
func openTable(r io.ReaderAt, size int64, t table, extraColumns bool) (tf *tableFile, err error) {
	defer asCorrupt(&err)
	if err := checkEnd(r, size); err != nil {
		return nil, err
	}
	f, err := parquet.OpenFile(honestReader{r}, size, parquet.SkipMagicBytes(false))
	if err != nil {
		return nil, err
	}
	if version, _ := f.Lookup(formatKey); version != formatVersion {
		return nil, fmt.Errorf("%w: %s is %.32q, this program reads %s", ErrVersion, formatKey, version, formatVersion)
	}
	if name, _ := f.Lookup(tableKey); name != t.name {
		return nil, corrupt("it holds the table %.32q, not %s", name, t.name)
	}
	tf = &tableFile{f: f, rows: f.NumRows()}
	return tf, tf.check(t, extraColumns)
}

// checkEnd looks at the footer's length before anything is allocated for it.
func checkEnd(r io.ReaderAt, size int64) error {
	const magic = "PAR1"
	if size < int64(2*len(magic)+4) {
		return corrupt("it has %d bytes", size)
	}
	var end [8]byte
	if _, err := (honestReader{r}).ReadAt(end[:], size-8); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if string(end[4:]) != magic {
		return corrupt("it does not end in %s", magic)
	}
	if n := int64(binary.LittleEndian.Uint32(end[:4])); n > size-12 {
		return corrupt("a footer of %d bytes does not fit into a file of %d", n, size)
	}
	return nil
}

func (tf *tableFile) check(t table, extraColumns bool) error {
	want := t.schema().Columns()
	schema := tf.f.Schema()
	have := schema.Columns()
	for i, path := range want {
		if i >= len(have) || !slices.Equal(have[i], path) {
			return corrupt("column %d is not %s", i, strings.Join(path, "."))
		}
		leaf, ok := schema.Lookup(path...)
		ours, _ := t.schema().Lookup(path...)
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
	groups  []parquet.RowGroup
	cursors []cursor
	left    int64 // rows of the open row group
}

func (tf *tableFile) rowReader() *rowReader { return &rowReader{groups: tf.f.RowGroups()} }

// nextRow goes to the next row; io.EOF when there is none. The row is then read leaf by leaf, each once.
func (r *rowReader) nextRow() (err error) {
	for r.left == 0 {
		r.close()
		if len(r.groups) == 0 {
			return io.EOF
		}
		g := r.groups[0]
		r.groups = r.groups[1:]
		r.open(g, 0)
	}
	r.left--
	return nil
}

// open reads g from a row on.
func (r *rowReader) open(g parquet.RowGroup, row int64) {
	chunks := g.ColumnChunks()
	if len(r.cursors) != len(chunks) {
		r.cursors = make([]cursor, len(chunks))
	}
	for i, c := range chunks {
		r.cursors[i].open(c, row)
	}
	r.left = g.NumRows() - row
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

const cursorValues = 256

// cursor reads the values of one column chunk.
type cursor struct {
	pages  parquet.Pages
	page   parquet.Page
	values parquet.ValueReader
	buf    []parquet.Value
	i, n   int
	err    error
	last   string
	known  map[string]string
}

func (c *cursor) open(chunk parquet.ColumnChunk, row int64) {
	c.close()
	c.pages = chunk.Pages()
	c.err = nil
	if row > 0 {
		c.err = c.pages.SeekToRow(row)
	}
	if c.buf == nil {
		c.buf = make([]parquet.Value, cursorValues)
	}
}

func (c *cursor) close() {
	c.releasePage()
	if c.pages != nil {
		_ = c.pages.Close()
		c.pages = nil
	}
}

func (c *cursor) releasePage() {
	if c.page != nil {
		parquet.Release(c.page)
		c.page, c.values = nil, nil
	}
	c.i, c.n = 0, 0
}

// fill makes sure that there is a value at c.i.
func (c *cursor) fill() error {
	for c.i == c.n {
		if c.err != nil {
			return c.err
		}
		if c.values == nil {
			page, err := c.pages.ReadPage()
			if err != nil {
				c.err = err
				return err
			}
			c.page, c.values = page, page.Values()
		}
		n, err := c.values.ReadValues(c.buf)
		c.i, c.n = 0, n
		switch {
		case n > 0:
		case err == nil:
			return io.ErrNoProgress
		case errors.Is(err, io.EOF):
			c.releasePage()
		default:
			c.err = err
			return err
		}
	}
	return nil
}

// next is the next value; it is valid until the one after it is asked for. The column's end is an error: there are as
// many rows in each column.
func (c *cursor) next() (parquet.Value, error) {
	if err := c.fill(); err != nil {
		if errors.Is(err, io.EOF) {
			err = corrupt("ends too early")
		}
		return parquet.Value{}, err
	}
	v := c.buf[c.i]
	c.i++
	return v, nil
}

// continues says whether the next value belongs to the row of the last one.
func (c *cursor) continues() (bool, error) {
	err := c.fill()
	if errors.Is(err, io.EOF) {
		return false, nil
	}
	return err == nil && c.buf[c.i].RepetitionLevel() > 0, err
}

const internLimit = 1024

// intern is b as a string, without an allocation for values that come again and again.
func (c *cursor) intern(b []byte) string {
	if string(b) == c.last {
		return c.last
	}
	s, ok := c.known[string(b)]
	if !ok {
		s = string(b)
		if c.known == nil || len(c.known) >= internLimit {
			c.known = make(map[string]string)
		}
		c.known[s] = s
	}
	c.last = s
	return s
}
