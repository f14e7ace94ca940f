// Package tracestore keeps what attribution knows of traces: the facts of their spans, what was emitted for them, and what is about
// to be emitted. Facts are durable before Append returns; everything else is durable before Sync returns.
package tracestore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"

	"github.com/usagebox/otelcol-usagebox/internal/attribution"
	"github.com/usagebox/otelcol-usagebox/internal/dirlock"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// Version of the directory. A directory of another version is refused.
const Version = 1

// Keys, by their first byte:
//
//	f trace seq     facts that came together
//	p trace         the trace has facts that no settlement has looked at; value: when the first came
//	e trace         when it settled last, and what was emitted
//	x hour trace    it settled last in or after this hour: for retention
//	o seq           about to be emitted: the trace, and its events
//	w trace trace   the second links to the first
//	d trace         its facts were forgotten; value: when
//	m name          version, epoch
const (
	keyFacts   = 'f'
	keyPending = 'p'
	keyEmitted = 'e'
	keyExpiry  = 'x'
	keyOutbox  = 'o'
	keyWaiting = 'w'
	keyForgot  = 'd'
	keyMeta    = 'm'
)

// ErrFull says that a limit of the disk is reached: nothing was taken, the sender tries again.
var ErrFull = errors.New("the directory of attribution has too little room: nothing was taken, send again later")

// Options of a store.
type Options struct {
	Directory    string
	MinFreeBytes int64  // free disk space below which Append fails with ErrFull; 0 checks nothing
	CacheBytes   int64  // block cache; 0 is 32 MiB
	FS           vfs.FS // default: the operating system's
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
}

// Open takes the directory. The error names who has it, or what to do.
func Open(o Options) (*Store, error) {
	s := &Store{fs: o.FS, dir: o.Directory, free: o.MinFreeBytes}
	if s.fs == nil {
		lock, err := dirlock.Acquire(o.Directory, "attribution's directory")
		if err != nil {
			return nil, err
		}
		s.lock, s.fs = lock, vfs.Default
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.CacheBytes <= 0 {
		o.CacheBytes = 32 << 20
	}
	s.cache = pebble.NewCache(o.CacheBytes)
	db, err := pebble.Open(filepath.Join(o.Directory, "store"), &pebble.Options{
		FS: s.fs, Cache: s.cache, FormatMajorVersion: pebble.FormatNewest, MemTableSize: 32 << 20, MemTableStopWritesThreshold: 4,
		L0CompactionThreshold: 8, Logger: logger{o.Logger.Sugar()},
	})
	if err != nil {
		s.cache.Unref()
		return nil, errors.Join(fmt.Errorf("open attribution's store in %s: %w", o.Directory, err), s.lock.Release())
	}
	s.db = db
	if err := s.begin(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// begin checks the version and starts an epoch: numbers given out in it are above all that were before.
func (s *Store) begin() error {
	version, err := s.number("version")
	if err != nil {
		return err
	}
	if version > Version {
		return fmt.Errorf("attribution's directory %s is of version %d, this program reads %d: use a newer program or another directory", s.dir, version, Version)
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
		return 0, fmt.Errorf("attribution's directory %s: %s is damaged", s.dir, name)
	}
	return binary.BigEndian.Uint64(v), nil
}

// sequence is a number above all before it.
func (s *Store) sequence() uint64 { return s.epoch<<40 | s.next.Add(1) }

// Close gives the directory up. What was appended stays.
func (s *Store) Close() error {
	err := s.db.Close()
	s.cache.Unref()
	return errors.Join(err, s.lock.Release())
}

// Arrival is facts of one trace that came together.
type Arrival struct {
	Trace attribution.TraceID
	Facts []attribution.Fact
	New   bool // the trace is not known to be pending
}

// Append makes facts durable. When it fails nothing is known of them; the error is ErrFull when the disk is.
func (s *Store) Append(arrivals []Arrival, now usage.Micros) error {
	if err := s.room(s.free); err != nil {
		return err
	}
	b := s.db.NewBatch()
	defer b.Close()
	var value []byte
	for i := range arrivals {
		a := &arrivals[i]
		value = binary.AppendVarint(value[:0], int64(now))
		for j := range a.Facts {
			value = a.Facts[j].AppendBinary(value)
		}
		key := binary.BigEndian.AppendUint64(traceKey(keyFacts, a.Trace), s.sequence())
		if err := b.Set(key, value, nil); err != nil {
			return err
		}
		if a.New {
			if err := b.Set(traceKey(keyPending, a.Trace), binary.AppendVarint(nil, int64(now)), nil); err != nil {
				return err
			}
		}
	}
	return b.Commit(pebble.Sync)
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

// DiskBytes is what the store takes on disk.
func (s *Store) DiskBytes() int64 { return int64(s.db.Metrics().DiskSpaceUsage()) }

// logger ends the process when the disk fails: an answer after that could not be relied on. What was acknowledged is there at the next start.
type logger struct{ *zap.SugaredLogger }

func (l logger) Infof(string, ...any) {}

func (l logger) Fatalf(format string, args ...any) {
	l.SugaredLogger.Fatalf("attribution's disk failed, the program ends; what was acknowledged is kept: "+format, args...)
}
