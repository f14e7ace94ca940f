package ledger

import (
	"encoding/binary"
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// The annex is a part of the ledger's store for those who keep books of their own on its totals, as the billing feed does. What they
// write after they have read totals is on disk only if those totals are: both are in one log.

// View reads the totals and the annex. It is valid during the call that gave it.
type View interface {
	// Get is the annex's value of a key, a copy.
	Get(key []byte) (value []byte, found bool, err error)
	// Scan calls each for the annex's keys in [low, high) in order, as of the moment of the call, until each fails; ErrStop ends it without
	// an error, and SkipTo passes over what is before its key. Key and value are only valid during the call of each.
	Scan(low, high []byte, each func(key, value []byte) error) error
	// Hour is what has become of an hour.
	Hour(h usage.Hour) (HourChange, error)
	// Changes is as Ledger.Changes.
	Changes(after uint64, limit int) ([]HourChange, error)
	// Totals calls each for the totals of an hour as of the moment of the call, customer after customer in an order of the
	// store's own, beginning behind the customer after, which may be empty, until each fails; ErrStop ends it without an error.
	Totals(h usage.Hour, after string, each func(*parquetfile.RollupRow) error) error
}

// Batch is a change of the annex.
type Batch interface {
	Set(key, value []byte)
	Delete(key []byte)
}

// ErrStop ends a View's Scan or Totals.
var ErrStop = errors.New("stop")

// SkipTo lets a View's Scan go on at a key that is behind the one that each was called for.
type SkipTo struct{ Key []byte }

func (SkipTo) Error() string { return "skip" }

// View lets f read. While the store is closed or failed the error is ErrBroken.
func (l *Ledger) View(f func(View) error) error {
	return l.read(func(s *state) error { return f(storeView{s}) })
}

// Update lets f read and change the annex, and makes the change durable. After an error of f nothing has changed; after an error of the store
// nothing is known until a later View.
func (l *Ledger) Update(f func(View, Batch) error) error {
	return l.read(func(s *state) error {
		b := batch{b: s.store.db.NewBatch()}
		if err := f(storeView{s}, &b); err != nil {
			return errors.Join(err, b.b.Close())
		}
		if b.err != nil {
			return errors.Join(b.err, b.b.Close())
		}
		if b.b.Empty() {
			return b.b.Close()
		}
		return s.store.commit(b.b)
	})
}

// read gives f the open state, which is not closed meanwhile.
func (l *Ledger) read(f func(*state) error) error {
	l.readers.RLock()
	defer l.readers.RUnlock()
	s, err := l.current()
	if err != nil {
		return err
	}
	return f(s)
}

type batch struct {
	b   *pebble.Batch
	err error // the first
}

func (b *batch) Set(key, value []byte) {
	b.err = errors.Join(b.err, b.b.Set(annexKey(key), value, nil))
}

func (b *batch) Delete(key []byte) {
	b.err = errors.Join(b.err, b.b.Delete(annexKey(key), nil))
}

func annexKey(key []byte) []byte { return append([]byte{keyAnnex}, key...) }

type storeView struct{ s *state }

func (r storeView) Get(key []byte) ([]byte, bool, error) { return r.s.store.get(annexKey(key)) }

func (r storeView) Scan(low, high []byte, each func(key, value []byte) error) error {
	return unlessStopped(r.s.store.scan(annexKey(low), annexKey(high), func(key, value []byte) error {
		err := each(key[1:], value)
		var skip SkipTo
		if errors.As(err, &skip) {
			return SkipTo{annexKey(skip.Key)}
		}
		return err
	}))
}

func unlessStopped(err error) error {
	if errors.Is(err, ErrStop) {
		return nil
	}
	return err
}

func (r storeView) Hour(h usage.Hour) (HourChange, error) {
	found, err := r.s.lookupHour(h)
	if err != nil {
		return HourChange{}, err
	}
	return HourChange{Change: found.Change, Hour: h, Sealed: found.Sealed, Open: found.openEvents()}, nil
}

func (r storeView) Changes(after uint64, limit int) (changes []HourChange, err error) {
	err = unlessStopped(r.s.store.scan(numberKey(keyChange, after+1), []byte{keyChange + 1}, func(key, value []byte) error {
		if len(changes) == limit {
			return ErrStop
		}
		if len(key) != 9 || len(value) != 4 {
			return corrupt("a change in the store", errors.New("it has another length"))
		}
		h := usage.Hour(binary.BigEndian.Uint32(value))
		changes = append(changes, HourChange{Change: binary.BigEndian.Uint64(key[1:]), Hour: h})
		return nil
	}))
	for i := range changes {
		h, lookupErr := r.Hour(changes[i].Hour)
		if lookupErr != nil {
			return nil, lookupErr
		}
		changes[i].Sealed, changes[i].Open = h.Sealed, h.Open
	}
	return changes, err
}

func (r storeView) Totals(h usage.Hour, after string, each func(*parquetfile.RollupRow) error) error {
	low := customerTotals(h, after)
	if after != "" {
		low = prefixEnd(low)
	}
	return r.scanTotals(low, prefixEnd(hourKey(keyTotal, h)), each)
}

func (r storeView) scanTotals(low, high []byte, each func(*parquetfile.RollupRow) error) error {
	return unlessStopped(r.s.store.scan(low, high, func(key, value []byte) error {
		row, err := decodeTotal(key, value)
		if err != nil {
			return err
		}
		return each(&row)
	}))
}
