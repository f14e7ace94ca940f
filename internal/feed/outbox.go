package feed

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/usagebox/otelcol-usagebox/internal/ledger"
)

// delivery is a record on its way.
type delivery struct {
	place
	record  Record
	attempt attempt // before this call
	begun   time.Time
	refused string // by the receiver's limits: no call is made
	detail  string
	named   bool // just now: the record in the outbox has no external customer
	expired bool // the receiver may have it and has forgotten its id: no call is made
}

// call is what goes to the receiver at once.
type call []*delivery

func (c call) records() []*Record {
	records := make([]*Record, len(c))
	for i, d := range c {
		records[i] = &d.record
	}
	return records
}

// result is what became of a call.
type result struct {
	call     call
	outcomes []Outcome
}

// lane is what is remembered of a queue while a call for it is under way or has failed.
type lane struct {
	busy     bool
	failures int
	until    time.Time // no call before it
}

// maxSkip is how many records of a lane are passed over before its end is looked for.
const maxSkip = 8

// pick chooses records to send, at most limit, each lane's oldest first, and goes on where it stopped the last time. Records in gone are not
// there any more.
func (s *sender) pick(v ledger.View, now time.Time, limit int, gone map[place]bool) (picked []*delivery, err error) {
	number := s.number
	low, high := place{lane: s.position}.key(keyOutbox, number), after(receiverKey(keyOutbox, number))
	wrapped, end := false, s.position
	s.nextDue = time.Time{}
	for len(picked) < limit {
		current, taken, skipped := -1, 0, 0
		full := false
		err := v.Scan(low, high, func(key, value []byte) error {
			at := placeOf(key)
			if wrapped && at.lane >= end {
				return ledger.ErrStop
			}
			if int(at.lane) != current {
				current, taken, skipped = int(at.lane), 0, 0
			}
			if gone[at] {
				return nil
			}
			if !s.mayCall(at.lane, now) || taken >= s.limits.Batch {
				if skipped++; skipped > maxSkip {
					return ledger.SkipTo{Key: after(binaryLane(number, at.lane))}
				}
				return nil
			}
			if len(picked) >= limit {
				full = true
				s.position = at.lane
				return ledger.ErrStop
			}
			d := &delivery{place: at}
			if d.record, err = parseRecord(key, value); err != nil {
				return err
			}
			taken++
			picked = append(picked, d)
			return nil
		})
		switch {
		case err != nil:
			return nil, err
		case full:
			return picked, nil
		case wrapped || end == 0:
			s.position = 0
			return picked, nil
		default:
			wrapped = true
			low = receiverKey(keyOutbox, number)
		}
	}
	s.position = picked[len(picked)-1].lane + 1
	return picked, nil
}

// readAttempts finds what is known of calls with records that were picked. Most have had none: one look over all of them costs less than one for each, unless the keys
// between them are too many.
func (s *sender) readAttempts(v ledger.View, picked []*delivery) error {
	if len(picked) == 0 {
		return nil
	}
	order := func(a, b *delivery) int { return cmp.Or(cmp.Compare(a.lane, b.lane), cmp.Compare(a.number, b.number)) }
	first, last := slices.MinFunc(picked, order), slices.MaxFunc(picked, order)
	at := make(map[place]*delivery, len(picked))
	for _, d := range picked {
		at[d.place] = d
	}
	seen, all := 0, true
	if err := v.Scan(first.key(keyAttempt, s.number), after(last.key(keyAttempt, s.number)), func(key, value []byte) error {
		if seen++; seen > 2*len(picked)+manyAttempts {
			all = false
			return ledger.ErrStop
		}
		d := at[placeOf(key)]
		if d == nil {
			return nil
		}
		delete(at, d.place)
		return readJSON(key, value, &d.attempt)
	}); err != nil || all {
		return err
	}
	for _, d := range at {
		if _, err := getJSON(v, d.key(keyAttempt, s.number), &d.attempt); err != nil {
			return err
		}
	}
	return nil
}

// manyAttempts are passed over without a thought.
const manyAttempts = 1000

func binaryLane(number, lane uint16) []byte {
	key := place{lane: lane}.key(keyOutbox, number)
	return key[:5]
}

// mayCall says whether a lane has neither a call under way nor one to wait for.
func (s *sender) mayCall(number uint16, now time.Time) bool {
	l := s.lanes[number]
	if l == nil {
		return true
	}
	if l.busy {
		return false
	}
	if now.Before(l.until) {
		if s.nextDue.IsZero() || l.until.Before(s.nextDue) {
			s.nextDue = l.until
		}
		return false
	}
	return true
}

// judge says of a record before its call what the receiver's limits and memory say.
func (s *sender) judge(d *delivery, now time.Time) {
	r := s.receiver
	if d.record.ExternalCustomer == "" {
		external, ok := r.spec.Customers.Resolve(&d.record)
		if !ok {
			d.refused, d.detail = reasonUnmapped, fmt.Sprintf("customer %q has no name at the receiver", d.record.Customer)
			return
		}
		d.record.ExternalCustomer, d.named = external, true
	}
	if window := s.limits.Window; window > 0 && s.receiver.feed.o.sabotage != forgetfulWindow && d.attempt.Maybe != "" && now.Sub(parseTime(d.attempt.Maybe)) >= window-CallTimeout { // this call may take as long
		d.expired = true
		return
	}
	d.refused, d.detail = r.spec.Receiver.Check(&d.record, now)
}

// begin puts on disk that a record is about to be sent, and the external customer with it if it has one only now.
func (s *sender) begin(b ledger.Batch, d *delivery, now time.Time) {
	d.begun = now
	if s.receiver.feed.o.sabotage == sendUnrecorded {
		return
	}
	a := d.attempt
	a.Calls++
	if a.Maybe == "" {
		a.Maybe = formatTime(now)
	}
	if d.named {
		b.Set(d.key(keyOutbox, s.number), appendRecord(nil, &d.record))
	}
	setJSON(b, d.key(keyAttempt, s.number), &a)
}

// finish puts on disk what became of a record.
func (s *sender) finish(b ledger.Batch, d *delivery, o Outcome, now time.Time) {
	switch o.Fate {
	case Delivered:
		s.deliver(b, d, now)
	case Refused:
		s.letter(b, d, StateDead, o.Reason, errorText(o.Err), now)
	default:
		a := d.attempt
		a.Calls++
		a.Error = errorText(o.Err)
		a.Alone = a.Alone || o.Alone
		if o.Fate == Unknown && a.Maybe == "" {
			a.Maybe = formatTime(d.begun)
		}
		s.next.Retries++
		setJSON(b, d.key(keyAttempt, s.number), &a)
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func (s *sender) deliver(b ledger.Batch, d *delivery, now time.Time) {
	s.remove(b, d)
	s.next.Delivered++
	d.record.SentAt = formatTime(now)
	if d.attempt.Logged {
		return
	}
	s.line(b, &d.record)
}

// line notes the line of a record that was delivered. Their numbers rise, so that those who write them know where to begin.
func (s *sender) line(b ledger.Batch, r *Record) {
	b.Set(numberKey(keyLine, s.number, firstSentLine+s.next.Lines), appendRecord(nil, r))
	s.next.Lines++
	s.receiver.lines.Store(true)
}

// firstSentLine is the number of the first line of a record that was sent. Those below are numbers of records that were not.
const firstSentLine = 1 << 63

func (s *sender) remove(b ledger.Batch, d *delivery) {
	b.Delete(d.key(keyOutbox, s.number))
	b.Delete(d.key(keyAttempt, s.number))
	s.left[d.record.hour()]++
}

// letter sets a record aside.
func (s *sender) letter(b ledger.Batch, d *delivery, state, reason, detail string, now time.Time) {
	s.remove(b, d)
	if state == StateDead && d.attempt.Maybe != "" {
		detail += maybeThere
	}
	s.next.Letters++
	if state == StateDead {
		s.next.Dead++
	} else {
		s.next.Uncertain++
	}
	setJSON(b, numberKey(keyLetter, s.number, d.number), &Letter{
		Receiver: s.receiver.name, State: state, Reason: reason, Detail: detail, At: formatTime(now),
		Calls: d.attempt.Calls, Maybe: d.attempt.Maybe, Logged: d.attempt.Logged, Record: d.record,
	})
}

// reasonForgotten is that of uncertain records.
const reasonForgotten = "forgotten"

// maybeThere is added to what is said of a record that was refused when a call before had no answer.
const maybeThere = "; a call before it had no answer: look whether it is there already"

const forgotten = "a call with it had no answer, and the receiver has forgotten its id since: it may be there already"
