package parquetfile

import (
	"io"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// PartWriter writes the three files of a part at once: its events, and their rollups and runs. The events file is
// written as events come; the sums are kept until Close.
type PartWriter struct {
	events     *EventWriter
	rollup     *Rollup
	runs       *RunSums
	totals     TotalSums
	grouping   *Grouping
	rollupsOut io.Writer
	runsOut    io.Writer
}

// NewPartWriter writes to three files, which the caller syncs and closes. A nil grouping is DefaultGrouping.
func NewPartWriter(events, rollups, runs io.Writer, g *Grouping) *PartWriter {
	if g == nil {
		g = DefaultGrouping()
	}
	return &PartWriter{
		events: NewEventWriter(events), rollup: NewRollup(g), runs: NewRunSums(),
		grouping: g, rollupsOut: rollups, runsOut: runs,
	}
}

// Write adds an event; see EventWriter.Write. The part is unfinished after an error.
func (w *PartWriter) Write(e *usage.Event) error {
	if err := w.events.Write(e); err != nil {
		return err
	}
	if err := w.rollup.Add(e); err != nil {
		return err
	}
	if err := w.runs.Add(e); err != nil {
		return err
	}
	return w.totals.Add(e)
}

// Rollups are the sums of what was written so far, as they are in the rollups file.
func (w *PartWriter) Rollups() []RollupRow { return w.rollup.Rows() }

// Rows is how many rows of events were written.
func (w *PartWriter) Rows() int64 { return w.events.Rows() }

// Close finishes the three files and says what is in them.
func (w *PartWriter) Close() (Totals, error) {
	if err := w.events.Close(); err != nil {
		return Totals{}, err
	}
	if err := WriteRollups(w.rollupsOut, w.grouping, w.rollup.Rows()); err != nil {
		return Totals{}, err
	}
	if err := WriteRuns(w.runsOut, w.runs.Rows()); err != nil {
		return Totals{}, err
	}
	return w.totals.Totals(), nil
}
