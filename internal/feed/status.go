package feed

import (
	"cmp"
	"math"
	"math/big"
	"slices"
	"time"

	"github.com/usagebox/otelcol-usagebox/internal/ledger"
)

// Status is where a receiver stands.
type Status struct {
	Receiver  string  `json:"receiver"`
	From      string  `json:"from,omitempty"` // RFC 3339: hours before it are not sent
	Made      uint64  `json:"made"`           // records
	Zero      uint64  `json:"zero"`           // of them those that needed no call, because their value is 0
	Pending   uint64  `json:"pending"`        // in the outbox, those under way among them
	Delivered uint64  `json:"delivered"`      // by calls
	Dead      int64   `json:"dead"`           // refused for good, until someone says otherwise
	Uncertain int64   `json:"uncertain"`      // that the receiver may have, and has forgotten the ids of
	Retries   uint64  `json:"retries"`        // records in calls that were not the first for them, or failed
	Hours     int     `json:"hours_waiting"`  // changed, and not yet made records of
	Oldest    string  `json:"oldest,omitempty"`
	LagS      int64   `json:"lag_s"`             // age of the oldest record that is pending, in seconds
	Carried   int     `json:"carried,omitempty"` // customers' meters of which something is below the receiver's smallest unit
	Carry     []Carry `json:"carry,omitempty"`   // that, by meter
	Down      string  `json:"down,omitempty"`    // why no call is made at present
}

// Carry is what is carried of a meter of all customers.
type Carry struct {
	Meter  string `json:"meter"`  // the receiver's
	Value  string `json:"value"`  // quantity, cost or price
	Amount string `json:"amount"` // decimal text, of the ledger's unit or the currency
}

// StatusNow is where each receiver stands. What costs a look into the store, the oldest and what is carried, is there only when whole is set.
func (f *Feed) StatusNow(whole bool) (all []Status, err error) {
	for _, r := range f.receivers {
		st := r.status()
		if whole {
			if err := r.lookThrough(&st); err != nil {
				return nil, err
			}
		}
		all = append(all, st)
	}
	return all, nil
}

func (r *receiver) status() Status {
	planned := r.shown.Load()
	s := r.sender
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Status{
		Receiver: r.name, Made: planned.Planned, Zero: planned.Zero, Delivered: s.counts.Delivered, Dead: s.counts.Dead, Uncertain: s.counts.Uncertain,
		Retries: s.counts.Retries, Hours: planned.hours,
		// A record may be delivered before others see that it was made.
		Pending: uint64(max(0, int64(planned.Planned-planned.Zero+s.counts.Requeued-s.counts.Delivered-s.counts.Letters))),
	}
	if planned.From > 0 {
		st.From = hourText(planned.From)
	}
	if s.down != nil {
		st.Down = s.down.Error()
	}
	if !s.oldest.IsZero() && st.Pending > 0 {
		st.LagS = int64(max(0, r.feed.o.Clock().Sub(s.oldest)) / time.Second)
	}
	return st
}

func (r *receiver) lookThrough(st *Status) error {
	oldest, err := r.noteOldest()
	if err != nil {
		return err
	}
	st.LagS = 0
	if !oldest.IsZero() {
		st.Oldest = formatTime(oldest)
		st.LagS = int64(max(0, r.feed.o.Clock().Sub(oldest)) / time.Second)
	}
	return r.feed.o.Books.View(func(v ledger.View) error { return r.carries(v, st) })
}

// carries adds up what is carried, by meter.
func (r *receiver) carries(v ledger.View, st *Status) error {
	sums := map[carry]*big.Int{}
	if err := scanPrefix(v, receiverKey(keyCarry, r.number), func(key, value []byte) error {
		st.Carried++
		var c carry
		if err := readJSON(key, value, &c); err != nil {
			return err
		}
		n, err := c.amount((&Meter{Value: c.Value}).scale())
		if err != nil {
			return err
		}
		of := carry{Meter: c.Meter, Value: c.Value}
		if sums[of] == nil {
			sums[of] = new(big.Int)
		}
		sums[of].Add(sums[of], n)
		return nil
	}); err != nil {
		return err
	}
	for of, sum := range sums {
		st.Carry = append(st.Carry, Carry{Meter: of.Meter, Value: of.Value, Amount: decimalText(sum, (&Meter{Value: of.Value}).scale())})
	}
	slices.SortFunc(st.Carry, func(a, b Carry) int { return cmp.Or(cmp.Compare(a.Meter, b.Meter), cmp.Compare(a.Value, b.Value)) })
	return nil
}

// oldest is when the oldest record in the outbox was made, the zero time when it is empty, and where that is. It looks at the first of each lane only: numbers rise.
func (r *receiver) oldest(v ledger.View) (at time.Time, first place, err error) {
	first = place{number: math.MaxUint64}
	if err := scanPrefix(v, receiverKey(keyOutbox, r.number), func(key, _ []byte) error {
		p := placeOf(key)
		if p.number < first.number {
			first = p
		}
		return ledger.SkipTo{Key: after(binaryLane(r.number, p.lane))}
	}); err != nil {
		return at, first, err
	}
	var record Record
	if found, err := getJSON(v, first.key(keyOutbox, r.number), &record); err != nil || !found {
		return at, first, err
	}
	return parseTime(record.CreatedAt), first, nil
}

// look is what was seen of the oldest record. While that record is there and none was put back it is the oldest.
type look struct {
	at       time.Time
	place    place
	requeued uint64
}

// noteOldest looks how long the outbox has waited, for those who ask for it without a look of their own. One through all lanes takes a while when there are many.
func (r *receiver) noteOldest() (oldest time.Time, err error) {
	r.looking.Lock()
	defer r.looking.Unlock()
	before, now := r.seen, look{}
	s := r.sender
	s.mu.Lock()
	now.requeued = s.counts.Requeued
	s.mu.Unlock()
	if r.status().Pending > 0 {
		if err := r.feed.o.Books.View(func(v ledger.View) error {
			if !before.at.IsZero() && before.requeued == now.requeued {
				if _, there, err := v.Get(before.place.key(keyOutbox, r.number)); err != nil || there {
					now = before
					return err
				}
			}
			now.at, now.place, err = r.oldest(v)
			return err
		}); err != nil {
			return before.at, err
		}
	}
	r.seen = now
	s.mu.Lock()
	defer s.mu.Unlock()
	s.oldest = now.at
	return now.at, nil
}
