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

// keepFrom looks at what has changed, then at what waits to be planned, then at the outbox: an hour goes this way. How much waits makes no difference to its work.
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
	err = scanPrefix(v, receiverKey(keyQueued, r.number), func(key, value []byte) error {
		h := usage.Hour(binary.BigEndian.Uint32(key[3:]))
		queued, err := countOf(key, value)
		if err != nil {
			return err
		}
		left, err := hourCount(v, hourKey(keyLeft, r.number, h))
		if err == nil && queued != left {
			first = min(first, h)
			err = ledger.ErrStop // they are in order
		}
		return err
	})
	return first, err
}

// countHours counts the records in the outbox by hour, where a program has sent that didn't: this one's counts of before, if there are any, are of then.
func countHours(v ledger.View, b ledger.Batch, receiver uint16) error {
	counts := map[usage.Hour]int64{}
	if err := scanPrefix(v, receiverKey(keyQueued, receiver), func(key, _ []byte) error {
		counts[usage.Hour(binary.BigEndian.Uint32(key[3:]))] = 0
		return nil
	}); err != nil {
		return err
	}
	if err := scanPrefix(v, receiverKey(keyOutbox, receiver), func(key, value []byte) error {
		record, err := parseRecord(key, value)
		counts[record.hour()]++
		return err
	}); err != nil {
		return err
	}
	for h, n := range counts {
		left, err := hourCount(v, hourKey(keyLeft, receiver, h))
		if err != nil {
			return err
		}
		b.Set(hourKey(keyQueued, receiver, h), binary.BigEndian.AppendUint64(nil, uint64(n+left)))
	}
	return nil
}
