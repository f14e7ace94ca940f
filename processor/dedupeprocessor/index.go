package dedupeprocessor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/zeebo/xxh3"
	"go.uber.org/zap"

	"github.com/usagebox/otelcol-usagebox/internal/dirlock"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// indexVersion is the version of the directory's form: key = number of the part of the window (4 bytes), hash of customer and id (16); value =
// payload (16). The key "v" holds the version.
const indexVersion = 1

// parts is how many parts the window has: what is older than the window is forgotten a part at a time.
const parts = 4

// minFree is the free disk space below which nothing is remembered: a write that the disk has no room for would end the process.
const minFree = 64 << 20

// index knows the payload of every event that was let through within the window. A crash may lose the newest of them, which costs a look at the
// ledger for a retry and nothing else: so nothing here waits for the disk.
type index struct {
	db    *pebble.DB
	cache *pebble.Cache
	lock  *dirlock.Lock
	dir   string
	part  time.Duration
	max   int64

	mu     sync.Mutex
	oldest uint32 // what is below is forgotten
}

func openIndex(c *Config, log *zap.Logger) (*index, error) {
	lock, err := dirlock.Acquire(c.Directory, "dedupe's directory")
	if err != nil {
		return nil, err
	}
	x := &index{lock: lock, dir: c.Directory, part: c.Window / parts, max: c.MaxDisk, cache: pebble.NewCache(c.CacheSize)}
	options := &pebble.Options{
		Cache: x.cache, FormatMajorVersion: pebble.FormatNewest, MemTableSize: 16 << 20, L0CompactionThreshold: 8, MemTableStopWritesThreshold: 4,
		Logger: logger{log.Sugar()},
	}
	for i := range options.Levels {
		options.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	if x.db, err = pebble.Open(filepath.Join(c.Directory, "index"), options); err != nil {
		x.cache.Unref()
		return nil, errors.Join(fmt.Errorf("open the index in %s: %w", c.Directory, err), lock.Release())
	}
	if err := x.checkVersion(c.Directory); err != nil {
		return nil, errors.Join(err, x.close())
	}
	return x, nil
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

func (x *index) close() error {
	err := x.db.Close()
	x.cache.Unref()
	return errors.Join(err, x.lock.Release())
}

type hash [16]byte

func hashOf(k usage.Key) hash {
	b := make([]byte, 0, 64)
	b = binary.AppendUvarint(b, uint64(len(k.Customer)))
	b = append(append(b, k.Customer...), k.ID...)
	return xxh3.Hash128(b).Bytes()
}

func (x *index) number(now time.Time) uint32 { return uint32(now.UnixNano() / int64(x.part)) }

func (x *index) key(part uint32, h hash) []byte {
	key := make([]byte, 0, 20)
	key = binary.BigEndian.AppendUint32(key, part)
	return append(key, h[:]...)
}

// seen is the payload that was let through first, within the window.
func (x *index) seen(h hash, now time.Time) (p usage.Payload, found bool, err error) {
	current := x.number(now)
	for part := current - parts; part <= current; part++ {
		v, closer, err := x.db.Get(x.key(part, h))
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

// entry is an event that the rest of the pipeline took.
type entry struct {
	hash    hash
	payload usage.Payload
}

func (x *index) record(entries []entry, now time.Time) error {
	if du, err := vfs.Default.GetDiskUsage(x.dir); err == nil && du.AvailBytes < minFree {
		return fmt.Errorf("%d bytes of disk are free, %d are kept", du.AvailBytes, minFree)
	}
	b := x.db.NewBatch()
	defer b.Close()
	part := x.number(now)
	for _, e := range entries {
		if err := b.Set(x.key(part, e.hash), e.payload[:], nil); err != nil {
			return err
		}
	}
	return b.Commit(pebble.NoSync)
}

// expire forgets the parts that are older than the window, and the oldest one when the index is too large. evicted counts those forgotten early.
func (x *index) expire(now time.Time) (evicted int, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	current := x.number(now)
	keep := current - parts
	if x.size() > x.max && x.oldest < current {
		keep = max(keep, x.oldest) + 1
		evicted = 1
	}
	if keep <= x.oldest {
		return 0, nil
	}
	if err := x.db.DeleteRange(x.key(0, hash{}), x.key(keep, hash{}), pebble.NoSync); err != nil {
		return 0, err
	}
	x.oldest = keep
	return evicted, nil
}

func (x *index) size() int64 { return int64(x.db.Metrics().DiskSpaceUsage()) }

// logger ends the process when the disk fails.
type logger struct{ *zap.SugaredLogger }

func (l logger) Infof(string, ...any) {}

func (l logger) Fatalf(format string, args ...any) {
	l.SugaredLogger.Fatalf("dedupe's disk failed, the program ends; no acknowledged event is lost: "+format, args...)
}
