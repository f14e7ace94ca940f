package parquetfile

import (
	"errors"
	"io"

	"github.com/parquet-go/parquet-go"
)

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

// open reads a leaf of a row group from a row on.
func (c *cursor) open(tf *tableFile, group, leaf int, row int64) error {
	c.close()
	if err := tf.checkPages(group, leaf); err != nil {
		return err
	}
	c.pages = tf.f.RowGroups()[group].ColumnChunks()[leaf].Pages()
	c.err = nil
	if c.buf == nil {
		c.buf = make([]parquet.Value, max(1, min(cursorValues, tf.rows)))
	}
	if row > 0 {
		return c.pages.SeekToRow(row)
	}
	return nil
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
