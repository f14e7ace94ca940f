package catalog

import (
	"fmt"
	"math"
	"time"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// span is a range of times: from inclusive, until exclusive; and, when they differ, hours of every day.
type span struct {
	from, until         usage.Micros
	hourFrom, hourUntil usage.Micros // since midnight UTC
}

const microsPerDay = 24 * usage.MicrosPerHour

func (s *span) daily() bool { return s.hourFrom != s.hourUntil }

func (s *span) contains(m usage.Micros) bool {
	if m < s.from || m >= s.until {
		return false
	}
	if !s.daily() {
		return true
	}
	at := m % microsPerDay
	if at < 0 {
		at += microsPerDay
	}
	if s.hourFrom < s.hourUntil {
		return at >= s.hourFrom && at < s.hourUntil
	}
	return at >= s.hourFrom || at < s.hourUntil
}

// overlaps says whether a microsecond can be in both; hours are compared as if every range were long.
func (s *span) overlaps(o *span) bool {
	if s.from >= o.until || o.from >= s.until {
		return false
	}
	if !s.daily() || !o.daily() {
		return true
	}
	day := func(x *span) span { return span{math.MinInt64, math.MaxInt64, x.hourFrom, x.hourUntil} }
	a, b := day(s), day(o)
	return a.contains(b.hourFrom) || b.contains(a.hourFrom)
}

func (e *Effective) parse() (s span, err error) {
	s = span{from: math.MinInt64, until: math.MaxInt64}
	if e.From != "" {
		t, err := parseMoment(e.From)
		if err != nil {
			return s, err
		}
		s.from = usage.MicrosOf(t)
	}
	if e.Until != "" {
		t, err := parseMoment(e.Until)
		if err != nil {
			return s, err
		}
		s.until = usage.MicrosOf(t)
	}
	if e.Hours != nil {
		if s.hourFrom, err = parseClock(e.Hours.From); err != nil {
			return s, err
		}
		if s.hourUntil, err = parseClock(e.Hours.Until); err != nil {
			return s, err
		}
	}
	return s, nil
}

func parseMoment(text string) (time.Time, error) {
	for _, layout := range [...]string{time.DateOnly, time.RFC3339Nano} {
		t, err := time.Parse(layout, text)
		if err != nil {
			continue
		}
		if t.Nanosecond()%1000 != 0 {
			return t, fmt.Errorf("%.40q is finer than a microsecond", text)
		}
		return t, nil
	}
	return time.Time{}, fmt.Errorf("is %.40q: it is a date such as 2026-05-16 (its midnight in UTC) or a time such as 2026-05-16T18:00:00Z", text)
}

func parseClock(text string) (usage.Micros, error) {
	for _, layout := range [...]string{"15:04", "15:04:05"} {
		if t, err := time.Parse(layout, text); err == nil {
			return usage.Micros(t.Hour())*usage.MicrosPerHour + usage.Micros(t.Minute()*60+t.Second())*1_000_000, nil
		}
	}
	return 0, fmt.Errorf("%.32q is not a time of day", text)
}
