package feed

import (
	"fmt"
	"reflect"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/usagebox/otelcol-usagebox/internal/ledger"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// Defaults of Spec.
const (
	DefaultWorkers    = 8
	DefaultRate       = 500
	DefaultMinBackoff = time.Second
	DefaultMaxBackoff = 5 * time.Minute
)

// Spec is a receiver and how it is treated.
type Spec struct {
	Name      string // type or type/name
	Receiver  Receiver
	Mapping   Mapping // valid
	Customers *Customers
	From      *usage.Hour // first hour that is sent; nil: all, or, when the ledger counted before the receiver was there, from the hour in which it came
	Zeroes    bool        // records whose value is 0 are sent too
	Parquet   bool        // the lines of a day become a Parquet file when it is over

	Workers    int           // calls at once
	Rate       int           // calls a second
	MinBackoff time.Duration // after the first failure
	MaxBackoff time.Duration
}

func (s *Spec) setDefaults() {
	if s.Customers == nil {
		s.Customers = &Customers{}
	}
	if s.Workers <= 0 {
		s.Workers = DefaultWorkers
	}
	if s.Rate <= 0 {
		s.Rate = DefaultRate
	}
	if s.MinBackoff <= 0 {
		s.MinBackoff = DefaultMinBackoff
	}
	if s.MaxBackoff < s.MinBackoff {
		s.MaxBackoff = max(DefaultMaxBackoff, s.MinBackoff)
	}
}

// openReceiver finds a receiver's books, or makes them.
func (f *Feed) openReceiver(spec Spec) (*receiver, error) {
	spec.setDefaults()
	r := &receiver{feed: f, name: spec.Name, spec: spec, wake: make(chan struct{}, 1), stale: true}
	if err := spec.Customers.Read(); err != nil {
		return nil, fmt.Errorf("customers: the file can't be read: %w", err)
	}
	if err := f.o.Books.Update(func(v ledger.View, b ledger.Batch) error {
		var st planState
		found, err := getJSON(v, nameKey(r.name), &st)
		if err != nil {
			return err
		}
		before := st
		if !found {
			if st, err = r.enter(v); err != nil {
				return err
			}
		}
		if spec.From != nil && (st.Configured == nil || *spec.From != *st.Configured) {
			if err := r.beginAt(v, b, &st, *spec.From); err != nil {
				return err
			}
		}
		if !st.ByHour {
			if err := countHours(v, b, st.Number); err != nil {
				return err
			}
			st.ByHour = true
		}
		st.Configured = spec.From
		st.Mappings = r.mappings(&st)
		if !found || !reflect.DeepEqual(before, st) {
			setJSON(b, nameKey(r.name), &st)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	if err := r.load(); err != nil {
		return nil, err
	}
	r.number = r.planned.Number
	r.sender = newSender(r)
	return r, r.sender.load()
}

// beginAt changes the first hour that is sent.
func (r *receiver) beginAt(v ledger.View, b ledger.Batch, st *planState, from usage.Hour) error {
	if from < st.From {
		st.Change = 0 // hours that were passed over are looked at again
	}
	st.From = from
	return v.Scan(receiverKey(keyDirty, st.Number), dirtyKey(st.Number, from), func(key, _ []byte) error {
		b.Delete(slices.Clone(key))
		return nil
	})
}

// enter makes the books of a receiver that was not there before.
func (r *receiver) enter(v ledger.View) (st planState, err error) {
	number := uint16(1)
	if err := scanPrefix(v, []byte{keyReceiver}, func(key, value []byte) error {
		var other planState
		err := readJSON(key, value, &other)
		number = max(number, other.Number+1)
		return err
	}); err != nil {
		return st, err
	}
	st = planState{Number: number, Next: 1}
	changes, err := v.Changes(0, 1)
	if err != nil || len(changes) == 0 || r.spec.From != nil {
		return st, err
	}
	st.From = r.feed.now().Hour()
	r.feed.o.Logger.Warn("a receiver of the billing feed is new and the ledger has counted before: it is sent hours from the present one on. Set its `from`, or use feed replay, to send earlier ones",
		zap.String("receiver", r.name), zap.String("from", hourText(st.From)))
	return st, nil
}

// mappings are a receiver's, with the present one for the hours of which no record has been made.
func (r *receiver) mappings(st *planState) []epoch {
	last := len(st.Mappings) - 1
	switch {
	case last >= 0 && reflect.DeepEqual(st.Mappings[last].Mapping, r.spec.Mapping):
		return st.Mappings
	case last < 0 || st.Planned == 0 || r.feed.o.sabotage == newMappingForAll:
		return []epoch{{Mapping: r.spec.Mapping}}
	}
	from := max(st.LastHour+1, r.feed.now().Hour())
	kept := slices.Clone(st.Mappings)
	if kept[last].From >= from {
		kept = kept[:last]
	}
	r.feed.o.Logger.Info("the mapping of a receiver of the billing feed has changed: hours before keep the one that they were sent by",
		zap.String("receiver", r.name), zap.String("from", hourText(from)))
	return append(kept, epoch{From: from, Mapping: r.spec.Mapping})
}
