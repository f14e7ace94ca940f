package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// Retention is how long the files of sealed parts stay, from the end of their hour, and daily parts from that of their day; 0 is for ever. Sums stay as long as what they
// sum, or longer; rollups stay until they are in a daily part. What the store knows stays for ever: ids, so that a copy of an event that left is a duplicate, and the
// totals of hours.
type Retention struct {
	Events, Rollups, Runs, Daily time.Duration
}

// MinRetention is the shortest time that is sensible: a month's invoice, and some days to object to it.
const MinRetention = 35 * 24 * time.Hour

// Validate says what of it can't be.
func (r Retention) Validate() error {
	for _, sums := range [...]struct {
		name string
		stay time.Duration
		of   string
		them time.Duration
	}{{treeRollups, r.Rollups, treeEvents, r.Events}, {treeRuns, r.Runs, treeEvents, r.Events}, {treeDaily, r.Daily, treeRollups, r.Rollups}} {
		switch {
		case sums.stay < 0 || sums.them < 0:
			return errors.New("a time is negative: 0 is for ever")
		case sums.stay > 0 && (sums.them == 0 || sums.them > sums.stay):
			return fmt.Errorf("%s (%s) is shorter than %s (%s): sums stay as long as what they sum, or longer; 0 is for ever", sums.name, sums.stay, sums.of, orForEver(sums.them))
		}
	}
	return nil
}

func orForEver(d time.Duration) string {
	if d == 0 {
		return "for ever"
	}
	return d.String()
}

// leaving is the files of an hour, or day, in one tree that are recorded in the chain as having left, and are to be removed.
type leaving struct {
	Hour  usage.Hour `json:"hour"`
	Tree  int        `json:"tree"`  // in leavingTrees
	Names []string   `json:"names"` // of parts
}

// leavingTrees are those whose files leave.
var leavingTrees = [...]string{treeEvents, treeRuns, treeRollups, treeDaily}

const (
	leavingRollups = 2
	leavingDaily   = 3
)

const (
	leftEvents  = 1 << 0 // bits of sealed.Left
	leftRollups = 1 << rollupsFile
	maxLeaving  = 50 // records in one round, so that what came is not kept waiting
)

// errLeft says that an event is known and is not in the ledger's files any more.
var errLeft = errors.New("the event is older than the ledger's retention of events")

func leftDetail(it *item) string {
	return fmt.Sprintf("event %q is older than the ledger's retention of events: what is left of it can't be known. Send usage of its own instead", it.event.Corrects)
}

// hasLeft says whether the event that the store knows to be at k has left.
func (s *state) hasLeft(k known) (bool, error) {
	if k.Seq == 0 {
		return false, nil
	}
	seal, err := s.lastSealed(k.Hour, k.Seq)
	return seal != nil && seal.Done && k.Seq < seal.To && seal.Left&leftEvents != 0, err
}

// sealedAgain says that an hour has a sealed part more, which is to leave in its turn.
func (s *state) sealedAgain(h usage.Hour) {
	for i := range s.leaveFrom {
		s.leaveFrom[i] = min(s.leaveFrom[i], h)
	}
}

// retain removes the files that are older than their retention.
func (l *Ledger) retain(ctx context.Context, s *state) error {
	if err := l.finishLeaving(s); err != nil {
		return err
	}
	if l.o.Retention == (Retention{}) {
		return nil
	}
	limits := l.leaveBefore()
	if plan, err := s.nextLeaving(limits); err != nil || plan == nil {
		return err
	}
	if l.o.KeepFrom != nil {
		kept, err := l.o.KeepFrom()
		if err != nil {
			return fmt.Errorf("nothing leaves the ledger: %w", err)
		}
		for i := range limits {
			limits[i] = min(limits[i], kept)
		}
	}
	for range maxLeaving {
		plan, err := s.nextLeaving(limits)
		if err != nil || plan == nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("removing what is older than its retention: %w", err)
		}
		if err := l.recordLeaving(s, plan); err != nil {
			return fmt.Errorf("what is to leave of %s stays: %w", hourText(plan.Hour), err)
		}
		if err := l.finishLeaving(s); err != nil {
			return err
		}
	}
	return nil
}

// leaveBefore is, by tree, the hour before which the time of files is over.
func (l *Ledger) leaveBefore() (limits [len(leavingTrees)]usage.Hour) {
	now := l.now()
	if l.o.sabotage == leaveEarly {
		now += usage.MicrosPerHour
	}
	for i, d := range [...]time.Duration{l.o.Retention.Events, l.o.Retention.Runs, l.o.Retention.Rollups, l.o.Retention.Daily} {
		if d > 0 {
			limits[i] = (now - usage.Micros(d/time.Microsecond)).Hour()
		}
	}
	return limits
}

// nextLeaving is the next hour that has files of sealed parts which are to leave, nil when there is none.
func (s *state) nextLeaving(limits [len(leavingTrees)]usage.Hour) (*leaving, error) {
	for i, limit := range limits[:leavingDaily] {
		if s.leaveFrom[i] >= limit {
			continue
		}
		plan := &leaving{Tree: i}
		err := s.store.scan(hourKey(keySealed, s.leaveFrom[i]), hourKey(keySealed, limit), func(key, value []byte) error {
			var p sealed
			if err := decodeJSON(key, value, &p); err != nil {
				return err
			}
			if !p.Done || p.Left&(1<<i) != 0 || i == leavingRollups && p.Daily == 0 {
				return nil
			}
			if len(plan.Names) > 0 && hourOf(key) != plan.Hour {
				return errEnough
			}
			plan.Hour = hourOf(key)
			plan.Names = append(plan.Names, p.Name)
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			return nil, err
		}
		if len(plan.Names) > 0 {
			s.leaveFrom[i] = plan.Hour
			return plan, nil
		}
		s.leaveFrom[i] = limit
	}
	return s.nextDayLeaving(dayOf(limits[leavingDaily]))
}

// nextDayLeaving is the oldest day before a day that has daily parts, nil when there is none.
func (s *state) nextDayLeaving(limit int64) (*leaving, error) {
	day, found := limit, false
	for d := range s.days.parts {
		if d < day && (s.days.plan == nil || s.days.day != d) {
			day, found = d, true
		}
	}
	if !found {
		return nil, nil
	}
	plan := &leaving{Hour: firstHour(day), Tree: leavingDaily}
	parts, err := s.dailyParts(day)
	for i := range parts {
		plan.Names = append(plan.Names, dailyName(parts[i].Number))
	}
	return plan, err
}
