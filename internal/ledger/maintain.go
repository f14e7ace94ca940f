package ledger

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
)

// maintainLoop makes parts every FlushInterval and seals what is due, until the ledger closes.
func (l *Ledger) maintainLoop() {
	defer l.work.Done()
	ticker := time.NewTicker(l.o.FlushInterval)
	defer ticker.Stop()
	for {
		select {
		case <-l.closing:
			return
		case <-ticker.C:
		}
		if err := l.maintain(context.Background()); err != nil {
			l.o.Observer.MaintenanceFailed()
			l.o.Logger.Error("parts of the ledger could not be made; what was acknowledged is kept, they are tried again", zap.Error(err))
		}
	}
}

// maintain is one round.
func (l *Ledger) maintain(ctx context.Context) error {
	if _, err := l.revive(); err != nil {
		return err
	}
	if err := l.Expire(); err != nil {
		return err
	}
	if err := l.Seal(ctx); err != nil {
		return err
	}
	return l.writeStatus()
}

// Expire refuses the corrections whose target did not come within CorrectionWait.
func (l *Ledger) Expire() error {
	if !l.enter() {
		return nil
	}
	defer l.closed.Done()
	s, err := l.current()
	if err != nil {
		return err // whether any wait is not known until the store is open again
	}
	l.mu.Lock()
	waiting := s.waiting > 0
	l.mu.Unlock()
	if !waiting {
		return nil
	}
	r := &request{expire: true, done: make(chan struct{})}
	l.queue <- r
	<-r.done
	if errors.Is(r.err, ErrBusy) || errors.Is(r.err, ErrDiskFull) {
		return nil // they wait a little longer
	}
	return r.err
}
