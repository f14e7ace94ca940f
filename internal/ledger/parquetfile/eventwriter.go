package parquetfile

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// Compare is the order of events in a file: customer, timestamp, event_id.
func Compare(a, b *usage.Event) int {
	if c := strings.Compare(a.Customer, b.Customer); c != 0 {
		return c
	}
	if c := cmp.Compare(a.Timestamp, b.Timestamp); c != 0 {
		return c
	}
	return strings.Compare(a.ID, b.ID)
}

// Sort brings events into the order of a file.
func Sort(events []usage.Event) {
	slices.SortFunc(events, func(a, b usage.Event) int { return Compare(&a, &b) })
}

// EventWriter writes an events file, in memory that does not grow with the number of events.
type EventWriter struct {
	t      *tableWriter
	last   usage.Event
	events int64
	export bool
}

// NewEventWriter writes to out; Close finishes the file, but does not close or sync out.
func NewEventWriter(out io.Writer) *EventWriter { return newEventWriter(out, RowsPerGroup) }

func newEventWriter(out io.Writer, rowsPerGroup int) *EventWriter {
	return &EventWriter{t: newTableWriter(out, eventTable, rowsPerGroup, "customer", "timestamp", "event_id")}
}

// NewExportWriter writes events in any order to a file that has the columns of events, but is no part of a ledger: OpenEvents
// refuses it.
func NewExportWriter(out io.Writer) *EventWriter {
	t := eventTable
	t.name = "export"
	return &EventWriter{t: newTableWriter(out, t, RowsPerGroup), export: true}
}

// Write adds an event, which must be normalized and come after the one before it in the order of Compare. A retraction's lines are
// what it takes away, negative. The file is unfinished after an error.
func (w *EventWriter) Write(e *usage.Event) error {
	if w.events > 0 && !w.export && Compare(&w.last, e) >= 0 {
		return fmt.Errorf("event %q of customer %q comes after event %q of customer %q: events are written once, in order", e.ID, e.Customer, w.last.ID, w.last.Customer)
	}
	if len(e.Lines) == 0 {
		return fmt.Errorf("event %q of customer %q has no lines", e.ID, e.Customer)
	}
	w.last.Customer, w.last.Timestamp, w.last.ID = e.Customer, e.Timestamp, e.ID
	w.events++
	for i := range e.Lines {
		if i > 0 && e.Lines[i-1].Meter >= e.Lines[i].Meter {
			return fmt.Errorf("event %q of customer %q has its meter %q out of order", e.ID, e.Customer, e.Lines[i].Meter)
		}
		if err := w.row(e, &e.Lines[i], i == len(e.Lines)-1); err != nil {
			return err
		}
	}
	return nil
}

func (w *EventWriter) row(e *usage.Event, l *usage.Line, last bool) error {
	t := w.t
	t.text(leafEventID, e.ID)
	t.text(leafKind, string(e.Kind))
	t.optionalText(leafCorrects, e.Corrects)
	t.int64(leafTimestamp, int64(e.Timestamp))
	t.int64(leafIngestedAt, int64(e.IngestedAt))
	t.text(leafCustomer, e.Customer)
	t.optionalText(leafUserID, e.UserID)
	t.optionalText(leafSessionID, e.SessionID)
	t.optionalText(leafConversationID, e.ConversationID)
	t.optionalText(leafFeature, e.Feature)
	t.optionalText(leafStep, e.Step)
	t.optionalText(leafAgent, e.Agent)
	t.optionalText(leafTraceID, e.TraceID)
	t.optionalText(leafSpanID, e.SpanID)
	t.optionalText(leafRunID, e.RunID)
	t.optionalText(leafOperation, e.Operation)
	t.optionalText(leafProvider, e.Provider)
	t.optionalText(leafModel, e.Model)
	t.text(leafMeter, l.Meter)
	t.text(leafUnit, l.Unit)
	t.int64(leafQuantity, int64(l.Quantity))
	w.charge(leafCost, l.Cost)
	w.charge(leafPrice, l.Price)
	t.text(leafSource, e.Source)
	t.text(leafService, e.Service)
	for i, f := range e.Flags {
		t.element(leafFlags, i, f)
	}
	if len(e.Flags) == 0 {
		t.noElements(leafFlags)
	}
	for i, d := range e.Dimensions {
		t.element(leafDimensionKey, i, d.Key)
		t.element(leafDimensionValue, i, d.Value)
	}
	if len(e.Dimensions) == 0 {
		t.noElements(leafDimensionKey)
		t.noElements(leafDimensionValue)
	}
	return t.endRow(last)
}

// charge writes amount, currency and rate, which are neighbours.
func (w *EventWriter) charge(leaf int, c usage.Charge) {
	if !c.Known() {
		return
	}
	w.t.optionalInt64(leaf, int64(c.Amount), true)
	w.t.optionalText(leaf+1, c.Currency)
	w.t.optionalText(leaf+2, c.Rate)
}

// Rows is how many rows were written.
func (w *EventWriter) Rows() int64 { return w.t.total }

// Events is how many events were written.
func (w *EventWriter) Events() int64 { return w.events }

// Close writes what is left and the footer.
func (w *EventWriter) Close() error { return w.t.close() }

// WriteEvents writes a whole events file. The events must be normalized and in the order of Compare.
func WriteEvents(out io.Writer, events []usage.Event) error {
	w := NewEventWriter(out)
	for i := range events {
		if err := w.Write(&events[i]); err != nil {
			return err
		}
	}
	return w.Close()
}
