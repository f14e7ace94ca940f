package feed

import (
	"time"

	"github.com/usagebox/otelcol-usagebox/internal/ledger"
)

// Status is where a receiver stands.
type Status struct {
	Receiver  string `json:"receiver"`
	From      string `json:"from,omitempty"` // RFC 3339: hours before it are not sent
	Made      uint64 `json:"made"`           // records
	Zero      uint64 `json:"zero"`           // of them those that needed no call, because their value is 0
	Pending   uint64 `json:"pending"`        // in the outbox, those under way among them
	Delivered uint64 `json:"delivered"`      // by calls
	Dead      int64  `json:"dead"`           // refused for good, until someone says otherwise
	Uncertain int64  `json:"uncertain"`      // that the receiver may have, and has forgotten the ids of
	Retries   uint64 `json:"retries"`        // records in calls that were not the first for them, or failed
	Hours     int    `json:"hours_waiting"`  // changed, and not yet made records of
	Oldest    string `json:"oldest,omitempty"`
	LagS      int64  `json:"lag_s"` // age of the oldest record that is pending, in seconds
	Carried   int    `json:"carried,omitempty"`
	Down      string `json:"down,omitempty"` // why no call is made at present
}

// StatusNow is where each receiver stands. What costs a look at every record, the oldest and what is carried, is there only when whole is set.
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
		Retries: s.counts.Retries, Hours: planned.hours, Pending: planned.Planned - planned.Zero + s.counts.Requeued - s.counts.Delivered - s.counts.Letters,
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
	return r.feed.o.Books.View(func(v ledger.View) error {
		var oldest time.Time
		if err := scanPrefix(v, receiverKey(keyOutbox, r.number), func(key, value []byte) error {
			var record Record
			if err := readJSON(key, value, &record); err != nil {
				return err
			}
			if at := parseTime(record.CreatedAt); oldest.IsZero() || at.Before(oldest) {
				oldest = at
			}
			return nil
		}); err != nil {
			return err
		}
		if !oldest.IsZero() {
			st.Oldest = formatTime(oldest)
			st.LagS = int64(max(0, r.feed.o.Clock().Sub(oldest)) / time.Second)
		}
		return scanPrefix(v, receiverKey(keyCarry, r.number), func([]byte, []byte) error {
			st.Carried++
			return nil
		})
	})
}
