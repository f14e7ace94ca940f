package feed

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"github.com/usagebox/otelcol-usagebox/internal/ledger"
)

// Selection says which letters are meant: those that fit all that is set.
type Selection struct {
	Receiver string `json:"receiver,omitempty"`
	ID       string `json:"id,omitempty"`     // of the record
	Reason   string `json:"reason,omitempty"` // forgotten is that of uncertain ones
	Limit    int    `json:"limit,omitempty"`  // at most so many; 0 is no limit
}

// Letters calls each for the letters that are selected, receiver after receiver, oldest first.
func (f *Feed) Letters(sel Selection, each func(*Letter) error) error {
	found := 0
	for _, r := range f.receivers {
		if sel.Receiver != "" && sel.Receiver != r.name {
			continue
		}
		if err := f.o.Books.View(func(v ledger.View) error {
			return r.letters(v, sel, func(_ uint64, l *Letter) error {
				if found++; sel.Limit > 0 && found > sel.Limit {
					return ledger.ErrStop
				}
				return each(l)
			})
		}); err != nil {
			return err
		}
	}
	return nil
}

func (r *receiver) letters(v ledger.View, sel Selection, each func(number uint64, l *Letter) error) error {
	return scanPrefix(v, receiverKey(keyLetter, r.number), func(key, value []byte) error {
		var l Letter
		if err := readJSON(key, value, &l); err != nil {
			return err
		}
		if sel.ID != "" && sel.ID != l.Record.ID || sel.Reason != "" && sel.Reason != l.Reason {
			return nil
		}
		return each(binary.BigEndian.Uint64(key[3:]), &l)
	})
}

// settlement is what becomes of a letter.
type settlement int

const (
	keepLetter settlement = iota
	sendAgain
	wasDelivered
)

// Retry puts the letters that are selected back into the outbox, or, when delivered is set, notes that their receivers have them. It says how many.
func (f *Feed) Retry(sel Selection, delivered bool) (n int, err error) {
	as := sendAgain
	if delivered {
		as = wasDelivered
	}
	if sel.Receiver != "" {
		if _, err := f.receiver(sel.Receiver); err != nil {
			return 0, err
		}
	}
	for _, r := range f.receivers {
		if sel.Receiver != "" && sel.Receiver != r.name {
			continue
		}
		if err := r.spec.Customers.Refresh(); err != nil {
			return n, fmt.Errorf("the customers' file of receiver %s can't be read, nothing of it is sent again: %w", r.name, err)
		}
		m, err := r.sender.settleLetters(sel, func(*Letter) settlement { return as })
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// settleLetters does with the letters that are selected as decide says.
func (s *sender) settleLetters(sel Selection, decide func(*Letter) settlement) (settled int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.receiver
	now := r.feed.o.Clock()
	if err := s.change(false, func(v ledger.View, b ledger.Batch) (bool, error) {
		next := &s.next
		settled = 0
		err := r.letters(v, sel, func(number uint64, l *Letter) error {
			as := decide(l)
			if as == keepLetter {
				return nil
			}
			settled++
			b.Delete(numberKey(keyLetter, s.number, number))
			if l.State == StateDead {
				next.Dead--
			} else {
				next.Uncertain--
			}
			next.Requeued++
			at := place{laneOf(l.Record.Customer, l.Record.Meter), number}
			if as == wasDelivered {
				return s.noteDelivered(b, number, l, now)
			}
			setJSON(b, at.key(keyOutbox, s.number), &l.Record)
			setJSON(b, at.key(keyAttempt, s.number), &attempt{Calls: l.Calls, Logged: l.Logged})
			return nil
		})
		return settled > 0, err
	}); err != nil {
		return 0, err
	}
	r.queued(settled)
	return settled, nil
}

func (s *sender) noteDelivered(b ledger.Batch, number uint64, l *Letter, now time.Time) error {
	s.next.Delivered++
	if l.Logged {
		return nil
	}
	l.Record.SentAt = formatTime(now)
	line, err := json.Marshal(&l.Record)
	b.Set(numberKey(keyLine, s.number, number), line)
	return err
}

// reject makes letters of records that the receiver took and found wrong later: ids and what it says of each.
func (s *sender) reject(ids map[string]string, reason string) (n int, err error) {
	found, err := s.deliveredRecords(ids)
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.receiver.feed.o.Clock()
	err = s.change(false, func(v ledger.View, b ledger.Batch) (bool, error) {
		next := &s.next
		known := map[string]bool{}
		if err := s.receiver.letters(v, Selection{}, func(_ uint64, l *Letter) error {
			known[l.Record.ID] = true
			return nil
		}); err != nil {
			return false, err
		}
		for _, d := range found {
			if known[d.ID] {
				continue // told twice
			}
			n++
			next.Delivered--
			next.Letters++
			next.Dead++
			number := lateLetters + next.Letters
			setJSON(b, numberKey(keyLetter, s.number, number), &Letter{
				Receiver: s.receiver.name, State: StateDead, Reason: reason, Detail: ids[d.ID], At: formatTime(now), Calls: 1, Logged: true, Record: d,
			})
		}
		return n > 0, nil
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

// lateLetters is added to numbers of letters whose record has left the outbox, so that they are not those of records.
const lateLetters = 1 << 62

// Rejected takes what a receiver found wrong after it had taken it: ids of records and what it says of each.
func (f *Feed) Rejected(receiver, reason string, ids map[string]string) (int, error) {
	r, err := f.receiver(receiver)
	if err != nil {
		return 0, err
	}
	n, err := r.sender.reject(ids, reason)
	if err != nil {
		return 0, fmt.Errorf("what receiver %s refuses later could not be noted: %w", receiver, err)
	}
	return n, nil
}
