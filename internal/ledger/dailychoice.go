package ledger

import (
	"cmp"
	"errors"
	"time"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// nextDay is the oldest day that has sealed parts which are to enter a daily part.
func (l *Ledger) nextDay(s *state) (day int64, due bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	for d := range s.days.waiting {
		if (!due || d < day) && l.dayDue(s, d, now) {
			day, due = d, true
		}
	}
	return day, due
}

// dayDue says whether a day is over, and all of its hours are sealed that are to be in its first daily part.
func (l *Ledger) dayDue(s *state, day int64, now usage.Micros) bool {
	switch {
	case now < firstHour(day+1).Start()+usage.Micros(l.o.SealAfter/time.Microsecond):
		return l.o.sabotage == dayBeforeSeals && s.days.parts[day] == 0
	case now < s.days.failed[day].again:
		return false
	}
	if s.days.parts[day] > 0 {
		return true // what is open is late and enters a further one
	}
	for h := firstHour(day); h < firstHour(day+1); h++ {
		if open := s.hours[h]; open != nil && !open.Sealed && open.openEvents() > 0 {
			return false
		}
	}
	return true
}

// chooseDaily is which sealed parts the next daily part of a day is of, and which daily parts' place it takes.
func (l *Ledger) chooseDaily(s *state, day int64) (covers []dailyPart, replaces []dailyPart, err error) {
	limit := cmp.Or(l.o.maxDayFiles, maxDailyFiles)
	err = s.store.scan(hourKey(keySealed, firstHour(day)), hourKey(keySealed, firstHour(day+1)), func(key, value []byte) error {
		var p sealed
		if err := decodeJSON(key, value, &p); err != nil {
			return err
		}
		if p.inNoDay() {
			covers = append(covers, dailyPart{sealedAt: sealedAt{hourOf(key), p.From}, record: p.Record})
		}
		if len(covers) == limit {
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, nil, err
	}
	if s.days.parts[day]+1 < cmp.Or(l.o.maxDaily, maxDailyParts) || l.noExchange || s.days.failed[day].alone {
		return covers, nil, nil
	}
	parts, err := s.dailyParts(day)
	for _, d := range parts {
		replaces = append(replaces, dailyPart{number: d.Number, record: d.Record})
	}
	return covers, replaces, err
}

// dailyParts are a day's, in order.
func (s *state) dailyParts(day int64) (parts []daily, err error) {
	low := hourKey(keyDaily, usage.Hour(day))
	err = s.store.scan(low, prefixEnd(low), func(key, value []byte) error {
		var d daily
		err := decodeJSON(key, value, &d)
		if d.Done {
			parts = append(parts, d)
		}
		return err
	})
	return parts, err
}
