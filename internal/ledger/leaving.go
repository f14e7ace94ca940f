package ledger

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// recordLeaving says in the chain which files of an hour or day leave, with the totals of their parts.
func (l *Ledger) recordLeaving(s *state, plan *leaving) error {
	record := l.chainRecord(plan.Hour, &sealed{At: l.now(), Covers: []string{}})
	record.Files = []ChainFile{}
	mark, err := s.markLeaving(plan, record)
	if err != nil {
		return err
	}
	if l.o.sabotage == leaveUnrecorded {
		if err := l.removeLeaving(plan); err != nil {
			return err
		}
	}
	var head chainHead
	if err := s.update(func(b *pebble.Batch) (err error) {
		if head, err = s.appendChain(b, []*ChainRecord{record}); err != nil {
			return err
		}
		if err := mark(b); err != nil {
			return err
		}
		return setJSON(b, hourKey(keyLeaving, plan.Hour), plan)
	}); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s.chain, s.leaving = head, plan
	if plan.Tree == leavingDaily {
		delete(s.days.parts, dayOf(plan.Hour))
	}
	return nil
}

// markLeaving fills in the record of what leaves; mark is what the store remembers of it.
func (s *state) markLeaving(plan *leaving, record *ChainRecord) (mark func(*pebble.Batch) error, err error) {
	leave := func(number uint64, files, file int) error {
		of, err := s.chainRecord(number, files)
		if err != nil {
			return err
		}
		record.Left = append(record.Left, of.Files[file])
		if record.Totals, err = record.Totals.Plus(of.Totals); err != nil {
			return corrupt(fmt.Sprintf("record %d of the chain", of.Number), err)
		}
		return nil
	}
	if plan.Tree == leavingDaily {
		day := dayOf(plan.Hour)
		record.Day = dayDate(day)
		parts, err := s.dailyParts(day)
		if err != nil {
			return nil, err
		}
		for i := range parts {
			if err := leave(parts[i].Record, 1, 0); err != nil {
				return nil, err
			}
		}
		return func(b *pebble.Batch) error {
			for i := range parts {
				if err := b.Delete(dailyKey(day, parts[i].Number), nil); err != nil {
					return err
				}
			}
			return nil
		}, nil
	}
	parts, err := s.sealedParts(plan.Hour)
	if err != nil {
		return nil, err
	}
	parts = slices.DeleteFunc(parts, func(p sealed) bool { return !slices.Contains(plan.Names, p.Name) })
	for i := range parts {
		if err := leave(parts[i].Record, len(trees), plan.Tree); err != nil {
			return nil, err
		}
		parts[i].Left |= 1 << plan.Tree
	}
	return func(b *pebble.Batch) error {
		for i := range parts {
			if err := setJSON(b, hourSeqKey(keySealed, plan.Hour, parts[i].From), &parts[i]); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// finishLeaving removes what the chain says has left, once the chain's file says so too.
func (l *Ledger) finishLeaving(s *state) error {
	plan := s.leaving
	if plan == nil {
		return nil
	}
	if err := l.writeChain(s); err != nil {
		return err
	}
	if err := l.removeLeaving(plan); err != nil {
		return fmt.Errorf("remove what has left of %s, which is tried again: %w", hourText(plan.Hour), err)
	}
	if err := s.update(func(b *pebble.Batch) error { return b.Delete(hourKey(keyLeaving, plan.Hour), nil) }); err != nil {
		return err
	}
	s.leaving = nil
	l.removeStage()
	return nil
}

// removeLeaving removes files. What else is in their folder stays: usage that came late.
func (l *Ledger) removeLeaving(plan *leaving) error {
	tree := leavingTrees[plan.Tree]
	live := l.paths.hour(tree, plan.Hour)
	names, err := l.paths.list(live, extension)
	if err != nil {
		return err
	}
	x := &replacement{hour: plan.Hour}
	for _, name := range plan.Names {
		if slices.Contains(names, name+extension) {
			x.covers = append(x.covers, name)
		}
	}
	if len(x.covers) > 0 {
		if err := l.takeOut(x, tree, len(x.covers) == len(names)); err != nil {
			return err
		}
	}
	// Also when an earlier attempt took them out: that may have ended before it was durable.
	for dir := live; ; dir = l.paths.fs.PathDir(dir) {
		if there, err := l.paths.exists(dir); err != nil {
			return err
		} else if there {
			if err := l.paths.sync(dir); err != nil {
				return err
			}
			if dir != live {
				break
			}
		}
	}
	l.removeEmpty(live)
	return nil
}

// takeOut takes files out of a folder, in one step where that can be done; all says that there are no others.
func (l *Ledger) takeOut(x *replacement, tree string, all bool) error {
	live, stage := l.paths.hour(tree, x.hour), l.paths.staged(tree)
	if err := l.o.FS.RemoveAll(stage); err != nil {
		return err
	}
	if all {
		if err := l.o.FS.MkdirAll(l.paths.stage(), 0o755); err != nil {
			return err
		}
		if err := l.o.FS.Rename(live, stage); err != nil {
			return err
		}
		return l.paths.sync(l.paths.fs.PathDir(live))
	}
	if !l.noExchange {
		if err := l.o.FS.MkdirAll(stage, 0o755); err != nil {
			return err
		}
		err := l.exchangeTree(x, tree)
		if err == nil {
			return l.syncExchange(x.hour, tree)
		}
		if !errors.Is(err, ErrExchangeUnsupported) {
			return err
		}
		l.noExchange = true
	}
	for _, name := range x.covers {
		if err := l.o.FS.Remove(l.paths.join(live, name+extension)); err != nil {
			return err
		}
	}
	return nil
}

// removeEmpty removes the folders above a writer's folder of an hour that nothing is left in. Those that are not empty say so, and stay.
func (l *Ledger) removeEmpty(live string) {
	above := l.paths.fs.PathDir(live) // hour=HH, in daily/ date=YYYY-MM-DD
	if l.o.FS.Remove(above) == nil {
		_ = l.o.FS.Remove(l.paths.fs.PathDir(above))
	}
}
