package parquetfile

import (
	"errors"
	"io"

	"github.com/parquet-go/parquet-go"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// EventFile is an open events file. It holds the footer and the page index, and reads the rest as needed. It can be used
// from several goroutines at once if its reader can.
type EventFile struct{ tf *tableFile }

// OpenEvents opens an events file of size bytes. Errors wrap ErrCorrupt or ErrVersion, or are those of r.
func OpenEvents(r io.ReaderAt, size int64) (*EventFile, error) {
	tf, err := openTable(r, size, eventTable, false)
	if err != nil {
		return nil, err
	}
	return &EventFile{tf}, nil
}

// Rows is how many rows the file has.
func (f *EventFile) Rows() int64 { return f.tf.rows }

// Events reads the file's events from the first to the last.
func (f *EventFile) Events() *EventReader { return &EventReader{rows: f.tf.rowReader()} }

// EventReader reads events one after the other, in bounded memory.
type EventReader struct {
	rows    *rowReader
	pending usage.Event // the row after the last event, when there is one
	has     bool
	err     error
}

// Next reads the next event into e, which keeps nothing of what it held; io.EOF when there is none. Rows that follow each other
// are one event if their key, times, kind and target are the same and their meters ascend: two events of one key stay two.
func (r *EventReader) Next(e *usage.Event) (err error) {
	if r.err != nil {
		return r.err
	}
	defer func() { r.err = err }()
	return r.next(e)
}

func (r *EventReader) next(e *usage.Event) (err error) {
	defer rowAsCorrupt(&err)
	if !r.has {
		if err := r.readRow(&r.pending); err != nil {
			return err
		}
	}
	*e, r.has = r.pending, false
	for {
		err := r.readRow(&r.pending)
		if errors.Is(err, io.EOF) {
			return nil // the next call says so
		}
		if err != nil {
			return err
		}
		if !continuesEvent(e, &r.pending) {
			r.has = true
			return nil
		}
		e.Lines = append(e.Lines, r.pending.Lines[0])
	}
}

func continuesEvent(e, row *usage.Event) bool {
	return e.ID == row.ID && e.Customer == row.Customer && e.Lines[len(e.Lines)-1].Meter < row.Lines[0].Meter &&
		e.Timestamp == row.Timestamp && e.IngestedAt == row.IngestedAt && e.Kind == row.Kind && e.Corrects == row.Corrects
}

// Close frees what the reader holds.
func (r *EventReader) Close() {
	r.rows.close()
	if r.err == nil {
		r.err = errClosed
	}
}

// readRow reads a row as an event of one line.
func (r *EventReader) readRow(e *usage.Event) error {
	if err := r.rows.nextRow(); err != nil {
		return err
	}
	*e = usage.Event{Lines: make([]usage.Line, 1, 2)}
	l := &e.Lines[0]
	if err := readTexts(
		r.rows,
		textLeaf{leafEventID, &e.ID},
		textLeaf{leafKind, (*string)(&e.Kind)},
		textLeaf{leafCorrects, &e.Corrects},
		textLeaf{leafCustomer, &e.Customer},
		textLeaf{leafUserID, &e.UserID},
		textLeaf{leafSessionID, &e.SessionID},
		textLeaf{leafConversationID, &e.ConversationID},
		textLeaf{leafFeature, &e.Feature},
		textLeaf{leafStep, &e.Step},
		textLeaf{leafAgent, &e.Agent},
		textLeaf{leafTraceID, &e.TraceID},
		textLeaf{leafSpanID, &e.SpanID},
		textLeaf{leafRunID, &e.RunID},
		textLeaf{leafOperation, &e.Operation},
		textLeaf{leafProvider, &e.Provider},
		textLeaf{leafModel, &e.Model},
		textLeaf{leafMeter, &l.Meter},
		textLeaf{leafUnit, &l.Unit},
		textLeaf{leafSource, &e.Source},
		textLeaf{leafService, &e.Service},
	); err != nil {
		return err
	}
	if err := readInts(
		r.rows,
		intLeaf{leafTimestamp, (*int64)(&e.Timestamp)},
		intLeaf{leafIngestedAt, (*int64)(&e.IngestedAt)},
		intLeaf{leafQuantity, (*int64)(&l.Quantity)},
	); err != nil {
		return err
	}
	if err := r.readCharge(leafCost, &l.Cost); err != nil {
		return err
	}
	if err := r.readCharge(leafPrice, &l.Price); err != nil {
		return err
	}
	return r.readLists(e)
}

func (r *EventReader) readCharge(leaf int, c *usage.Charge) error {
	n, known, err := r.rows.optionalInt64(leaf)
	if err != nil {
		return err
	}
	if c.Currency, err = r.rows.text(leaf + 1); err != nil {
		return err
	}
	if c.Rate, err = r.rows.text(leaf + 2); err != nil {
		return err
	}
	c.Amount = usage.Amount(n)
	if known != c.Known() {
		return corrupt("column %d: an amount without a rate, or a rate without an amount", leaf)
	}
	return nil
}

func (r *EventReader) readLists(e *usage.Event) (err error) {
	if e.Flags, err = r.rows.elements(leafFlags, nil); err != nil {
		return err
	}
	keys, err := r.rows.elements(leafDimensionKey, nil)
	if err != nil {
		return err
	}
	values, err := r.rows.elements(leafDimensionValue, nil)
	if err != nil {
		return err
	}
	if len(keys) != len(values) {
		return corrupt("%d dimensions have %d values", len(keys), len(values))
	}
	for i, k := range keys {
		e.Dimensions = append(e.Dimensions, usage.Dimension{Key: k, Value: values[i]})
	}
	return nil
}

// Lookup reads the event of a key into e. Where the file has no such event, found is false: nearly always after a look into bloom
// filters alone. Otherwise it costs the pages of its customer's ids in one row group.
func (f *EventFile) Lookup(key usage.Key, e *usage.Event) (found bool, err error) {
	defer asCorrupt(&err)
	id := parquet.ByteArrayValue([]byte(key.ID))
	for group, g := range f.tf.f.RowGroups() {
		filter := g.ColumnChunks()[leafEventID].BloomFilter()
		if filter == nil {
			return false, corrupt("a row group has no bloom filter")
		}
		maybe, err := filter.Check(id)
		if err != nil {
			return false, err
		}
		if !maybe {
			continue
		}
		row, ok, err := f.find(group, key)
		if err != nil {
			return false, err
		}
		if ok {
			return true, f.readAt(group, row, e)
		}
	}
	return false, nil
}

// readAt reads the event that begins at a row of a row group.
func (f *EventFile) readAt(group int, row int64, e *usage.Event) error {
	r := &EventReader{rows: &rowReader{tf: f.tf, group: group + 1}}
	defer r.Close()
	if err := r.rows.open(group, row); err != nil {
		return err
	}
	return r.Next(e)
}

// find is the first row of a key's event in a row group.
func (f *EventFile) find(group int, key usage.Key) (row int64, found bool, err error) {
	first, end, err := customerPages(f.tf.f.RowGroups()[group], key.Customer)
	if err != nil || first >= end {
		return 0, false, err
	}
	var customers, ids cursor
	defer customers.close()
	if err := customers.open(f.tf, group, leafCustomer, first); err != nil {
		return 0, false, err
	}
	row = first
	for ; row < end; row++ { // to the customer's first row
		v, err := customers.next()
		if err != nil {
			return 0, false, err
		}
		if b := v.ByteArray(); string(b) == key.Customer {
			break
		} else if string(b) > key.Customer {
			return 0, false, nil
		}
	}
	if row == end {
		return 0, false, nil
	}
	defer ids.close()
	if err := ids.open(f.tf, group, leafEventID, row); err != nil {
		return 0, false, err
	}
	for {
		v, err := ids.next()
		if err != nil {
			return 0, false, err
		}
		if string(v.ByteArray()) == key.ID {
			return row, true, nil
		}
		if row++; row >= end {
			return 0, false, nil
		}
		v, err = customers.next()
		if err != nil {
			return 0, false, err
		}
		if string(v.ByteArray()) != key.Customer {
			return 0, false, nil
		}
	}
}

// customerPages is the range of rows whose pages can have the customer.
func customerPages(g parquet.RowGroup, customer string) (first, end int64, err error) {
	chunk := g.ColumnChunks()[leafCustomer]
	index, err := chunk.ColumnIndex()
	if err != nil {
		return 0, 0, err
	}
	offsets, err := chunk.OffsetIndex()
	if err != nil {
		return 0, 0, err
	}
	pages := min(index.NumPages(), offsets.NumPages())
	first, end = -1, g.NumRows()
	for i := range pages {
		if string(index.MaxValue(i).ByteArray()) < customer {
			continue
		}
		if string(index.MinValue(i).ByteArray()) > customer {
			end = offsets.FirstRowIndex(i)
			break
		}
		if first < 0 {
			first = offsets.FirstRowIndex(i)
		}
	}
	if first < 0 {
		return 0, 0, nil
	}
	return first, min(end, g.NumRows()), nil
}
