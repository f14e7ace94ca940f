package index

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// mergedTables is how many tables become one, at least: all that came after one that has no more entries than a third of theirs, and it. So each entry is written
// a few times, and there are few tables, whatever their sizes are. Those of a generation that takes no more become one.
const mergedTables = 4

// wake has somebody maintain the index, unless it is closing. mu is held.
func (x *Index) wake() {
	x.due = true
	if !x.maintaining && !x.closing {
		x.maintaining = true
		x.work.Go(x.maintain)
	}
}

// maintain removes what is dead, reads filters and merges tables, until nothing is due.
func (x *Index) maintain() {
	for x.isDue() {
		for again := true; again; {
			x.bury()
			x.share()
			again = x.merge()
		}
	}
}

func (x *Index) isDue() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.maintaining = x.due && !x.closing
	x.due = false
	return x.maintaining
}

func (x *Index) isClosing() bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.closing
}

// bury removes the files of tables that nobody looks into any more.
func (x *Index) bury() {
	x.mu.Lock()
	dead := x.dead
	x.dead = nil
	x.mu.Unlock()
	if len(dead) == 0 {
		return
	}
	x.files.Lock()
	for _, t := range dead {
		if err := t.close(); err != nil {
			x.Report(err)
		}
	}
	x.files.Unlock()
	for _, t := range dead {
		if err := x.FS.Remove(x.FS.PathJoin(x.path, t.name.String())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			x.Report(fmt.Errorf("a file of the index that is not needed any more can't be removed: %w", err))
		}
	}
}

// share has filters in memory, as far as CacheSize goes, those of the smallest tables first: a byte of theirs spares most reads.
func (x *Index) share() {
	x.mu.RLock()
	tables := x.tables()
	x.mu.RUnlock()
	slices.SortFunc(tables, func(a, b *table) int { return cmp.Compare(a.entries, b.entries) })
	left, may := x.CacheSize, make([]int64, len(tables))
	for i, t := range tables {
		may[i] = min(left, t.filterBytes())
		left -= may[i]
	}
	for i, t := range slices.Backward(tables) { // what the large ones give back comes first
		if x.isClosing() {
			return
		}
		if err := t.hold(may[i]); err != nil {
			x.Report(fmt.Errorf("a filter of the index can't be read: the file is looked into for each event until it is merged: %w", err))
		}
	}
}

// toMerge is a generation and which of its tables are to become one, of which the first has number first; none when none are to. mu is held.
func (x *Index) toMerge() (g *generation, first int, tables []*table) {
	for _, g := range x.generations {
		if first := g.toMerge(g == x.newest()); first >= 0 {
			return g, first, g.tables[first:min(first+mostMerged, len(g.tables))]
		}
	}
	return nil, 0, nil
}

func (g *generation) toMerge(newest bool) int {
	if !newest && len(g.tables) > 1 {
		return 0
	}
	first, newer := -1, int64(0)
	for i, t := range slices.Backward(g.tables) {
		if len(g.tables)-i >= mergedTables && t.entries <= newer/(mergedTables-1) {
			first = i
		}
		newer += t.entries
	}
	return first
}

var errOver = errors.New("nobody needs it any more")

// merge makes one table of several, if that is due, and says whether it did.
func (x *Index) merge() bool {
	x.mu.RLock()
	g, first, covered := x.toMerge()
	x.mu.RUnlock()
	if g == nil {
		return false
	}
	merged, err := x.mergeTables(g, covered)
	if err != nil {
		if !errors.Is(err, errOver) {
			x.Report(fmt.Errorf("files of the index could not be merged, which is tried again: %w", err))
		}
		return false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if g.forgotten {
		x.dead = append(x.dead, merged...)
		return true
	}
	x.dead = append(x.dead, covered...)
	g.tables = slices.Concat(g.tables[:first], merged, g.tables[first+len(covered):])
	return true
}

// mergeTables gives the table that has what the covered ones have, on disk for good; none when nothing of them could be read.
func (x *Index) mergeTables(g *generation, covered []*table) (merged []*table, err error) {
	from, to, room := covered[0].from, covered[0].to, int64(0)
	for _, t := range covered {
		from, to, room = min(from, t.from), max(to, t.to), room+t.entries
	}
	n := name{g.number, covered[0].first, covered[len(covered)-1].last}
	t, err := x.makeTable(n, room, from, to, func(w *writer) error {
		report := func(err error) {
			x.Report(fmt.Errorf("a part of the index can't be read and is left out: copies of its events go on to the ledger, which knows them: %w", err))
		}
		if err := mergeInto(w, covered, report, func() error { return x.isNeeded(g) }); err != nil {
			return err
		}
		if w.table.entries == 0 {
			return errEmpty
		}
		return nil
	})
	if errors.Is(err, errEmpty) {
		return nil, nil
	}
	return []*table{t}, err
}

var errEmpty = errors.New("it has no entries")

func (x *Index) isNeeded(g *generation) error {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.closing || g.forgotten {
		return errOver
	}
	return nil
}

// makeTable writes a file of at most so many entries, which fill adds. One that replaces others gets its name when it is on disk for good.
func (x *Index) makeTable(n name, room, from, to int64, fill func(*writer) error) (t *table, err error) {
	if du, err := x.FS.GetDiskUsage(x.path); err == nil && du.AvailBytes < minFree+uint64(room)*BytesPerEntry {
		return nil, fmt.Errorf("%d bytes of disk are free, %d are kept", du.AvailBytes, minFree)
	}
	replaces := n.first != n.last
	final := x.FS.PathJoin(x.path, n.String())
	path := final
	if replaces {
		path += unfinished
	}
	w, err := newWriter(x.FS, path, n, room)
	if err != nil {
		return nil, err
	}
	if err = fill(w); err == nil {
		err = w.finish(from, to)
	}
	if err == nil && replaces {
		err = x.settle(w.table, path, final)
	}
	if err != nil {
		// What remains the next start removes: it has no end, or is replaced.
		_ = errors.Join(w.table.close(), x.FS.Remove(path), x.FS.Remove(final))
		return nil, err
	}
	return w.table, nil
}

// settle has a file on disk for good, and gives it its name. It is closed meanwhile: not every system gives an open file another name.
func (x *Index) settle(t *table, path, final string) error {
	if err := errors.Join(t.file.Sync(), t.close()); err != nil {
		return err
	}
	if err := x.FS.Rename(path, final); err != nil {
		return err
	}
	if err := syncFolder(x.FS, x.path); err != nil {
		return err
	}
	file, err := x.FS.Open(final, vfs.RandomReadsOption)
	if err == nil {
		t.file = file
	}
	return err
}
