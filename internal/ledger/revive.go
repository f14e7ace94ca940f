package ledger

import (
	"fmt"
	"time"

	"go.uber.org/zap"
)

// backoff spaces attempts to open the store again.
type backoff struct {
	next time.Time
	wait time.Duration
}

const (
	firstBackoff = 500 * time.Millisecond
	lastBackoff  = 30 * time.Second
)

// revive is the open state; when the store has failed it is opened again, at intervals that grow.
func (l *Ledger) revive() (*state, error) {
	l.mu.Lock()
	s := l.state
	l.mu.Unlock()
	if s != nil && s.store.failure() == nil {
		return s, nil
	}
	l.maintenance.Lock()
	defer l.maintenance.Unlock()
	l.readers.Lock()
	defer l.readers.Unlock()
	l.mu.Lock()
	s = l.state
	l.mu.Unlock()
	if s != nil && s.store.failure() == nil {
		return s, nil // the other one did it
	}
	if s != nil {
		l.o.Logger.Error("the ledger's store failed: what was acknowledged is on disk; it is opened again from there", zap.Error(s.store.failure()))
		l.setState(nil, s.store.failure())
		if err := s.close(); err != nil {
			l.o.Logger.Warn("close the failed store", zap.Error(err))
		}
	}
	now := l.o.Clock()
	if !l.o.Manual && now.Before(l.reopen.next) {
		return l.current()
	}
	s, err := l.openState()
	if err != nil {
		l.reopen.wait = min(max(2*l.reopen.wait, firstBackoff), lastBackoff)
		l.reopen.next = now.Add(l.reopen.wait)
		l.setState(nil, err)
		return nil, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	l.reopen = backoff{}
	l.setState(s, nil)
	l.o.Logger.Info("the ledger's store is open again")
	return s, nil
}

func (l *Ledger) setState(s *state, broken error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state, l.broken = s, broken
}
