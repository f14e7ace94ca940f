package parquetfile

import (
	"io"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// CustomerReader gives the events of one customer; it reads the pages in which the customer can be, no others.
type CustomerReader struct {
	f        *EventFile
	customer string
	group    int // the next row group
	events   *EventReader
}

// Customer reads the events of a customer in their order.
func (f *EventFile) Customer(customer string) *CustomerReader {
	return &CustomerReader{f: f, customer: customer}
}

// Next gives the next event, or io.EOF.
func (r *CustomerReader) Next(e *usage.Event) (err error) {
	defer rowAsCorrupt(&err)
	for {
		if r.events == nil {
			if r.group == len(r.f.tf.f.RowGroups()) {
				return io.EOF
			}
			if err := r.open(r.group); err != nil {
				return err
			}
			r.group++
			continue
		}
		if err := r.events.Next(e); err != nil && err != io.EOF { //nolint:errorlint // EOF is never wrapped
			return err
		} else if err == nil && e.Customer == r.customer {
			return nil
		}
		r.Close()
	}
}

// open begins at the customer's first row of a group, when there is one.
func (r *CustomerReader) open(group int) error {
	row, found, err := r.f.findCustomer(group, r.customer)
	if err != nil || !found {
		return err
	}
	events := &EventReader{rows: &rowReader{tf: r.f.tf, group: len(r.f.tf.f.RowGroups())}}
	r.events = events
	return events.rows.open(group, row)
}

// Close frees what the reader holds.
func (r *CustomerReader) Close() {
	if r.events != nil {
		r.events.Close()
		r.events = nil
	}
}

// findCustomer is the customer's first row in a row group.
func (f *EventFile) findCustomer(group int, customer string) (row int64, found bool, err error) {
	first, end, err := customerPages(f.tf.f.RowGroups()[group], customer)
	if err != nil || first >= end {
		return 0, false, err
	}
	var customers cursor
	defer customers.close()
	if err := customers.open(f.tf, group, leafCustomer, first); err != nil {
		return 0, false, err
	}
	for row = first; row < end; row++ {
		v, err := customers.next()
		if err != nil {
			return 0, false, err
		}
		if string(v.ByteArray()) >= customer {
			return row, string(v.ByteArray()) == customer, nil
		}
	}
	return 0, false, nil
}
