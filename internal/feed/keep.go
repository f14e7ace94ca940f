package feed

import (
	"encoding/binary"
	"math"

	"github.com/usagebox/otelcol-usagebox/internal/ledger"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// KeepFrom is the first hour of which a receiver has yet to be sent something.
func (f *Feed) KeepFrom() (first usage.Hour, err error) {
	first = math.MaxUint32
	for _, r := range f.receivers {
		if err := f.o.Books.View(func(v ledger.View) error {
			h, err := r.keepFrom(v)
			first = min(first, h)
			return err
		}); err != nil {
			return 0, err
		}
	}
	return first, nil
}

// keepFrom looks at what has changed, then at what waits to be planned, then at the outbox: an hour goes this way.
func (r *receiver) keepFrom(v ledger.View) (first usage.Hour, err error) {
	first = math.MaxUint32
	var planned planState
	if _, err := getJSON(v, nameKey(r.name), &planned); err != nil {
		return 0, err
	}
	changes, err := v.Changes(planned.Change, math.MaxInt)
	if err != nil {
		return 0, err
	}
	for _, c := range changes {
		if c.Hour >= planned.From {
			first = min(first, c.Hour)
		}
	}
	if err := scanPrefix(v, receiverKey(keyDirty, r.number), func(key, _ []byte) error {
		first = min(first, usage.Hour(binary.BigEndian.Uint32(key[3:])))
		return ledger.ErrStop // they are in order
	}); err != nil {
		return 0, err
	}
	err = scanPrefix(v, receiverKey(keyOutbox, r.number), func(key, value []byte) error {
		record, err := parseRecord(key, value)
		if err != nil {
			return err
		}
		first = min(first, usage.MicrosOf(parseTime(record.Hour)).Hour())
		return nil
	})
	return first, err
}
