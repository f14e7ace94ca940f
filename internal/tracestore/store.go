// Package tracestore keeps what attribution knows of traces: the facts of their spans, what was emitted for them, and what is about
// to be emitted. Facts are durable before Append returns; everything else is durable before Sync returns.
//
// Facts lie in an append-only log, in the folder facts: a record is a trace id, the time of arrival as a varint and the facts that came together. Where the
// facts of an open trace lie is known in memory alone, and found again by reading the end of the log; of a settled trace it is in an embedded
// store, in the folder store, beside what was emitted.
package tracestore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"

	"github.com/usagebox/otelcol-usagebox/internal/attribution"
	"github.com/usagebox/otelcol-usagebox/internal/dirlock"
	"github.com/usagebox/otelcol-usagebox/internal/factlog"
	"github.com/usagebox/otelcol-usagebox/internal/manifest"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// Version of the directory. A directory of another version is refused.
const Version = 3

// Keys of the embedded store, by their first byte:
//
//	p trace         look at the trace again, because of what is known of another one; value: since when
//	e trace         when it settled last, where its facts lie, what was emitted, its notes, and what metrics counted
//	x hour seq      traces that settled last in or after this hour: for retention
//	o seq           about to be emitted: traces that settled together, and their events
//	w trace trace   the second links to the first
//	n topic sub end trace span   what a trace tells others; value: kind, start as a varint, and the note's own. The trace is zeros for what one that is
//	                forgotten said of a conversation in which others are
//	t topic         the one sub of a topic's notes; one byte when there are several
//	v topic         something new is said of a conversation: its traces are to be looked at again; value: the key behind n and topic to go on at
//	d trace         its facts were forgotten; value: when, and the offset in the log before which they lay
//	m name          version, epoch; pinned: the offset in the log after which there may be facts of open traces
const (
	keyPending = 'p'
	keyEmitted = 'e'
	keyExpiry  = 'x'
	keyOutbox  = 'o'
	keyWaiting = 'w'
	keyNote    = 'n'
	keyTopic   = 't'
	keyStirred = 'v'
	keyForgot  = 'd'
	keyMeta    = 'm'
)

// ErrFull says that a limit of the disk is reached: nothing was taken, the sender tries again.
var ErrFull = errors.New("the directory of attribution has too little room: nothing was taken, send again later")

// Options of a store.
type Options struct {
	Directory    string
	MinFreeBytes int64               // free disk space below which Append fails with ErrFull; 0 checks nothing
	CacheBytes   int64               // block cache; 0 is 32 MiB
	SegmentBytes int64               // of the log; 0 is 64 MiB
	TableBytes   int64               // of the embedded store's tables in memory, and of its own log; 0 is 16 MiB
	TopicBytes   int64               // the most memory for which topics others tell of, twice as much for moments; 0 is 16 MiB
	Retention    usage.Micros        // how long facts of a settled trace are kept; 0: until they are dropped for room
	Synced       func(time.Duration) // told how long facts took to become durable; may be nil
	FS           vfs.FS              // default: the operating system's
	Logger       *zap.Logger
}

// Store is safe for concurrent use.
type Store struct {
	db    *pebble.DB
	lock  *dirlock.Lock
	fs    vfs.FS
	dir   string
	free  int64
	epoch uint64
	next  atomic.Uint64
	cache *pebble.Cache
	marks []byte // where expireMarks goes on

	topics topics // of the goroutine that settles

	log       *factlog.Log
	retention usage.Micros
	logger    *zap.Logger

	mu     sync.Mutex // guards what follows
	open   openTraces
	woken  map[attribution.TraceID]struct{}
	linked linked
	outbox outbox
}

// Open takes the directory. The error names who has it, or what to do.
func Open(o Options) (*Store, error) {
	s := &Store{fs: o.FS, dir: o.Directory, free: o.MinFreeBytes, retention: o.Retention, logger: o.Logger}
	if s.fs == nil {
		lock, err := dirlock.Acquire(o.Directory, "attribution's directory")
		if err != nil {
			return nil, err
		}
		s.lock, s.fs = lock, vfs.Default
	}
	if s.logger == nil {
		s.logger = zap.NewNop()
	}
	if o.CacheBytes <= 0 {
		o.CacheBytes = 32 << 20
	}
	if o.SegmentBytes <= 0 {
		o.SegmentBytes = 64 << 20
	}
	if o.TableBytes <= 0 {
		o.TableBytes = 16 << 20
	}
	if o.TopicBytes <= 0 {
		o.TopicBytes = 16 << 20
	}
	s.topics = newTopics(o.TopicBytes)
	s.cache = pebble.NewCache(o.CacheBytes + 2*o.TableBytes) // tables in memory take their room from it
	options := &pebble.Options{
		FS: s.fs, Cache: s.cache, FormatMajorVersion: pebble.FormatNewest, MemTableSize: uint64(o.TableBytes), MemTableStopWritesThreshold: 4,
		L0CompactionThreshold: 8, Logger: logger{s.logger.Sugar()},
	}
	for i := range options.Levels {
		options.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	err := s.openBoth(options, factlog.Options{
		FS: s.fs, Directory: filepath.Join(o.Directory, "facts"), SegmentBytes: o.SegmentBytes, SegmentAge: int64(o.Retention / 8), Synced: o.Synced,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open attribution's store in %s: %w", o.Directory, err), s.Close())
	}
	return s, nil
}

func (s *Store) openBoth(options *pebble.Options, log factlog.Options) (err error) {
	store := filepath.Join(s.dir, "store")
	if err := manifest.Check(s.fs, store); err != nil {
		return fmt.Errorf("%w: nothing was changed; restore the file from a copy", err)
	}
	if s.db, err = pebble.Open(store, options); err != nil {
		return err
	}
	if !options.ReadOnly {
		if err := s.begin(); err != nil {
			return err
		}
	}
	if s.log, err = factlog.Open(log); err != nil {
		return err
	}
	return s.restore()
}

// begin checks the version and starts an epoch: numbers given out in it are above all that were before.
func (s *Store) begin() error {
	version, err := s.number("version")
	if err != nil {
		return err
	}
	if version != 0 && version != Version {
		return fmt.Errorf("it is of version %d, this program reads %d: use the program that wrote it, or another directory", version, Version)
	}
	epoch, err := s.number("epoch")
	if err != nil {
		return err
	}
	s.epoch = epoch + 1
	b := s.db.NewBatch()
	defer b.Close()
	_ = b.Set(meta("version"), binary.BigEndian.AppendUint64(nil, Version), nil)
	_ = b.Set(meta("epoch"), binary.BigEndian.AppendUint64(nil, s.epoch), nil)
	return b.Commit(pebble.Sync)
}

func meta(name string) []byte { return append([]byte{keyMeta}, name...) }

func (s *Store) number(name string) (uint64, error) {
	v, closer, err := s.db.Get(meta(name))
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer closer.Close()
	if len(v) != 8 {
		return 0, fmt.Errorf("its %s is damaged", name)
	}
	return binary.BigEndian.Uint64(v), nil
}

// sequence is a number above all before it.
func (s *Store) sequence() uint64 { return s.epoch<<40 | s.next.Add(1) }

// Close gives the directory up. What was appended stays.
func (s *Store) Close() error {
	var errs []error
	if s.log != nil {
		errs = append(errs, s.log.Close())
	}
	if s.db != nil {
		errs = append(errs, s.db.Close())
	}
	s.cache.Unref()
	return errors.Join(append(errs, s.lock.Release())...)
}

// Arrival is facts of one trace that came together.
type Arrival struct {
	Trace attribution.TraceID
	Facts []attribution.Fact
}

// Append makes facts durable. When it fails nothing is known of them; the error is ErrFull when the disk is.
func (s *Store) Append(arrivals []Arrival, now usage.Micros) error {
	if err := s.room(s.free); err != nil {
		return err
	}
	ends := make([][2]int, 0, len(arrivals)) // of records
	owner := make([]int, 0, len(arrivals))   // of each record
	room := recordsRoom.Get().(*[]byte)
	b := (*room)[:0]
	defer func() {
		if cap(b) <= maxRecord {
			*room = b
			recordsRoom.Put(room)
		}
	}()
	for i := range arrivals {
		for facts := arrivals[i].Facts; len(facts) > 0; owner = append(owner, i) {
			begin := len(b)
			b, facts = appendRecord(b, arrivals[i].Trace, now, facts)
			ends = append(ends, [2]int{begin, len(b)})
		}
	}
	records := make([][]byte, len(ends))
	for i, r := range ends {
		records[i] = b[r[0]:r[1]]
	}
	places, err := s.log.Append(records, int64(now))
	if err != nil {
		return fmt.Errorf("facts could not be made durable: nothing was taken, send again later: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, p := range places {
		s.open.add(arrivals[owner[i]].Trace, p, now)
	}
	return nil
}

// recordsRoom is room for records that are written.
var recordsRoom = sync.Pool{New: func() any { return new([]byte) }}

// maxRecord is how many bytes of facts a record holds, but for its last fact.
const maxRecord = 1 << 20

func appendRecord(b []byte, trace attribution.TraceID, at usage.Micros, facts []attribution.Fact) (record []byte, rest []attribution.Fact) {
	begin := len(b)
	b = append(b, trace[:]...)
	b = binary.AppendVarint(b, int64(at))
	i := 0
	for i < len(facts) && len(b)-begin < maxRecord {
		b = facts[i].AppendBinary(b)
		i++
	}
	return b, facts[i:]
}

// readRecord reads what appendRecord wrote.
func readRecord(b []byte) (trace attribution.TraceID, at usage.Micros, facts []byte, err error) {
	if len(b) < len(trace) {
		return trace, 0, nil, attribution.ErrCorrupt
	}
	copy(trace[:], b)
	v, n := binary.Varint(b[len(trace):])
	if n <= 0 {
		return trace, 0, nil, attribution.ErrCorrupt
	}
	return trace, usage.Micros(v), b[len(trace)+n:], nil
}

// room looks at the disk before a write: one that it has no room for would end the process.
func (s *Store) room(need int64) error {
	if need <= 0 {
		return nil
	}
	du, err := s.fs.GetDiskUsage(s.dir)
	if err != nil {
		return nil //nolint:nilerr // a file system that can't tell is not full
	}
	if du.AvailBytes < uint64(need) {
		return fmt.Errorf("%w (%d bytes are free, %d are kept)", ErrFull, du.AvailBytes, need)
	}
	return nil
}

func traceKey(kind byte, trace attribution.TraceID) []byte {
	key := make([]byte, 0, 1+16+8)
	key = append(key, kind)
	return append(key, trace[:]...)
}

// Sync makes what was committed so far durable.
func (s *Store) Sync() error { return s.db.LogData(nil, pebble.Sync) }

// DiskBytes is what all of it takes on disk.
func (s *Store) DiskBytes() int64 { return int64(s.db.Metrics().DiskSpaceUsage()) + s.log.Bytes() }

// logger ends the process when the disk fails: an answer after that could not be relied on. What was acknowledged is there at the next start.
type logger struct{ *zap.SugaredLogger }

func (l logger) Infof(string, ...any) {}

func (l logger) Fatalf(format string, args ...any) {
	l.SugaredLogger.Fatalf("attribution's disk failed, the program ends; what was acknowledged is kept: "+format, args...)
}
