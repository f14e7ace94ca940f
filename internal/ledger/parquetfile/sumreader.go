package parquetfile

import (
	"encoding/json"
	"errors"
	"io"
	"slices"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// eachRow reads every row of a file and gives it to each, until that returns an error.
func eachRow[T any](r io.ReaderAt, size int64, t table, extraColumns bool, read func(rows *rowReader, extra int, row *T) error, each func(*T) error) error {
	tf, err := openTable(r, size, t, extraColumns)
	if err != nil {
		return err
	}
	rows := tf.rowReader()
	defer rows.close()
	for {
		var row T
		err := oneRow(rows, len(tf.extra), read, &row)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := each(&row); err != nil {
			return err
		}
	}
}

func oneRow[T any](rows *rowReader, extra int, read func(rows *rowReader, extra int, row *T) error, row *T) (err error) {
	defer rowAsCorrupt(&err)
	if err := rows.nextRow(); err != nil {
		return err
	}
	return read(rows, extra, row)
}

type textLeaf struct {
	leaf int
	to   *string
}

func readTexts(rows *rowReader, leaves ...textLeaf) error {
	for _, l := range leaves {
		s, err := rows.text(l.leaf)
		if err != nil {
			return err
		}
		*l.to = s
	}
	return nil
}

type intLeaf struct {
	leaf int
	to   *int64
}

func readInts(rows *rowReader, leaves ...intLeaf) (err error) {
	for _, l := range leaves {
		if *l.to, err = rows.int64(l.leaf); err != nil {
			return err
		}
	}
	return nil
}

func readMoney(rows *rowReader, leaf int, m *Money) (err error) {
	m.Amount, m.Known, err = rows.int128(leaf)
	return err
}

// RollupGrouping is what the rows of a rollups file are grouped by.
func RollupGrouping(r io.ReaderAt, size int64) (*Grouping, error) {
	tf, err := openTable(r, size, defaultGrouping.table, true)
	if err != nil {
		return nil, err
	}
	return tf.grouping()
}

// grouping is what the rows of a rollups or daily file are grouped by.
func (tf *tableFile) grouping() (*Grouping, error) {
	text, _ := tf.f.Lookup(dimensionsKey)
	var names []string
	if err := json.Unmarshal([]byte(text), &names); err != nil {
		return nil, corrupt("%s: %v", dimensionsKey, err)
	}
	g, err := newGrouping(names)
	if err != nil {
		return nil, corrupt("%s: %v", dimensionsKey, err)
	}
	if columns := g.Columns(); !slices.Equal(columns, tf.extra) {
		return nil, corrupt("%s: the columns %q for the dimensions %q", dimensionsKey, tf.extra, columns)
	}
	return g, nil
}

// ReadRollups gives every row of a rollups file to each, until it returns an error. Errors of the file wrap ErrCorrupt or
// ErrVersion, or are those of r.
func ReadRollups(r io.ReaderAt, size int64, each func(*RollupRow) error) error {
	return eachRow(r, size, defaultGrouping.table, true, readRollup, each)
}

func readRollup(rows *rowReader, extra int, row *RollupRow) (err error) {
	if err := readTexts(rows,
		textLeaf{1, &row.Customer}, textLeaf{2, &row.Feature}, textLeaf{3, &row.Step}, textLeaf{4, &row.Agent},
		textLeaf{5, &row.Operation}, textLeaf{6, &row.Provider}, textLeaf{7, &row.Model}, textLeaf{8, &row.Meter},
		textLeaf{9, &row.Unit}, textLeaf{10, &row.Currency}, textLeaf{11, &row.PriceCurrency}); err != nil {
		return err
	}
	if row.Quantity, _, err = rows.int128(12); err != nil {
		return err
	}
	if err := readMoney(rows, 13, &row.Cost); err != nil {
		return err
	}
	if err := readMoney(rows, 14, &row.Price); err != nil {
		return err
	}
	if err := readInts(rows,
		intLeaf{0, (*int64)(&row.HourStart)}, intLeaf{15, &row.Events}, intLeaf{16, &row.UncostedEvents},
		intLeaf{17, &row.UnpricedEvents}, intLeaf{18, (*int64)(&row.FirstAt)}, intLeaf{19, (*int64)(&row.LastAt)}); err != nil {
		return err
	}
	for i := range extra {
		s, err := rows.text(len(rollupColumns) + i)
		if err != nil {
			return err
		}
		row.Extra = append(row.Extra, s)
	}
	return nil
}

// ReadDaily gives every row of a daily file to each, as ReadRollups does.
func ReadDaily(r io.ReaderAt, size int64, each func(*RollupRow) error) error {
	return eachRow(r, size, dailyTable, true, readRollup, each)
}

// ReadRuns gives every row of a runs file to each, until it returns an error.
func ReadRuns(r io.ReaderAt, size int64, each func(*RunRow) error) error {
	return eachRow(r, size, runTable, false, readRun, each)
}

func readRun(rows *rowReader, _ int, row *RunRow) (err error) {
	money := runSumLeaf + len(RunMeters)
	if err := readTexts(rows,
		textLeaf{0, &row.RunID}, textLeaf{1, &row.Customer}, textLeaf{2, &row.UserID}, textLeaf{3, &row.Feature},
		textLeaf{4, &row.Agent}, textLeaf{7, &row.Status},
		textLeaf{money + 1, &row.Currency}, textLeaf{money + 3, &row.PriceCurrency}); err != nil {
		return err
	}
	var started, ended int64
	if started, row.Timed, err = rows.optionalInt64(5); err != nil {
		return err
	}
	if ended, _, err = rows.optionalInt64(6); err != nil {
		return err
	}
	row.StartedAt, row.EndedAt = usage.Micros(started), usage.Micros(ended)
	for i := range row.Sums {
		if row.Sums[i], _, err = rows.int128(runSumLeaf + i); err != nil {
			return err
		}
	}
	if err := readMoney(rows, money, &row.Cost); err != nil {
		return err
	}
	return readMoney(rows, money+2, &row.Price)
}

// ReadRefused gives every row of a refused file to each, until it returns an error.
func ReadRefused(r io.ReaderAt, size int64, each func(*RefusedRow) error) error {
	return eachRow(r, size, refusedTable, false, readRefused, each)
}

func readRefused(rows *rowReader, _ int, row *RefusedRow) error {
	if err := readInts(rows, intLeaf{0, (*int64)(&row.At)}); err != nil {
		return err
	}
	return readTexts(rows,
		textLeaf{1, &row.Customer}, textLeaf{2, &row.EventID}, textLeaf{3, &row.TraceID}, textLeaf{4, &row.SpanID},
		textLeaf{5, &row.Source}, textLeaf{6, &row.Reason}, textLeaf{7, &row.Payload})
}
