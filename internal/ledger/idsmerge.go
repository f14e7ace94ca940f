package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"go.uber.org/zap"

	"github.com/usagebox/otelcol-usagebox/internal/ledger/idtable"
)

// mergedTables is how many tables become one, at least: all that came after one that has no more ids than a third of theirs, and it. So each id is written
// a few times, and there are few tables, whatever their sizes are.
const mergedTables = 4

// toMerge is the first of the tables that are to become one, of which all newer ones are; -1 when none are.
func toMerge(tables []*idTable) int {
	first, newer := -1, int64(0)
	for i := len(tables) - 1; i >= 0; i-- {
		if len(tables)-i >= mergedTables && tables[i].IDs <= newer/(mergedTables-1) {
			first = i
		}
		newer += tables[i].IDs
	}
	return first
}

// mergeIDs merges tables of ids until there are few. It goes on beside commits and makes tables of what they bring meanwhile.
func (l *Ledger) mergeIDs(s *state) error {
	if !l.mergingIDs.TryLock() {
		return nil // somebody does it
	}
	defer l.mergingIDs.Unlock()
	for {
		s.ids.mu.RLock()
		first := toMerge(s.ids.tables)
		covered := slices.Clone(s.ids.tables[max(first, 0):])
		s.ids.mu.RUnlock()
		if first < 0 {
			return nil
		}
		if err := l.mergeTables(s, first, covered); err != nil {
			return fmt.Errorf("merge tables of ids, which is tried again: %w", err)
		}
	}
}

func (l *Ledger) mergeTables(s *state, first int, covered []*idTable) error {
	paths, room := make([]string, len(covered)), int64(0)
	for i, t := range covered {
		paths[i] = l.paths.idTable(t.File)
		room += t.IDs
	}
	merged, err := l.makeTable(covered[0].position, room, func(w *idtable.Writer) error {
		return idtable.Merge(w, l.o.FS, paths, func() error {
			if s.store.isOver() || l.isClosing() {
				return errOver
			}
			return l.writeIDs(s, l.idsPerTable())
		})
	})
	if err != nil {
		return err
	}
	l.writingIDs.Lock()
	defer l.writingIDs.Unlock()
	if err := s.update(func(b *pebble.Batch) error {
		for _, t := range covered {
			if err := b.Delete(numberKey(keyTable, t.position), nil); err != nil {
				return err
			}
		}
		return setJSON(b, numberKey(keyTable, merged.position), merged.idTableRecord)
	}); err != nil {
		return errors.Join(err, merged.Close())
	}
	s.ids.mu.Lock()
	s.ids.tables = slices.Concat(s.ids.tables[:first], []*idTable{merged}, s.ids.tables[first+len(covered):])
	for _, t := range covered {
		err = errors.Join(err, t.Close())
	}
	s.ids.mu.Unlock()
	err = errors.Join(err, l.shareFilters(&s.ids))
	for _, path := range paths {
		if removed := l.o.FS.Remove(path); removed != nil && !errors.Is(removed, fs.ErrNotExist) {
			l.o.Logger.Warn("a table of ids that was merged could not be removed, which the next start will do", zap.String("file", path), zap.Error(removed))
		}
	}
	return err
}

var errOver = errors.New("the store is over")

func (l *Ledger) isClosing() bool {
	select {
	case <-l.closing:
		return true
	default:
		return false
	}
}

// idsRetry is how long ids that could not become a table wait.
const idsRetry = time.Second

// idsLoop makes tables of ids when there are enough, until the ledger closes.
func (l *Ledger) idsLoop() {
	defer l.work.Done()
	for {
		select {
		case <-l.closing:
			return
		case <-l.idsDue:
		}
		err := l.read(func(s *state) error { return l.keepIDs(s, l.idsPerTable()) })
		if err == nil || errors.Is(err, errOver) || errors.Is(err, ErrBroken) { // the next commit asks for it again
			continue
		}
		l.o.Observer.MaintenanceFailed()
		l.o.Logger.Error("ids could not be put into a table; what was acknowledged is kept, it is tried again", zap.Error(err))
		retry := time.NewTimer(idsRetry)
		select {
		case <-l.closing:
		case <-retry.C:
		}
		retry.Stop()
	}
}

// keepIDs makes tables of ids, if they are so many, and merges tables.
func (l *Ledger) keepIDs(s *state, least int) error {
	if err := l.writeIDs(s, least); err != nil {
		return err
	}
	return l.mergeIDs(s)
}

// mergeIDsSoon merges tables after a seal, which may have made small ones.
func (l *Ledger) mergeIDsSoon(s *state) error {
	if l.o.Manual {
		return l.mergeIDs(s)
	}
	l.wakeIDs()
	return nil
}

func (l *Ledger) wakeIDs() {
	select {
	case l.idsDue <- struct{}{}:
	default:
	}
}

// roomForIDs is asked before a commit: ids that can't become tables don't fill the memory.
func (l *Ledger) roomForIDs(s *state) error {
	n := s.ids.count()
	if n < l.idsPerTable() {
		return nil
	}
	if l.o.Manual {
		return l.keepIDs(s, l.idsPerTable())
	}
	l.wakeIDs()
	if n < mostNewest*l.idsPerTable() {
		return nil
	}
	return l.writeIDs(s, l.idsPerTable())
}
