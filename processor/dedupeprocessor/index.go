package dedupeprocessor

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/zeebo/xxh3"
	"go.uber.org/zap"

	"github.com/usagebox/otelcol-usagebox/internal/dirlock"
	"github.com/usagebox/otelcol-usagebox/internal/manifest"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// indexVersion is the version of the directory's form: the package comment has it.
const indexVersion = 1

const (
	perWindow   = 2   // generations that a window has, when size does not end them earlier
	perSize     = 4   // generations that max_disk has
	entryBytes  = 64  // of max_disk that an entry takes: 36 of its own, the rest for the store's levels and log
	batchBytes  = 40  // of a batch that an entry takes
	batchHeader = 256 // the same, of all else
)

// What is let through goes to the store when it is so much, or, with what comes next, after so long.
const (
	mostFresh = 128 << 10 // entries
	freshFor  = time.Second
)

// minFree is the free disk space, in bytes, below which nothing is remembered: a write that the disk has no room for would end the process.
const minFree = 64 << 20

// index knows the payload of every event that was let through within the window. A crash may lose the newest of them, those of a second, which costs a look at the
// ledger for a retry and nothing else: so nothing here waits for the disk.
type index struct {
	db     *pebble.DB
	cache  *pebble.Cache
	lock   *dirlock.Lock
	fs     vfs.FS
	dir    string
	window time.Duration
	max    uint64 // entries

	mu          sync.Mutex             // guards what follows, and is held while entries are written, so that one is either fresh or in the store
	generations []generation           // that are not forgotten, oldest first
	fresh       map[hash]usage.Payload // entries of the newest generation that are not in the store yet
	written     int64                  // when it was written to last, in nanoseconds since 1970
	oldest      uint32                 // the first generation that the store has

	reading sync.WaitGroup // of filters
	closing atomic.Bool
}

// generation is what was let through in a part of the window. All of it is forgotten at once.
type generation struct {
	number      uint32
	first, last int64 // times of entries, in nanoseconds since 1970
	entries     uint64

	filter *filter // of all of its entries; nil when it was begun before this start and is not read yet
}

// manyGenerations is how many are begun at most because of starts: each takes memory, and a look for every event until its filter is read.
const manyGenerations = 8

func openIndex(c *Config, fs vfs.FS, log *zap.Logger) (x *index, err error) {
	lock, err := dirlock.Acquire(c.Directory, "dedupe's directory")
	if err != nil {
		return nil, err
	}
	x = &index{lock: lock, fs: fs, dir: c.Directory, window: c.Window, max: uint64(c.MaxDisk / entryBytes), fresh: make(map[hash]usage.Payload), cache: pebble.NewCache(c.CacheSize)}
	options := &pebble.Options{
		FS: fs, Cache: x.cache, FormatMajorVersion: pebble.FormatNewest, MemTableSize: 4 << 20, L0CompactionThreshold: 16, L0StopWritesThreshold: 48, MemTableStopWritesThreshold: 8,
		Logger: logger{log.Sugar()},
	}
	for i := range options.Levels {
		options.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	if x.db, err = openStore(filepath.Join(c.Directory, "index"), options); err != nil {
		x.cache.Unref()
		return nil, errors.Join(fmt.Errorf("open the index in %s: %w", c.Directory, err), lock.Release())
	}
	if err := errors.Join(x.checkVersion(c.Directory), x.readGenerations()); err != nil {
		return nil, errors.Join(err, x.close())
	}
	unread := slices.Clone(x.generations)
	if len(unread) >= manyGenerations {
		unread = unread[:len(unread)-1] // what comes may be added to the last one, which isFull
	}
	x.reading.Go(func() { x.readFilters(unread, log) })
	return x, nil
}

// readFilters makes the filters of generations that earlier starts have left, newest first. Until one is there, each event costs a look at the store.
func (x *index) readFilters(generations []generation, log *zap.Logger) {
	for _, g := range slices.Backward(generations) {
		filter, err := x.readFilter(g.number)
		if err != nil {
			log.Warn("a part of dedupe's index could not be read into memory: it is asked for each event", zap.Error(err))
		}
		if filter == nil {
			return
		}
		x.mu.Lock()
		for i := range x.generations {
			if x.generations[i].number == g.number {
				x.generations[i].filter = filter
			}
		}
		x.mu.Unlock()
	}
}

// readBetweenLooks is how many entries are read before the reader looks whether the index is being closed.
const readBetweenLooks = 1 << 12

// readFilter makes the filter of a generation that nothing is added to; nil when the index is being closed.
func (x *index) readFilter(number uint32) (f *filter, err error) {
	from, to := entryKey(number, hash{}), entryKey(number+1, hash{})
	it, err := x.db.NewIter(&pebble.IterOptions{LowerBound: from[:], UpperBound: to[:]})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	f = newFilter()
	n := 0
	for it.First(); it.Valid(); it.Next() {
		if n++; n%readBetweenLooks == 0 && x.closing.Load() {
			return nil, nil
		}
		if key := it.Key(); len(key) == len(from) {
			f.add(hash(key[4:]))
		}
	}
	if err := it.Error(); err != nil {
		return nil, err
	}
	return f, nil
}

func openStore(dir string, options *pebble.Options) (*pebble.DB, error) {
	if err := manifest.Check(options.FS, dir); err != nil {
		return nil, fmt.Errorf("%w: nothing was changed; remove the directory (the ledger knows every event)", err)
	}
	return pebble.Open(dir, options)
}

func (x *index) checkVersion(dir string) error {
	v, closer, err := x.db.Get([]byte("v"))
	if errors.Is(err, pebble.ErrNotFound) {
		return x.db.Set([]byte("v"), []byte{indexVersion}, pebble.Sync)
	}
	if err != nil {
		return err
	}
	defer closer.Close()
	if len(v) != 1 || v[0] != indexVersion {
		return fmt.Errorf("dedupe's directory %s is of version %v, this program reads %d: use a newer program, or remove the directory (the ledger knows every event)", dir, v, indexVersion)
	}
	return nil
}

func (x *index) readGenerations() error {
	it, err := x.db.NewIter(&pebble.IterOptions{LowerBound: []byte("g"), UpperBound: []byte("h")})
	if err != nil {
		return err
	}
	for it.First(); it.Valid(); it.Next() {
		k, v := it.Key(), it.Value()
		if len(k) != 5 || len(v) != 24 {
			return errors.Join(fmt.Errorf("the index has a generation of %d and %d bytes: remove dedupe's directory (the ledger knows every event)", len(k), len(v)), it.Close())
		}
		x.generations = append(x.generations, generation{
			number: binary.BigEndian.Uint32(k[1:]), first: int64(binary.BigEndian.Uint64(v)),
			last: int64(binary.BigEndian.Uint64(v[8:])), entries: binary.BigEndian.Uint64(v[16:]),
		})
	}
	if len(x.generations) > 0 {
		x.oldest = x.generations[0].number
	}
	return it.Close()
}

func (x *index) close() error {
	x.closing.Store(true)
	x.reading.Wait()
	var err error
	if len(x.fresh) > 0 {
		err = x.write(x.written)
	}
	err = errors.Join(err, x.db.Close())
	x.cache.Unref()
	return errors.Join(err, x.lock.Release())
}

type hash = [16]byte

func hashOf(k usage.Key) hash {
	b := make([]byte, 0, 128)
	b = binary.AppendUvarint(b, uint64(len(k.Customer)))
	b = append(append(b, k.Customer...), k.ID...)
	return xxh3.Hash128(b).Bytes()
}

func entryKey(generation uint32, h hash) (key [20]byte) {
	binary.BigEndian.PutUint32(key[:], generation)
	copy(key[4:], h[:])
	return key
}

func generationKey(number uint32) []byte { return binary.BigEndian.AppendUint32([]byte("g"), number) }

// live is the generations that may know an event, newest first.
func (x *index) live(now time.Time) []generation {
	x.mu.Lock()
	defer x.mu.Unlock()
	live := make([]generation, 0, len(x.generations))
	for _, g := range slices.Backward(x.generations) {
		if !x.remembers(g, now) {
			continue
		}
		if g.filter != nil {
			g.filter = g.filter.reader()
		}
		live = append(live, g)
	}
	return live
}

func (x *index) remembers(g generation, now time.Time) bool {
	return now.UnixNano()-g.last <= int64(x.window)
}

// seen is the payload that was let through last, within the window.
func (x *index) seen(live []generation, h hash) (p usage.Payload, found bool, err error) {
	for _, g := range live {
		if g.filter != nil && !g.filter.mayHave(h) {
			continue
		}
		if p, found := x.isFresh(g.number, h); found {
			return p, true, nil
		}
		key := entryKey(g.number, h)
		v, closer, err := x.db.Get(key[:])
		if errors.Is(err, pebble.ErrNotFound) {
			continue
		}
		if err != nil {
			return p, false, err
		}
		found = len(v) == len(p)
		copy(p[:], v)
		if err := closer.Close(); err != nil || found {
			return p, found, err
		}
	}
	return p, false, nil
}

// isFresh is what the newest generation has of an event that is not in the store yet.
func (x *index) isFresh(generation uint32, h hash) (p usage.Payload, found bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if n := len(x.generations); n > 0 && x.generations[n-1].number == generation {
		p, found = x.fresh[h]
	}
	return p, found
}

// entry is an event that the rest of the pipeline took.
type entry struct {
	hash    hash
	payload usage.Payload
}

// record adds entries to the newest generation, and forgets generations that are older than the window or do not fit. evicted counts the entries that
// were forgotten before the window's end. After an error what was not written yet is forgotten.
func (x *index) record(entries []entry, now time.Time) (evicted uint64, err error) {
	if len(entries) == 0 {
		return 0, nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	at := now.UnixNano()
	if n := len(x.generations); n == 0 || x.isFull(&x.generations[n-1], at) {
		next := generation{number: 1, first: at, last: at, filter: newFilter()}
		if n > 0 {
			next.number = x.generations[n-1].number + 1
			err = x.write(at)
		}
		x.generations = append(x.generations, next)
	}
	g := &x.generations[len(x.generations)-1]
	g.last = max(g.last, at)
	g.entries += uint64(len(entries))
	for i := range entries {
		if g.filter != nil {
			g.filter.add(entries[i].hash) // what is not written after all is looked for in vain
		}
		x.fresh[entries[i].hash] = entries[i].payload
	}
	evicted = x.evict(now)
	if len(x.fresh) >= mostFresh || at-x.written >= int64(freshFor) || at < x.written || evicted > 0 {
		err = errors.Join(err, x.write(at))
	}
	return evicted, err
}

// isFull says that a generation takes no more.
func (x *index) isFull(g *generation, at int64) bool {
	return at-g.first >= int64(x.window/perWindow) || g.entries >= x.max/perSize || g.filter == nil && len(x.generations) < manyGenerations
}

// evict forgets generations; the newest stays.
func (x *index) evict(now time.Time) (evicted uint64) {
	total := uint64(0)
	for _, g := range x.generations {
		total += g.entries
	}
	first := 0
	for ; first < len(x.generations)-1; first++ {
		g := &x.generations[first]
		remembered := x.remembers(*g, now)
		if remembered && total <= x.max {
			break
		}
		if remembered {
			evicted += g.entries
		}
		total -= g.entries
	}
	x.generations = slices.Clone(x.generations[first:])
	return evicted
}

// write puts what is fresh into the store, all at once and in its order: that costs a fraction of what it costs bit by bit. What a crash takes of it the ledger knows.
func (x *index) write(at int64) (err error) {
	defer func() {
		clear(x.fresh)
		x.written = at
	}()
	if du, err := x.fs.GetDiskUsage(x.dir); err == nil && du.AvailBytes < minFree {
		return fmt.Errorf("%d bytes of disk are free, %d are kept", du.AvailBytes, minFree)
	}
	b := x.db.NewBatchWithSize(batchHeader + len(x.fresh)*batchBytes)
	defer b.Close()
	g := &x.generations[len(x.generations)-1]
	entries := make([]entry, 0, len(x.fresh))
	for h, payload := range x.fresh {
		entries = append(entries, entry{h, payload})
	}
	slices.SortFunc(entries, func(a, b entry) int { return bytes.Compare(a.hash[:], b.hash[:]) })
	for i := range entries {
		key := entryKey(g.number, entries[i].hash)
		if err := b.Set(key[:], entries[i].payload[:], nil); err != nil {
			return err
		}
	}
	state := binary.BigEndian.AppendUint64(nil, uint64(g.first))
	state = binary.BigEndian.AppendUint64(state, uint64(g.last))
	state = binary.BigEndian.AppendUint64(state, g.entries)
	if err := b.Set(generationKey(g.number), state, nil); err != nil {
		return err
	}
	if oldest := x.generations[0].number; oldest != x.oldest {
		from, to := entryKey(0, hash{}), entryKey(oldest, hash{})
		err := errors.Join(b.DeleteRange(from[:], to[:], nil), b.DeleteRange(generationKey(0), generationKey(oldest), nil))
		if err != nil {
			return err
		}
	}
	if err := b.Commit(pebble.NoSync); err != nil {
		return err
	}
	x.oldest = x.generations[0].number
	return nil
}

func (x *index) size() int64 { return int64(x.db.Metrics().DiskSpaceUsage()) }

// logger ends the process when the disk fails.
type logger struct{ *zap.SugaredLogger }

func (l logger) Infof(string, ...any) {}

func (l logger) Fatalf(format string, args ...any) {
	l.SugaredLogger.Fatalf("dedupe's disk failed, the program ends; no acknowledged event is lost: "+format, args...)
}
