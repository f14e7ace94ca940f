package parquetfile

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/usagebox/otelcol-usagebox/internal/decimal"
	"github.com/usagebox/otelcol-usagebox/usage"
)

type rollupKey struct {
	hour                                                       usage.Hour
	customer, feature, step, agent, operation, provider, model string
	meter, unit, currency, priceCurrency, extra                string
}

// RollupRow is one row of a rollups file: the sum over the rows of an events file that have its key. A row of a daily file is one as well: HourStart is
// the start of the day then.
type RollupRow struct {
	HourStart usage.Micros

	Customer      string
	Feature       string
	Step          string
	Agent         string
	Operation     string
	Provider      string
	Model         string
	Meter         string
	Unit          string
	Currency      string // "" when none of the rows has a cost
	PriceCurrency string

	Quantity       decimal.Int128 // millionths
	Cost           Money
	Price          Money
	Events         int64 // rows of events
	UncostedEvents int64
	UnpricedEvents int64
	FirstAt        usage.Micros
	LastAt         usage.Micros

	Extra []string // values of the grouping's other dimensions, in its order
}

// SameKey says whether a and b are sums under one key.
func (r *RollupRow) SameKey(o *RollupRow) bool { return r.Compare(o) == 0 }

// Compare orders by key: customer first, then hour and the rest.
func (r *RollupRow) Compare(o *RollupRow) int {
	if c := cmp.Or(strings.Compare(r.Customer, o.Customer), cmp.Compare(r.HourStart, o.HourStart)); c != 0 {
		return c
	}
	return cmp.Or(
		strings.Compare(r.Meter, o.Meter),
		strings.Compare(r.Feature, o.Feature),
		strings.Compare(r.Step, o.Step),
		strings.Compare(r.Agent, o.Agent),
		strings.Compare(r.Operation, o.Operation),
		strings.Compare(r.Provider, o.Provider),
		strings.Compare(r.Model, o.Model),
		strings.Compare(r.Unit, o.Unit),
		strings.Compare(r.Currency, o.Currency),
		strings.Compare(r.PriceCurrency, o.PriceCurrency),
		slices.Compare(r.Extra, o.Extra),
	)
}

// Rollup sums events. Its memory grows with the number of keys.
type Rollup struct {
	grouping *Grouping
	rows     map[rollupKey]*RollupRow
	recent   [recentLines]recentRow // by the line's place in its event: an event often has the keys of the one before it
}

// recentLines is for how many of an event's lines it is remembered where the last ones went.
const recentLines = 8

type recentRow struct {
	key rollupKey
	row *RollupRow
}

// NewRollup sums by g; nil is DefaultGrouping.
func NewRollup(g *Grouping) *Rollup {
	if g == nil {
		g = DefaultGrouping()
	}
	return &Rollup{grouping: g, rows: map[rollupKey]*RollupRow{}}
}

// Add adds the lines of e. After an error, which wraps ErrOverflow, the sums are not to be used.
func (r *Rollup) Add(e *usage.Event) error {
	for i := range e.Lines {
		l := &e.Lines[i]
		if err := r.row(r.grouping.key(e, l), i, e.Timestamp).add(e, l); err != nil {
			return fmt.Errorf("rollup of customer %q, meter %q: %w", e.Customer, l.Meter, err)
		}
	}
	return nil
}

// row is that of a key, for the i-th line of an event.
func (r *Rollup) row(k rollupKey, i int, at usage.Micros) *RollupRow {
	recent := &r.recent[i%recentLines]
	if recent.row != nil && recent.key == k {
		return recent.row
	}
	row := r.rows[k]
	if row == nil {
		row = newRollupRow(k, len(r.grouping.extra), at)
		r.rows[k] = row
	}
	*recent = recentRow{k, row}
	return row
}

func newRollupRow(k rollupKey, extra int, at usage.Micros) *RollupRow {
	row := &RollupRow{
		HourStart: k.hour.Start(), Customer: k.customer, Feature: k.feature, Step: k.step, Agent: k.agent,
		Operation: k.operation, Provider: k.provider, Model: k.model, Meter: k.meter, Unit: k.unit,
		Currency: k.currency, PriceCurrency: k.priceCurrency, FirstAt: at, LastAt: at,
	}
	if extra > 0 {
		row.Extra = strings.Split(k.extra, extraSeparator)
	}
	return row
}

func (r *RollupRow) add(e *usage.Event, l *usage.Line) (err error) {
	if r.Quantity, err = addSum(r.Quantity, decimal.FromInt64(int64(l.Quantity))); err != nil {
		return err
	}
	r.Events++
	if l.Cost.Known() {
		if err = r.Cost.add(decimal.FromInt64(int64(l.Cost.Amount))); err != nil {
			return err
		}
	} else {
		r.UncostedEvents++
	}
	if l.Price.Known() {
		if err = r.Price.add(decimal.FromInt64(int64(l.Price.Amount))); err != nil {
			return err
		}
	} else {
		r.UnpricedEvents++
	}
	r.FirstAt = min(r.FirstAt, e.Timestamp)
	r.LastAt = max(r.LastAt, e.Timestamp)
	return nil
}

// Merge adds the sums of o, which has the same key.
func (r *RollupRow) Merge(o *RollupRow) (err error) {
	if r.Quantity, err = addSum(r.Quantity, o.Quantity); err != nil {
		return err
	}
	if o.Cost.Known {
		if err = r.Cost.add(o.Cost.Amount); err != nil {
			return err
		}
	}
	if o.Price.Known {
		if err = r.Price.add(o.Price.Amount); err != nil {
			return err
		}
	}
	r.Events += o.Events
	r.UncostedEvents += o.UncostedEvents
	r.UnpricedEvents += o.UnpricedEvents
	r.FirstAt = min(r.FirstAt, o.FirstAt)
	r.LastAt = max(r.LastAt, o.LastAt)
	return nil
}

// Rows are the sums, ordered by Compare.
func (r *Rollup) Rows() []RollupRow {
	rows := make([]RollupRow, 0, len(r.rows))
	for _, row := range r.rows {
		rows = append(rows, *row)
	}
	slices.SortFunc(rows, func(a, b RollupRow) int { return a.Compare(&b) })
	return rows
}

// rollupColumns come before the grouping's own.
var rollupColumns = []column{
	required("hour_start", micros),
	required("customer", text),
	nullable("feature", text),
	nullable("step", text),
	nullable("agent", text),
	nullable("operation", text),
	nullable("provider", text),
	nullable("model", text),
	required("meter", text),
	required("unit", text),
	nullable("currency", text),
	nullable("price_currency", text),
	required("quantity", quantities),
	nullable("cost", amounts),
	nullable("price", amounts),
	required("events", count),
	required("uncosted_events", count),
	required("unpriced_events", count),
	required("first_at", micros),
	required("last_at", micros),
}

// tableOf is rollupTable, but for the usual one made once.
func tableOf(name string, extra []string) table {
	switch {
	case len(extra) > 0:
		return rollupTable(name, extra)
	case name == Daily:
		return dailyTable
	}
	return defaultGrouping.table
}

// rollupTable is the table of rollups or, under the name Daily, that of daily sums, which has days in place of hours.
func rollupTable(name string, extra []string) table {
	columns := slices.Clone(rollupColumns)
	if name == Daily {
		columns[0].name = "day_start"
	}
	for _, dimension := range extra {
		columns = append(columns, nullable(columnOf(dimension), text))
	}
	return newTable(name, columns)
}

var (
	defaultGrouping = &Grouping{table: rollupTable(Rollups, nil)}
	dailyTable      = rollupTable(Daily, nil)
)

// RollupWriter writes a rollups file row by row.
type RollupWriter struct {
	t *tableWriter
	g *Grouping
}

// NewRollupWriter writes rows that a Rollup of g has given, in any order; a nil g is DefaultGrouping.
func NewRollupWriter(out io.Writer, g *Grouping) *RollupWriter {
	if g == nil {
		g = DefaultGrouping()
	}
	return newRollupWriter(out, g, g.table)
}

// NewDailyWriter is NewRollupWriter for a daily file: HourStart of its rows is the start of their day.
func NewDailyWriter(out io.Writer, g *Grouping) *RollupWriter {
	if g == nil {
		g = DefaultGrouping()
	}
	return newRollupWriter(out, g, tableOf(Daily, g.extra))
}

func newRollupWriter(out io.Writer, g *Grouping, of table) *RollupWriter {
	t := newTableWriter(out, of, RollupRowsPerGroup)
	t.w.SetKeyValueMetadata(dimensionsKey, g.text())
	return &RollupWriter{t, g}
}

// Write adds a row.
func (w *RollupWriter) Write(r *RollupRow) error {
	t := w.t
	if len(r.Extra) != len(w.g.extra) {
		return fmt.Errorf("a rollup by %d dimensions more than the default is written to a file of %d", len(r.Extra), len(w.g.extra))
	}
	t.int64(0, int64(r.HourStart))
	t.text(1, r.Customer)
	for leaf, s := range [...]string{r.Feature, r.Step, r.Agent, r.Operation, r.Provider, r.Model} {
		t.optionalText(2+leaf, s)
	}
	t.text(8, r.Meter)
	t.text(9, r.Unit)
	t.optionalText(10, r.Currency)
	t.optionalText(11, r.PriceCurrency)
	t.int128(12, r.Quantity)
	t.optionalInt128(13, r.Cost.Amount, r.Cost.Known)
	t.optionalInt128(14, r.Price.Amount, r.Price.Known)
	for leaf, v := range [...]int64{r.Events, r.UncostedEvents, r.UnpricedEvents, int64(r.FirstAt), int64(r.LastAt)} {
		t.int64(15+leaf, v)
	}
	for i, s := range r.Extra {
		t.optionalText(len(rollupColumns)+i, s)
	}
	return t.endRow(true)
}

// Close writes what is left and the footer.
func (w *RollupWriter) Close() error { return w.t.close() }

// WriteRollups writes a whole rollups file.
func WriteRollups(out io.Writer, g *Grouping, rows []RollupRow) error {
	w := NewRollupWriter(out, g)
	for i := range rows {
		if err := w.Write(&rows[i]); err != nil {
			return err
		}
	}
	return w.Close()
}
