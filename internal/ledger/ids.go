package ledger

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/usagebox/otelcol-usagebox/internal/ledger/idtable"
)

// ids is what is known of every event that was ever accepted: the newest in memory, all others in tables beside the store (see idtable). Nothing of it is
// written when an event is acknowledged: the chunks say which events there are, and what they don't say is in records of the store (keyPending). When so many have come, or a
// seal is to take their chunks away, those in memory become a table; the store then records it, and the number up to which ids are in tables.
type ids struct {
	// committing is held while a commit's ids are on their way into the store and into newest, so that a table ends between two commits.
	committing sync.Mutex

	mu       sync.RWMutex // guards what follows; held for reading during looks into tables
	newest   *newestIDs
	older    *newestIDs // on its way into a table; nil: none
	spare    *newestIDs // has no ids: the next newest; nil: none
	tables   []*idTable // oldest first
	inTables uint64     // events with lower numbers are in tables
	closed   bool
}

// idTable is a table and the store's record of it.
type idTable struct {
	*idtable.Table
	position uint64 // in its key: tables are in the order of their age
	idTableRecord
}

// idTableRecord is what the store has of a table.
type idTableRecord struct {
	File uint64 `json:"file"`
	IDs  int64  `json:"ids"`
}

const (
	idsPerTable = 128 << 10 // that are in memory when they become a table
	mostNewest  = 8         // times as many wait for that at most
)

// forgotten is in the place of the number of an id that is known no more.
const forgotten = idtable.MaxSeq

// known is where an event is.
func (s *state) known(d digest) (k known, ok bool, err error) {
	s.ids.mu.RLock()
	defer s.ids.mu.RUnlock()
	return s.ids.find(d, new(idtable.Page))
}

// find looks for an id. p is room; mu is held.
func (x *ids) find(d digest, p *idtable.Page) (k known, ok bool, err error) {
	if x.closed {
		return known{}, false, ErrBroken
	}
	if k, ok = x.inMemory(d); !ok {
		if k, ok, err = x.inTable(d, p); err != nil {
			return known{}, false, err
		}
	}
	return k, ok && k.Seq != forgotten, nil
}

// inMemory and inTable look for an id, one that is forgotten included.
func (x *ids) inMemory(d digest) (known, bool) {
	k, ok := x.newest.get(d)
	if !ok && x.older != nil {
		k, ok = x.older.get(d)
	}
	return k, ok
}

// mayBeInTable is false only when inTable would find nothing. It reads nothing from the disk.
func (x *ids) mayBeInTable(d digest) bool {
	for i := len(x.tables) - 1; i >= 0; i-- {
		if x.tables[i].MayHave((*[16]byte)(&d)) {
			return true
		}
	}
	return false
}

func (x *ids) inTable(d digest, p *idtable.Page) (known, bool, error) {
	for i := len(x.tables) - 1; i >= 0; i-- {
		t := x.tables[i]
		if !t.MayHave((*[16]byte)(&d)) {
			continue
		}
		r, found, err := t.Get((*[16]byte)(&d), p)
		if err != nil {
			return known{}, false, t.readError(err)
		}
		if found {
			return known{usageHour(r.Hour), r.Payload, r.Seq}, true, nil
		}
	}
	return known{}, false, nil
}

func (t *idTable) readError(err error) error {
	var damage *idtable.DamageError
	if errors.As(err, &damage) {
		return corrupt(idsFolder+"/"+idFile(t.File), err)
	}
	return fmt.Errorf("read the known ids in %s: %w", idFile(t.File), err)
}

func idFile(number uint64) string { return fmt.Sprintf("%012d%s", number, idExtension) }

const (
	idsFolder   = "ids"
	idExtension = ".ids"
)

// numberOf is that of a file of ids, finished or not.
func numberOf(name string) (n uint64) {
	_, _ = fmt.Sscanf(name, "%d.", &n) // 0 when it is something else
	return n
}

// remember takes over the ids of a commit that is durable now. committing is held.
func (x *ids) remember(changes map[digest]idChange) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for d, c := range changes {
		x.newest.put(d, c.known)
	}
}

// count is how many ids are in memory alone.
func (x *ids) count() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.newest.used
}

func (x *ids) bytes() (size int64) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	for _, t := range x.tables {
		size += t.Size()
	}
	return size
}

func (x *ids) recorded() uint64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.inTables
}

// full takes what is in memory away to become a table, if that is so many; what could not become one before goes first. nil: there is nothing.
func (l *Ledger) full(s *state, least int) *newestIDs {
	x := &s.ids
	x.committing.Lock()
	defer x.committing.Unlock()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.older != nil || x.newest.used < max(1, least) {
		return x.older
	}
	x.older = x.newest
	x.older.next = s.next
	if x.newest, x.spare = x.spare, nil; x.newest == nil {
		x.newest = newNewest(0, x.older.used)
	}
	x.newest.generation = l.idNumbers.next()
	return x.older
}

func (l *Ledger) idsPerTable() int { return cmp.Or(l.o.idsPerTable, idsPerTable) }

// writeIDs makes tables of the ids that are in memory, if they are so many.
func (l *Ledger) writeIDs(s *state, least int) error {
	l.writingIDs.Lock()
	defer l.writingIDs.Unlock()
	for {
		full := l.full(s, least)
		if full == nil {
			return nil
		}
		if err := l.writeTable(s, full); err != nil {
			return fmt.Errorf("make a table of ids, which is tried again: %w", err)
		}
	}
}

// writeIDsBelow makes tables of the ids of all events with numbers below until.
func (l *Ledger) writeIDsBelow(s *state, until uint64) error {
	if l.o.sabotage == sealDropsIDs {
		return nil
	}
	l.writingIDs.Lock()
	defer l.writingIDs.Unlock()
	for s.ids.recorded() < until {
		full := l.full(s, 1)
		if full == nil {
			return corrupt("the store", fmt.Errorf("the ids of events below %d are neither in tables nor in memory", until))
		}
		if err := l.writeTable(s, full); err != nil {
			return fmt.Errorf("make a table of ids, which is tried again: %w", err)
		}
	}
	return nil
}

// writeTable makes a table of ids that were in memory, records it, and uses it from then on.
func (l *Ledger) writeTable(s *state, full *newestIDs) error {
	record := func(b *pebble.Batch) error { return setNumber(b, metaIDs, full.next) }
	if l.o.sabotage == idsBeforeTable {
		if err := s.update(record); err != nil {
			return err
		}
	}
	table, err := l.makeTable(full.generation, int64(full.used), func(w *idtable.Writer) error {
		for d, k := range full.all() {
			if err := w.Add(&idtable.Record{ID: d, Payload: k.Payload, Hour: uint32(k.Hour), Seq: k.Seq}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := s.update(func(b *pebble.Batch) error {
		if err := setJSON(b, numberKey(keyTable, table.position), table.idTableRecord); err != nil {
			return err
		}
		// All that the store has of them, and of what a start has read from it.
		if err := b.DeleteRange([]byte{keyPending}, numberKey(keyPending, full.generation+1), nil); err != nil {
			return err
		}
		return record(b)
	}); err != nil {
		return errors.Join(err, table.Close())
	}
	x := &s.ids
	x.mu.Lock()
	x.tables = append(slices.Clip(x.tables), table)
	x.older, x.inTables = nil, full.next
	x.mu.Unlock()
	spare := full.emptied()
	x.mu.Lock()
	x.spare = spare
	x.mu.Unlock()
	return l.shareFilters(x)
}

// makeTable writes a file of ids, durable with its name, and opens it.
func (l *Ledger) makeTable(position uint64, room int64, fill func(*idtable.Writer) error) (t *idTable, err error) {
	t = &idTable{position: position, idTableRecord: idTableRecord{File: l.idNumbers.next()}}
	path := l.paths.idTable(t.File)
	defer func() {
		if err != nil {
			// What remains the next start removes.
			_ = l.o.FS.Remove(path + temporary)
		}
	}()
	w, err := idtable.NewWriter(l.o.FS, path+temporary, room)
	if err != nil {
		return nil, err
	}
	if err := fill(w); err != nil {
		return nil, errors.Join(err, w.Abort())
	}
	if t.IDs, err = w.Finish(); err != nil {
		return nil, err
	}
	if err := l.o.FS.Rename(path+temporary, path); err != nil {
		return nil, err
	}
	if err := l.paths.sync(l.paths.ids()); err != nil {
		return nil, err
	}
	if t.Table, err = idtable.Open(l.o.FS, path); err != nil {
		return nil, err
	}
	return t, nil
}

// shareFilters has of the tables' filters in memory what CacheBytes take. Looks go on meanwhile. writingIDs is held.
func (l *Ledger) shareFilters(x *ids) error {
	x.mu.RLock()
	tables := x.tables
	x.mu.RUnlock()
	all := make([]*idtable.Table, len(tables))
	for i, t := range tables {
		all[i] = t.Table
	}
	if failed, err := idtable.Share(all, l.o.CacheBytes); err != nil {
		return tables[failed].readError(err)
	}
	return nil
}

// idNumbers numbers files of ids and what is in memory, none twice in a process, nor one that a file has.
type idNumbers struct{ last atomic.Uint64 }

func (n *idNumbers) next() uint64 { return n.last.Add(1) }

// above makes all that follow greater than one that is taken.
func (n *idNumbers) above(taken uint64) {
	for {
		last := n.last.Load()
		if last >= taken || n.last.CompareAndSwap(last, taken) {
			return
		}
	}
}
