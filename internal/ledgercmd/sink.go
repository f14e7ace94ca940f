package ledgercmd

import (
	"encoding/csv"
	"errors"
	"io"
	"slices"

	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// sink takes rows of one table. Only the method of its table is called.
type sink interface {
	event(e *usage.Event) error
	rollup(r *parquetfile.RollupRow, g *parquetfile.Grouping) error
	run(r *parquetfile.RunRow) error
	refused(r *parquetfile.RefusedRow) error
	close() error
}

func newSink(w io.Writer, table, format string) (sink, error) {
	switch format {
	case "csv":
		return &textSink{csv: csv.NewWriter(w), table: table}, nil
	case "ndjson":
		return &textSink{ndjson: w, table: table}, nil
	}
	if table == parquetfile.Refused {
		return &parquetSink{out: w, rejected: []parquetfile.RefusedRow{}}, nil
	}
	s := &parquetSink{out: w}
	switch table {
	case parquetfile.Events:
		s.events = parquetfile.NewExportWriter(w)
	case parquetfile.Runs:
		s.runs = parquetfile.NewRunWriter(w)
	}
	return s, nil
}

// textSink writes CSV, with a heading, or NDJSON.
type textSink struct {
	csv    *csv.Writer
	ndjson io.Writer
	table  string
	names  []string
}

func (s *textSink) row(r row) error {
	if s.csv == nil {
		text, err := r.MarshalJSON()
		if err != nil {
			return err
		}
		_, err = s.ndjson.Write(append(text, '\n'))
		return err
	}
	if s.names == nil {
		s.names = r.names
		if err := s.csv.Write(r.names); err != nil {
			return err
		}
	}
	if !slices.Equal(s.names, r.names) {
		return errors.New("rollups of the range are grouped by different dimensions: export them as ndjson, or in two ranges")
	}
	cells, err := r.cells()
	if err != nil {
		return err
	}
	return s.csv.Write(cells)
}

func (s *textSink) event(e *usage.Event) error {
	for _, r := range eventRows(e) {
		if err := s.row(r); err != nil {
			return err
		}
	}
	return nil
}

func (s *textSink) rollup(r *parquetfile.RollupRow, g *parquetfile.Grouping) error {
	return s.row(rollupRow(r, g.Columns()))
}

func (s *textSink) run(r *parquetfile.RunRow) error { return s.row(runRow(r)) }

func (s *textSink) refused(r *parquetfile.RefusedRow) error { return s.row(refusedRow(r)) }

func (s *textSink) close() error {
	if s.csv == nil {
		return nil
	}
	if s.names == nil { // nothing was in the range: the heading alone
		names := map[string][]string{
			parquetfile.Events: eventNames, parquetfile.Runs: runNames, parquetfile.Refused: refusedNames,
			parquetfile.Rollups: rollupRow(&parquetfile.RollupRow{}, nil).names,
		}
		if err := s.csv.Write(names[s.table]); err != nil {
			return err
		}
	}
	s.csv.Flush()
	return s.csv.Error()
}

type parquetSink struct {
	out      io.Writer
	events   *parquetfile.EventWriter
	rollups  *parquetfile.RollupWriter
	grouping *parquetfile.Grouping
	runs     *parquetfile.RunWriter
	rejected []parquetfile.RefusedRow // nil for other tables
}

func (s *parquetSink) event(e *usage.Event) error { return s.events.Write(e) }

func (s *parquetSink) rollup(r *parquetfile.RollupRow, g *parquetfile.Grouping) error {
	if s.rollups == nil {
		s.rollups, s.grouping = parquetfile.NewRollupWriter(s.out, g), g
	}
	if !slices.Equal(g.Dimensions(), s.grouping.Dimensions()) {
		return errors.New("rollups of the range are grouped by different dimensions: export them as ndjson, or in two ranges")
	}
	return s.rollups.Write(r)
}

func (s *parquetSink) run(r *parquetfile.RunRow) error { return s.runs.Write(r) }

func (s *parquetSink) refused(r *parquetfile.RefusedRow) error {
	s.rejected = append(s.rejected, *r)
	return nil
}

func (s *parquetSink) close() error {
	switch {
	case s.events != nil:
		return s.events.Close()
	case s.runs != nil:
		return s.runs.Close()
	case s.rollups != nil:
		return s.rollups.Close()
	case s.rejected != nil:
		return parquetfile.WriteRefused(s.out, s.rejected)
	}
	return parquetfile.WriteRollups(s.out, nil, nil)
}
