package parquetfile

import (
	"cmp"
	"container/heap"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// MicrosPerDay is the length of a day.
const MicrosPerDay = 24 * usage.MicrosPerHour

// RollupFile is an open rollups or daily file that is read row by row, in memory of a page per column.
type RollupFile struct {
	name     string // for errors
	rows     *rowReader
	extra    int
	grouping *Grouping
}

// OpenRollups opens a rollups file. name is for errors, which wrap ErrCorrupt or ErrVersion, or are those of r.
func OpenRollups(name string, r io.ReaderAt, size int64) (*RollupFile, error) {
	return openRollupFile(name, r, size, defaultGrouping.table)
}

// OpenDaily is OpenRollups for a daily file.
func OpenDaily(name string, r io.ReaderAt, size int64) (*RollupFile, error) {
	return openRollupFile(name, r, size, dailyTable)
}

func openRollupFile(name string, r io.ReaderAt, size int64, t table) (*RollupFile, error) {
	tf, err := openTable(r, size, t, true)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	g, err := tf.grouping()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &RollupFile{name: name, rows: tf.rowReader(), extra: len(tf.extra), grouping: g}, nil
}

// Grouping is what the file's rows are grouped by.
func (f *RollupFile) Grouping() *Grouping { return f.grouping }

// Next gives the next row, or io.EOF.
func (f *RollupFile) Next(row *RollupRow) error {
	*row = RollupRow{}
	err := oneRow(f.rows, f.extra, readRollup, row)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: %w", f.name, err)
	}
	return err
}

// Close frees what reading holds, not the file.
func (f *RollupFile) Close() { f.rows.close() }

// DayMerge gives the sums of a day's rollups and daily files, in the order of Compare. Its memory is a page for each column of each file, and the rows
// that differ only in dimensions beside the default ones: it doesn't grow with the number of customers.
type DayMerge struct {
	day   usage.Micros
	heads rollupHeads
	extra int // dimensions beside the default ones
	ready []RollupRow
	given int // of ready
}

type rollupHead struct {
	row    RollupRow
	file   *RollupFile
	number int   // so that equal rows have an order
	extra  []int // where the file's dimensions are among those of the merge
}

// NewDayMerge merges files of the day that begins at day into rows of g, which has all of their dimensions.
func NewDayMerge(day usage.Micros, g *Grouping, files ...*RollupFile) (*DayMerge, error) {
	m := &DayMerge{day: day, extra: len(g.extra)}
	for i, f := range files {
		h := &rollupHead{file: f, number: i}
		for _, name := range f.grouping.extra {
			h.extra = append(h.extra, slices.Index(g.extra, name))
		}
		switch err := h.file.Next(&h.row); {
		case err == nil:
			m.heads = append(m.heads, h)
		case !errors.Is(err, io.EOF):
			return nil, err
		}
	}
	heap.Init(&m.heads)
	return m, nil
}

// Next gives the next row, or io.EOF. A file that is out of order or of another day is ErrCorrupt.
func (m *DayMerge) Next(row *RollupRow) error {
	if m.given == len(m.ready) {
		if err := m.gather(); err != nil {
			return err
		}
	}
	*row = m.ready[m.given]
	m.given++
	return nil
}

// gather sums the rows of one key, but for the dimensions beside the default ones: so far all files have the same order.
func (m *DayMerge) gather() error {
	if len(m.heads) == 0 {
		return io.EOF
	}
	key := m.heads[0].row
	m.ready, m.given = m.ready[:0], 0
	for len(m.heads) > 0 && compareDefault(&m.heads[0].row, &key) == 0 {
		row, err := m.take()
		if err != nil {
			return err
		}
		if m.extra == 0 && len(m.ready) == 1 {
			if err := m.merge(&m.ready[0], &row); err != nil {
				return err
			}
			continue
		}
		m.ready = append(m.ready, row)
	}
	slices.SortStableFunc(m.ready, func(a, b RollupRow) int { return slices.Compare(a.Extra, b.Extra) })
	sums := m.ready[:1]
	for i := 1; i < len(m.ready); i++ {
		last := &sums[len(sums)-1]
		if !slices.Equal(last.Extra, m.ready[i].Extra) {
			sums = append(sums, m.ready[i])
		} else if err := m.merge(last, &m.ready[i]); err != nil {
			return err
		}
	}
	m.ready = sums
	return nil
}

func (m *DayMerge) merge(sum, row *RollupRow) error {
	if err := sum.Merge(row); err != nil {
		return fmt.Errorf("sum of a day of customer %q, meter %q: %w", row.Customer, row.Meter, err)
	}
	return nil
}

// take is the first of the heads, as a row of the merge; the file's next row is in its place.
func (m *DayMerge) take() (RollupRow, error) {
	h := m.heads[0]
	row := h.row
	if row.HourStart < m.day || row.HourStart >= m.day+MicrosPerDay {
		return row, corrupt("%s: customer %q, meter %q: it is of %s, another day", h.file.name, row.Customer, row.Meter, row.HourStart.Time().Format("2006-01-02T15Z"))
	}
	switch err := h.file.Next(&h.row); {
	case err == nil:
		if h.row.HourStart != row.HourStart || h.row.Compare(&row) <= 0 {
			return row, corrupt("%s: customer %q, meter %q: it is there twice, out of order or of another time", h.file.name, h.row.Customer, h.row.Meter)
		}
		heap.Fix(&m.heads, 0)
	case errors.Is(err, io.EOF):
		heap.Pop(&m.heads)
	default:
		return row, err
	}
	row.HourStart = m.day
	own := row.Extra
	row.Extra = nil
	if m.extra > 0 {
		row.Extra = make([]string, m.extra)
		for i, at := range h.extra {
			row.Extra[at] = own[i]
		}
	}
	return row, nil
}

// compareDefault compares what all groupings have, but not the time.
func compareDefault(a, b *RollupRow) int {
	return cmp.Or(
		strings.Compare(a.Customer, b.Customer),
		strings.Compare(a.Meter, b.Meter),
		strings.Compare(a.Feature, b.Feature),
		strings.Compare(a.Step, b.Step),
		strings.Compare(a.Agent, b.Agent),
		strings.Compare(a.Operation, b.Operation),
		strings.Compare(a.Provider, b.Provider),
		strings.Compare(a.Model, b.Model),
		strings.Compare(a.Unit, b.Unit),
		strings.Compare(a.Currency, b.Currency),
		strings.Compare(a.PriceCurrency, b.PriceCurrency),
	)
}

type rollupHeads []*rollupHead

func (h rollupHeads) Len() int      { return len(h) }
func (h rollupHeads) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *rollupHeads) Push(x any)   { *h = append(*h, x.(*rollupHead)) }

func (h rollupHeads) Less(i, j int) bool {
	if c := compareDefault(&h[i].row, &h[j].row); c != 0 {
		return c < 0
	}
	return h[i].number < h[j].number
}

func (h *rollupHeads) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
