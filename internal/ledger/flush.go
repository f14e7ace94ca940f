package ledger

import (
	"cmp"
	"context"
	"fmt"
	"slices"
)

// Flush makes parts of everything that was acknowledged before the call, and finishes what an earlier round left.
func (l *Ledger) Flush(ctx context.Context) error {
	l.maintenance.Lock()
	defer l.maintenance.Unlock()
	s, err := l.current()
	if err != nil {
		return err
	}
	return l.flush(ctx, s)
}

func (l *Ledger) flush(ctx context.Context, s *state) error {
	if err := l.finish(s); err != nil {
		return err
	}
	for _, h := range l.pendingHours(s) {
		if err := l.flushHour(ctx, s, h.hour, h.until); err != nil {
			return err
		}
	}
	if err := l.flushRefused(s); err != nil {
		return err
	}
	return l.measure(s)
}

// measure takes the size of the store.
func (l *Ledger) measure(s *state) error {
	size, err := s.store.size()
	if err != nil {
		return err
	}
	size += s.ids.bytes()
	l.mu.Lock()
	s.storeBytes = size
	l.mu.Unlock()
	return nil
}

// finish does what is recorded as begun.
func (l *Ledger) finish(s *state) error {
	l.mu.Lock()
	begun := make([]*hour, 0, 1)
	for _, h := range s.hours {
		if h.plan != nil || h.seal != nil {
			begun = append(begun, h)
		}
	}
	l.mu.Unlock()
	slices.SortFunc(begun, func(a, b *hour) int { return cmp.Compare(a.Hour, b.Hour) })
	for _, h := range begun {
		if h.plan != nil {
			if err := l.finishPart(s, h); err != nil {
				return err
			}
		}
		if h.seal != nil {
			if err := l.finishSeal(s, h); err != nil {
				return err
			}
		}
	}
	if err := l.finishRefused(s); err != nil {
		return err
	}
	return l.writeChain(s)
}

// pendingHour is an hour with events that are in no part, up to a number at which no commit is divided.
type pendingHour struct {
	hour      *hour
	until     uint64
	corrected bool
}

// pendingHours is what a round has to make parts of. Hours with corrections come first: what takes away appears before what is added elsewhere.
func (l *Ledger) pendingHours(s *state) []pendingHour {
	l.mu.Lock()
	defer l.mu.Unlock()
	var pending []pendingHour
	for _, h := range s.hours {
		if h.pending() {
			pending = append(pending, pendingHour{h, h.Last, h.Corrected >= h.To})
		}
	}
	slices.SortFunc(pending, func(a, b pendingHour) int {
		if a.corrected != b.corrected {
			if a.corrected {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.hour.Hour, b.hour.Hour)
	})
	return pending
}

// flushHour makes the parts of an hour's events with numbers below until.
func (l *Ledger) flushHour(ctx context.Context, s *state, h *hour, until uint64) error {
	for h.To < until {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("making parts: %w", err)
		}
		if err := l.planPart(s, h, until); err != nil {
			return fmt.Errorf("plan a part of %s: %w", hourText(h.Hour), err)
		}
		if err := l.finishPart(s, h); err != nil {
			return err
		}
	}
	return nil
}
