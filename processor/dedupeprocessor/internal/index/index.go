package index

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"

	"github.com/usagebox/otelcol-usagebox/internal/dirlock"
	"github.com/usagebox/otelcol-usagebox/usage"
)

const (
	perWindow = 2 // generations that a window has, when size does not end them earlier
	perSize   = 4 // generations that MaxDisk has

	// BytesPerEntry is what an entry takes of MaxDisk: 35.2 of its own, and a quarter as much while a generation is merged.
	BytesPerEntry = 48

	// freshFor is after how long what came goes to a file, with what comes next.
	freshFor = time.Second

	// mostTables is how many a generation has when nothing more is remembered, because they can't be merged.
	mostTables = 256

	// minFree is the free disk space, in bytes, below which nothing is written.
	minFree = 64 << 20
)

// Options say what an index is to be.
type Options struct {
	Directory string
	Window    time.Duration // for how long an event is remembered, at least
	MaxDisk   int64         // bytes on disk
	CacheSize int64         // bytes of memory for filters
	FS        vfs.FS
	Logger    *zap.Logger
	Report    func(error) // of what can't be read or merged; from any goroutine
}

// Index knows the payload of every event that was let through within the window. A crash may lose the newest of them, which costs a look at the ledger for a retry
// and nothing else: so nothing that came is waited for to reach the disk. What can't be read counts as not known, for the same reason.
type Index struct {
	Options
	lock *dirlock.Lock
	path string // of the folder with files

	// files is held for reading while files are read, so that none is closed meanwhile.
	files sync.RWMutex

	mu          sync.RWMutex  // guards what follows; an entry is either fresh or in a table
	generations []*generation // that are not forgotten, oldest first
	fresh       fresh         // what the newest generation has in no table
	written     int64         // when a table was written last, in nanoseconds since 1970
	dead        []*table      // to be closed and removed
	due         bool          // there is something to maintain
	maintaining bool
	closing     bool

	work sync.WaitGroup // the maintainer
}

// generation is what was let through in a part of the window. All of it is forgotten at once.
type generation struct {
	number      uint32
	first, last int64    // times of entries, in nanoseconds since 1970
	tables      []*table // oldest first; never changed, but exchanged
	forgotten   bool
}

// Open opens the index in a directory. The error is a *dirlock.HeldError when somebody else has it.
func Open(o Options) (*Index, error) {
	lock, err := dirlock.Acquire(o.Directory, "dedupe's directory")
	if err != nil {
		return nil, err
	}
	x, err := open(o, lock)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the index in %s: %w", o.Directory, err), lock.Release())
	}
	return x, nil
}

func open(o Options, lock *dirlock.Lock) (x *Index, err error) {
	x = &Index{Options: o, lock: lock, fresh: newFresh(rand.Uint64())}
	if x.path, err = openFolder(o.FS, o.Directory, o.Logger); err != nil {
		return nil, err
	}
	tables, err := openTables(o.FS, x.path, o.Logger)
	if err != nil {
		return nil, fmt.Errorf("%w: make it readable, or remove the directory (the ledger knows every event)", err)
	}
	for _, t := range tables {
		if g := x.newest(); g == nil || g.number != t.generation {
			x.generations = append(x.generations, &generation{number: t.generation, first: t.from, last: t.to})
		}
		g := x.newest()
		g.first, g.last = min(g.first, t.from), max(g.last, t.to)
		g.tables = append(g.tables, t)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.wake()
	return x, nil
}

// Close writes what is fresh and ends the use of the directory.
func (x *Index) Close() error {
	x.mu.Lock()
	x.closing = true
	x.mu.Unlock()
	x.work.Wait()
	x.mu.Lock()
	defer x.mu.Unlock()
	err := x.write(x.written)
	for _, t := range slices.Concat(x.tables(), x.dead) {
		err = errors.Join(err, t.close())
	}
	return errors.Join(err, x.lock.Release())
}

func (x *Index) newest() *generation {
	if len(x.generations) == 0 {
		return nil
	}
	return x.generations[len(x.generations)-1]
}

// tables is all of them; mu is held.
func (x *Index) tables() (all []*table) {
	for _, g := range x.generations {
		all = append(all, g.tables...)
	}
	return all
}

// Size is the bytes of all files.
func (x *Index) Size() (bytes int64) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	for _, t := range slices.Concat(x.tables(), x.dead) {
		bytes += t.size
	}
	return bytes
}

// entries is how many are remembered; mu is held.
func (x *Index) entries() (n int64) {
	for _, g := range x.generations {
		n += g.entries()
	}
	return n + int64(len(x.fresh.entries))
}

// entries is how many are in tables.
func (g *generation) entries() (n int64) {
	for _, t := range g.tables {
		n += t.entries
	}
	return n
}

// Known is what is known of an event.
type Known struct {
	Payload usage.Payload // that was let through last
	Found   bool          // within the window
}

// Seen looks for entries' hashes and tells what is known of each, in known, which is as long and says of none that it is found.
func (x *Index) Seen(now time.Time, entries []Entry, known []Known) {
	x.files.RLock()
	defer x.files.RUnlock()
	r := rooms.Get().(*room)
	defer rooms.Put(r)
	tables := x.look(now, entries, known)
	r.probes = r.probes[:0]
	for i := range entries {
		if !known[i].Found {
			r.probes = append(r.probes, probeOf(&entries[i].Hash, i))
		}
	}
	r.page.of = nil
	for _, t := range tables {
		r.may = t.filter.Load().mayHave(r.probes, r.may[:0])
		slices.SortFunc(r.may, func(i, j int32) int { return compare(&entries[i], &entries[j]) }) // those of a page share its read
		found := false
		for _, i := range r.may {
			payload, has, err := t.get(&entries[i].Hash, &r.page)
			if err != nil {
				x.Report(fmt.Errorf("a part of the index can't be read: copies of its events go on to the ledger, which knows them: %w", err))
			}
			if has {
				known[i], found = Known{payload, true}, true
			}
		}
		if found {
			r.probes = slices.DeleteFunc(r.probes, func(p probe) bool { return known[p.entry].Found })
		}
	}
}

// room is what Seen needs.
type room struct {
	probes []probe // of what was not found yet
	may    []int32 // that a table may have
	page   page
}

var rooms = sync.Pool{New: func() any { return new(room) }}

// look is Seen among what is fresh; what is not found may be in the tables.
func (x *Index) look(now time.Time, entries []Entry, known []Known) (newestFirst []*table) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if g := x.newest(); g != nil && x.remembers(g, now) && len(x.fresh.entries) > 0 {
		for i := range entries {
			known[i].Payload, known[i].Found = x.fresh.payload(&entries[i].Hash)
		}
	}
	for _, g := range slices.Backward(x.generations) {
		if x.remembers(g, now) {
			for _, t := range slices.Backward(g.tables) {
				newestFirst = append(newestFirst, t)
			}
		}
	}
	return newestFirst
}

func (x *Index) remembers(g *generation, now time.Time) bool {
	return now.UnixNano()-g.last <= int64(x.Window)
}

// Record adds entries to the newest generation, and forgets generations that are older than the window or do not fit. evicted counts the entries that
// were forgotten before the window's end. After an error what was not written yet is forgotten.
func (x *Index) Record(entries []Entry, now time.Time) (evicted int64, err error) {
	if len(entries) == 0 {
		return 0, nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	at := now.UnixNano()
	if g := x.newest(); g == nil || x.isFull(g, at) {
		next := &generation{number: 1, first: at, last: at}
		if g != nil {
			next.number = g.number + 1
			err = x.write(at)
			x.wake()
		}
		x.generations = append(x.generations, next)
	}
	g := x.newest()
	g.last = max(g.last, at)
	for len(entries) > 0 {
		entries = entries[x.fresh.add(entries):]
		if x.fresh.isFull() {
			err = errors.Join(err, x.write(at))
		}
	}
	if at-x.written >= int64(freshFor) || at < x.written {
		err = errors.Join(err, x.write(at))
	}
	return x.evict(now), err
}

func (x *Index) max() int64 { return x.MaxDisk / BytesPerEntry }

// isFull says that the newest generation takes no more.
func (x *Index) isFull(g *generation, at int64) bool {
	return at-g.first >= int64(x.Window/perWindow) || g.entries()+int64(len(x.fresh.entries)) >= x.max()/perSize
}

// evict forgets generations; the newest stays.
func (x *Index) evict(now time.Time) (evicted int64) {
	for total := x.entries(); len(x.generations) > 1; {
		g := x.generations[0]
		remembered, entries := x.remembers(g, now), g.entries()
		if remembered && total <= x.max() {
			break
		}
		if remembered {
			evicted += entries
		}
		total -= entries
		g.forgotten = true
		x.dead = append(x.dead, g.tables...)
		x.generations = slices.Clone(x.generations[1:])
		x.wake()
	}
	return evicted
}

// write makes a table of what is fresh. What a crash takes of it the ledger knows. mu is held.
func (x *Index) write(at int64) error {
	if len(x.fresh.entries) == 0 {
		return nil
	}
	defer func() {
		x.fresh.clear()
		x.written = at
	}()
	g := x.newest()
	if len(g.tables) >= mostTables {
		return fmt.Errorf("%d files of the index wait to be merged", len(g.tables))
	}
	number := uint32(1)
	if n := len(g.tables); n > 0 {
		number = g.tables[n-1].last + 1
	}
	t, err := x.makeTable(name{g.number, number, number}, int64(len(x.fresh.entries)), g.first, g.last, func(w *writer) error {
		entries := x.fresh.sorted()
		for i := range entries {
			if err := w.add(&entries[i].Hash, &entries[i].Payload); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	g.tables = append(slices.Clip(g.tables), t)
	x.wake()
	return nil
}
