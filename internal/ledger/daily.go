package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"go.uber.org/zap"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// A daily part is one file in daily/: the sums, by day, of the rollups of sealed parts. The first one of a day is made when the day is over and its hours are sealed;
// what is sealed of it later enters further ones. So each sealed part is in one daily part once, for ever, and a reader of a month opens few files.

// daily is a daily part. Until it is done it is a plan: its file is built, and what is to be recorded of it is known.
type daily struct {
	Number uint64 `json:"number"` // names it; no number is used twice
	Done   bool   `json:"done"`
	Record uint64 `json:"record,omitempty"` // its number in the chain, once done

	Covers   []sealedAt   `json:"covers,omitempty"`   // the sealed parts that it is of, until it is done
	Replaces []uint64     `json:"replaces,omitempty"` // the daily parts whose place it takes, until it is done
	Plan     *ChainRecord `json:"plan,omitempty"`     // until it is done
}

// sealedAt is where the store has a sealed part.
type sealedAt struct {
	Hour usage.Hour `json:"hour"`
	From uint64     `json:"from"`
}

func dailyName(number uint64) string { return fmt.Sprintf("daily-%012d", number) }

const (
	hoursPerDay   = 24
	maxDailyParts = 8   // of a day: so many become one
	maxDailyFiles = 128 // rollups that one daily part is made of at once, for each of which a page of each column is in memory
	dailyRetry    = usage.Micros(time.Minute / time.Microsecond)
	dailyRetryMax = usage.Micros(time.Hour / time.Microsecond)
)

func dayOf(h usage.Hour) int64            { return int64(h) / hoursPerDay }
func firstHour(day int64) usage.Hour      { return usage.Hour(day * hoursPerDay) }
func dayDate(day int64) string            { return firstHour(day).Start().Time().Format(time.DateOnly) }
func dayText(day int64) string            { return "day " + dayDate(day) }
func dailyKey(day int64, n uint64) []byte { return hourSeqKey(keyDaily, usage.Hour(day), n) }

// days are what the maintainer remembers of daily parts. Counts change under Ledger.mu.
type days struct {
	next    uint64          // number of the next daily part
	waiting map[int64]int   // sealed parts that are in no daily part, by day
	parts   map[int64]int   // daily parts, by day
	plan    *daily          // begun, not done
	day     int64           // of the plan
	failed  map[int64]tried // days whose files are damaged
}

// tried is that a day could not be made because something that it is made of is damaged.
type tried struct {
	again usage.Micros // not before
	wait  usage.Micros
	alone bool // its daily parts can't be merged
}

// inNoDay says whether a sealed part is yet to enter a daily part. One whose rollups had left before there were any doesn't.
func (p *sealed) inNoDay() bool { return p.Done && p.Daily == 0 && p.Left&leftRollups == 0 }

// loadDays finds which sealed parts are in no daily part.
func (s *state) loadDays() error {
	s.days = days{waiting: map[int64]int{}, parts: map[int64]int{}, failed: map[int64]tried{}}
	var err error
	if s.days.next, err = s.store.getNumber(metaDaily); err != nil {
		return err
	}
	s.days.next = max(s.days.next, 1)
	if err := s.scanKind(keyDaily, func(key, value []byte) error {
		var d daily
		if err := decodeJSON(key, value, &d); err != nil {
			return err
		}
		day := int64(hourOf(key))
		if d.Done {
			s.days.parts[day]++
		} else {
			s.days.plan, s.days.day = &d, day
		}
		return nil
	}); err != nil {
		return err
	}
	return s.scanKind(keySealed, func(key, value []byte) error {
		var p sealed
		err := decodeJSON(key, value, &p)
		if p.inNoDay() {
			s.days.waiting[dayOf(hourOf(key))]++
		}
		return err
	})
}

// makeDaily makes the next daily part that is due, the oldest day's first: one in a round, so that a ledger of many days without them holds up nothing.
func (l *Ledger) makeDaily(ctx context.Context, s *state) error {
	if err := l.finishDaily(s); err != nil {
		return err
	}
	day, due := l.nextDay(s)
	if !due || errors.Is(l.checkRoom(s), ErrDiskFull) {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("summing days: %w", err)
	}
	err := l.planDaily(s, day)
	if err == nil {
		err = l.finishDaily(s)
	}
	var damaged *CorruptError
	if errors.As(err, &damaged) {
		before := s.days.failed[day]
		wait := min(max(2*before.wait, dailyRetry), dailyRetryMax)
		s.days.failed[day] = tried{again: l.now() + wait, wait: wait, alone: s.days.parts[day] > 0}
	}
	if err != nil {
		return fmt.Errorf("%s is not summed yet, which is tried again: %w", dayText(day), err)
	}
	// Late parts that wait for nothing but this can be merged now.
	return l.mergeLateOf(ctx, s, day)
}

// planDaily builds the next daily part of a day, checks it, and records it: from here on its name is taken.
func (l *Ledger) planDaily(s *state, day int64) error {
	covers, replaces, err := l.chooseDaily(s, day)
	if err != nil {
		return err
	}
	if len(covers) == 0 {
		return corrupt("the store", fmt.Errorf("%s has no sealed part that is in no daily part, %d were counted", dayText(day), s.days.waiting[day]))
	}
	plan := &daily{Number: s.days.next}
	record, err := l.buildDaily(s, day, plan.Number, covers, replaces)
	if err != nil {
		return errors.Join(err, l.o.FS.RemoveAll(l.paths.staged(treeDaily)))
	}
	plan.Plan = record
	for i := range covers {
		plan.Covers = append(plan.Covers, covers[i].sealedAt)
	}
	for i := range replaces {
		plan.Replaces = append(plan.Replaces, replaces[i].number)
	}
	if err := s.update(func(b *pebble.Batch) error {
		if err := setNumber(b, metaDaily, plan.Number+1); err != nil {
			return err
		}
		return setJSON(b, dailyKey(day, plan.Number), plan)
	}); err != nil {
		return err
	}
	s.days.next, s.days.plan, s.days.day = plan.Number+1, plan, day
	return nil
}

// finishDaily lets the daily part that is planned appear, and records it. When nothing of it is seen yet, and what was built is gone, it is given up: the day is
// made anew, under another name.
func (l *Ledger) finishDaily(s *state) error {
	plan := s.days.plan
	if plan == nil {
		return nil
	}
	day := s.days.day
	if l.o.sabotage == dailyBeforeFile {
		if err := l.recordDaily(s); err != nil {
			return err
		}
	}
	there, err := l.showDaily(day, plan)
	if errors.Is(err, ErrExchangeUnsupported) {
		l.noExchange, there = true, false
		l.o.Logger.Warn("daily parts stay as they are", zap.Error(err))
	} else if err != nil {
		return fmt.Errorf("daily part %s of %s, which is tried again: %w", dailyName(plan.Number), dayText(day), err)
	}
	if l.o.sabotage == dailyBeforeFile {
		return l.writeChain(s)
	}
	if !there {
		if err := s.update(func(b *pebble.Batch) error { return b.Delete(dailyKey(day, plan.Number), nil) }); err != nil {
			return err
		}
		s.days.plan = nil
		return nil
	}
	if err := l.recordDaily(s); err != nil {
		return err
	}
	l.o.Observer.PartMade(plan.Plan.Files[0].Bytes)
	l.removeStage()
	return l.writeChain(s)
}

// recordDaily puts the daily part that is planned into the chain, and its sealed parts into it.
func (l *Ledger) recordDaily(s *state) error {
	plan, day := s.days.plan, s.days.day
	var head chainHead
	if err := s.update(func(b *pebble.Batch) (err error) {
		record := *plan.Plan
		if head, err = s.appendChain(b, []*ChainRecord{&record}); err != nil {
			return err
		}
		for _, at := range plan.Covers {
			if l.o.sabotage == dailyTwice && at == plan.Covers[len(plan.Covers)-1] && len(plan.Covers) > 1 {
				continue
			}
			key := hourSeqKey(keySealed, at.Hour, at.From)
			var p sealed
			found, err := s.store.getJSON(key, &p)
			if err == nil && (!found || !p.inNoDay()) {
				err = corrupt("the store", fmt.Errorf("the sealed part at %d of %s is not there, or is in daily part %d", at.From, hourText(at.Hour), p.Daily))
			}
			if err != nil {
				return err
			}
			p.Daily = plan.Number
			if err := setJSON(b, key, &p); err != nil {
				return err
			}
		}
		for _, number := range plan.Replaces {
			if err := b.Delete(dailyKey(day, number), nil); err != nil {
				return err
			}
		}
		return setJSON(b, dailyKey(day, plan.Number), &daily{Number: plan.Number, Done: true, Record: record.Number})
	}); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s.chain, s.days.plan = head, nil
	s.days.parts[day] += 1 - len(plan.Replaces)
	if s.days.waiting[day] -= len(plan.Covers); s.days.waiting[day] <= 0 || l.o.sabotage == dayBeforeSeals {
		delete(s.days.waiting, day)
	}
	if !s.days.failed[day].alone {
		delete(s.days.failed, day)
	}
	s.sealedAgain(plan.Covers[0].Hour) // its rollups may leave now
	return nil
}

// mergeLateOf merges the late parts of a day's hours, where they are many.
func (l *Ledger) mergeLateOf(ctx context.Context, s *state, day int64) error {
	var late []usage.Hour
	if err := s.store.scan(hourKey(keySealed, firstHour(day)), hourKey(keySealed, firstHour(day+1)), func(key, value []byte) error {
		var p sealed
		err := decodeJSON(key, value, &p)
		if h := hourOf(key); p.Late > 0 && !slices.Contains(late, h) {
			late = append(late, h)
		}
		return err
	}); err != nil {
		return err
	}
	for _, h := range late {
		if err := l.mergeLate(ctx, s, h); err != nil {
			return err
		}
	}
	return nil
}
