package parquetfile

import (
	"io"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// RefusedRow is one event that was not taken. Empty strings are null.
type RefusedRow struct {
	At       usage.Micros // when it arrived
	Customer string
	EventID  string
	TraceID  string
	SpanID   string
	Source   string
	Reason   string // one of usage.Reason…
	Payload  string // JSON text of the event
}

// WriteRefused writes a whole refused file, in the order of the rows.
func WriteRefused(out io.Writer, rows []RefusedRow) error {
	t := newTableWriter(out, refusedTable, RowsPerGroup)
	for i := range rows {
		r := &rows[i]
		t.int64(0, int64(r.At))
		for leaf, s := range [...]string{r.Customer, r.EventID, r.TraceID, r.SpanID, r.Source} {
			t.optionalText(1+leaf, s)
		}
		t.text(6, r.Reason)
		t.optionalText(7, r.Payload)
		if err := t.endRow(true); err != nil {
			return err
		}
	}
	return t.close()
}
