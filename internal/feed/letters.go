package feed

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
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

// Letters calls each for the letters that are selected, receiver after receiver, oldest first. The books are free meanwhile: who reads the letters may take their time.
func (f *Feed) Letters(sel Selection, each func(*Letter) error) error {
	if sel.Receiver != "" {
		if _, err := f.receiver(sel.Receiver); err != nil {
			return err
		}
	}
	found := 0
	for _, r := range f.receivers {
		if sel.Receiver != "" && sel.Receiver != r.name {
			continue
		}
		for low := receiverKey(keyLetter, r.number); low != nil; {
			var page []*Letter
			var err error
			if page, low, err = r.pageOfLetters(low, sel); err != nil {
				return err
			}
			for _, l := range page {
				if found++; sel.Limit > 0 && found > sel.Limit {
					return nil
				}
				if err := each(l); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// pageOfLetters are some of the letters that are selected, and the key of the next, nil when there are no more.
func (r *receiver) pageOfLetters(low []byte, sel Selection) (page []*Letter, next []byte, err error) {
	err = r.feed.o.Books.View(func(v ledger.View) error {
		return r.lettersFrom(v, low, sel, func(number uint64, l *Letter) error {
			if len(page) == lettersAtOnce {
				next = numberKey(keyLetter, r.number, number)
				return ledger.ErrStop
			}
			page = append(page, l)
			return nil
		})
	})
	return page, next, err
}

func (r *receiver) letters(v ledger.View, sel Selection, each func(number uint64, l *Letter) error) error {
	return r.lettersFrom(v, receiverKey(keyLetter, r.number), sel, each)
}

func (r *receiver) lettersFrom(v ledger.View, low []byte, sel Selection, each func(number uint64, l *Letter) error) error {
	return v.Scan(low, after(receiverKey(keyLetter, r.number)), func(key, value []byte) error {
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
		if err := r.spec.Customers.Read(); err != nil {
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

// settleLetters does with the letters that are selected as decide says, some at a time.
func (s *sender) settleLetters(sel Selection, decide func(*Letter) settlement) (settled int, err error) {
	for low := receiverKey(keyLetter, s.number); low != nil; {
		n, next, err := s.settleSome(sel, low, decide)
		settled += n
		if err != nil {
			return settled, err
		}
		low = next
		s.receiver.queued(n)
	}
	return settled, nil
}

func (s *sender) settleSome(sel Selection, low []byte, decide func(*Letter) settlement) (settled int, next []byte, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.receiver.feed.o.Clock()
	err = s.change(false, func(v ledger.View, b ledger.Batch) (bool, error) {
		settled, next = 0, nil
		err := s.receiver.lettersFrom(v, low, sel, func(number uint64, l *Letter) error {
			if settled == lettersAtOnce {
				next = numberKey(keyLetter, s.number, number)
				return ledger.ErrStop
			}
			as := decide(l)
			if as == keepLetter {
				return nil
			}
			settled++
			s.takeLetter(b, number, l)
			if as == wasDelivered {
				s.noteDelivered(b, l, now)
			} else {
				s.requeue(b, number, l)
			}
			return nil
		})
		return settled > 0, err
	})
	if err != nil {
		return 0, nil, err
	}
	return settled, next, nil
}

// takeLetter takes a letter out of those that are set aside.
func (s *sender) takeLetter(b ledger.Batch, number uint64, l *Letter) {
	b.Delete(numberKey(keyLetter, s.number, number))
	if l.State == StateDead {
		s.next.Dead--
	} else {
		s.next.Uncertain--
	}
	s.next.Requeued++
}

// requeue puts a letter's record back into the outbox. One that no receiver can have gets the name that its customer has by now; one that may be
// there keeps what it said, and how long ago that was, unless the one who sends it again knows better.
func (s *sender) requeue(b ledger.Batch, number uint64, l *Letter) {
	a := attempt{Calls: l.Calls, Logged: l.Logged}
	if l.State == StateDead && !l.Logged {
		a.Maybe = l.Maybe
		if name, ok := s.receiver.spec.Customers.Resolve(&l.Record); ok && l.Maybe == "" {
			l.Record.ExternalCustomer = name
		}
	}
	at := place{laneOf(&l.Record), number}
	b.Set(at.key(keyOutbox, s.number), appendRecord(nil, &l.Record))
	s.left[l.Record.hour()]--
	setJSON(b, at.key(keyAttempt, s.number), &a)
}

func (s *sender) noteDelivered(b ledger.Batch, l *Letter, now time.Time) {
	s.next.Delivered++
	if l.Logged {
		return
	}
	l.Record.SentAt = formatTime(now)
	s.line(b, &l.Record)
}

// reject makes letters of records that the receiver took and found wrong later: ids and what it says of each. Ids that this feed has not sent are passed over.
// A report that was taken before is passed over: its records may have been sent again since.
func (s *sender) reject(report, reason string, ids map[string]string) (n int, err error) {
	s.writing.Lock() // a line is in the store or in its file, and stays there
	defer s.writing.Unlock()
	found, err := s.deliveredRecords(ids)
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.receiver.feed.o.Clock()
	err = s.change(false, func(v ledger.View, b ledger.Batch) (bool, error) {
		if report != "" {
			if known, err := s.noteReport(v, b, report+"/"+reason, now); err != nil || known {
				return false, err
			}
		}
		if err := s.findUnwritten(v, ids, found); err != nil {
			return false, err
		}
		certain := 0
		if err := s.receiver.letters(v, Selection{}, func(number uint64, l *Letter) error {
			detail, wanted := ids[l.Record.ID]
			if !wanted {
				return nil
			}
			delete(found, l.Record.ID) // told twice
			if l.State == StateUncertain {
				certain++
				s.next.Uncertain--
				s.next.Dead++
				l.State, l.Reason, l.Detail, l.At, l.Maybe = StateDead, reason, detail, formatTime(now), ""
				setJSON(b, numberKey(keyLetter, s.number, number), l)
			}
			return nil
		}); err != nil {
			return false, err
		}
		for _, id := range slices.Sorted(maps.Keys(found)) {
			s.next.Delivered--
			s.next.Letters++
			s.next.Dead++
			setJSON(b, numberKey(keyLetter, s.number, lateLetters+s.next.Letters), &Letter{
				Receiver: s.receiver.name, State: StateDead, Reason: reason, Detail: ids[id], At: formatTime(now), Calls: 1, Logged: true, Record: found[id],
			})
		}
		n = len(found) + certain
		return true, nil
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

// reportMemory is how long reports are remembered: their sender tries for some days.
const reportMemory = 30 * 24 * time.Hour

// noteReport remembers a report, and says whether it was taken before.
func (s *sender) noteReport(v ledger.View, b ledger.Batch, report string, now time.Time) (known bool, err error) {
	prefix := receiverKey(keyReport, s.number)
	if err := scanPrefix(v, prefix, func(key, value []byte) error {
		if string(key[len(prefix):]) == report {
			known = true
		} else if now.Sub(parseTime(string(value))) > reportMemory {
			b.Delete(slices.Clone(key))
		}
		return nil
	}); err != nil {
		return false, err
	}
	b.Set(append(prefix, report...), []byte(formatTime(now)))
	return known, nil
}

// findUnwritten adds records whose lines are not in their files yet. It fails when a record is still in the outbox and a call was made for it: it is not over.
func (s *sender) findUnwritten(v ledger.View, ids map[string]string, found map[string]Record) error {
	if err := scanPrefix(v, receiverKey(keyLine, s.number), func(key, value []byte) error {
		r, err := parseRecord(key, value)
		if _, wanted := ids[r.ID]; wanted {
			found[r.ID] = r
		}
		return err
	}); err != nil {
		return err
	}
	return s.eachAttempted(v, func(_ *attempt, r *Record) error {
		if _, wanted := ids[r.ID]; wanted {
			return fmt.Errorf("record %s is on its way: tell it again", r.ID)
		}
		return nil
	})
}

// eachAttempted calls each for the records in the outbox that a call was made for, which are few however many wait.
func (s *sender) eachAttempted(v ledger.View, each func(*attempt, *Record) error) error {
	return scanPrefix(v, receiverKey(keyAttempt, s.number), func(key, value []byte) error {
		var a attempt
		if err := readJSON(key, value, &a); err != nil {
			return err
		}
		key = placeOf(key).key(keyOutbox, s.number)
		value, found, err := v.Get(key)
		if err != nil || !found {
			return err
		}
		r, err := parseRecord(key, value)
		if err != nil {
			return err
		}
		return each(&a, &r)
	})
}

// lettersAtOnce are settled in one transaction.
const lettersAtOnce = 2000

// lateLetters is added to numbers of letters whose record has left the outbox, so that they are not those of records.
const lateLetters = 1 << 62

// Rejected takes what a receiver found wrong after it had taken it: ids of records and what it says of each. A report has an id, and for each reason its effect once.
func (f *Feed) Rejected(receiver, report, reason string, ids map[string]string) (int, error) {
	r, err := f.receiver(receiver)
	if err != nil {
		return 0, err
	}
	n, err := r.sender.reject(report, reason, ids)
	if err != nil {
		return 0, fmt.Errorf("what receiver %s refuses later could not be noted: %w", receiver, err)
	}
	return n, nil
}
