package dedupeprocessor

import (
	"sync"
	"time"
)

// seldom lets one of many lines through to the log, at most one in 10 seconds.
type seldom struct {
	mu         sync.Mutex // guards what follows
	next       time.Time
	suppressed int
}

// due says whether to log, and how many were not logged before.
func (s *seldom) due(now time.Time) (others int, due bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Before(s.next) {
		s.suppressed++
		return 0, false
	}
	others, s.suppressed = s.suppressed, 0
	s.next = now.Add(10 * time.Second)
	return others, true
}
