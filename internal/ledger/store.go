package ledger

import (
	"cmp"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"go.uber.org/zap"

	"github.com/usagebox/otelcol-usagebox/internal/manifest"
)

// store is one opening of the embedded store. When a write or fsync fails it is over: what it holds in memory may be
// more than what is on disk, so nothing is tried again on it. Its access to the disk is cut, and a new opening reads what is surely there.
type store struct {
	db     *pebble.DB
	logger *zap.Logger

	caches *caches
	write  *pebble.WriteOptions
	failed chan struct{} // closed by fail

	measuring sync.WaitGroup // of looks at the size
	closing   atomic.Bool

	mu     sync.Mutex // guards what follows
	err    error      // why it failed
	wedged bool       // work in it was ended where it stood: it can't be closed
	fence  fence
}

// fence is how far the store's access to the disk is cut.
type fence int

const (
	fenceOpen  fence = iota
	fenceError       // every operation fails
	fencePark        // every operation ends the goroutine that asks for it
)

const (
	memTableBytes   = 16 << 20
	closeWait       = 2 * time.Second // for a failed store to close; then it is left behind with its disk access cut
	storeFolder     = "store"
	filterBitsPerID = 10
)

// caches outlive the openings of a store. Pebble's work in the background of an opening that failed may still use them.
type caches struct {
	blocks *pebble.Cache
	files  *pebble.FileCache
	left   atomic.Bool // a store could not be closed: what runs in it may still use them
}

const cachedFiles = 1000

// newCaches has room for as many bytes of blocks, beside the tables in memory that take theirs from the same cache: one that is filled and one on its way to disk.
func newCaches(bytes int64) *caches {
	return &caches{blocks: pebble.NewCache(bytes + 2*memTableBytes), files: pebble.NewFileCache(runtime.GOMAXPROCS(0), cachedFiles)}
}

func (c *caches) release() {
	if c.left.Load() {
		return
	}
	c.files.Unref()
	c.blocks.Unref()
}

func openStore(dir string, c *caches, o *Options) (*store, error) {
	s := &store{logger: o.Logger, caches: c, failed: make(chan struct{}), write: pebble.Sync}
	if o.sabotage == ackBeforeSync {
		s.write = pebble.NoSync
	}
	options := &pebble.Options{
		FS:                          storeFS{errorfs.Wrap(o.FS, errorfs.InjectorFunc(s.injectFence)), s},
		Cache:                       c.blocks,
		FileCache:                   c.files,
		FormatMajorVersion:          pebble.FormatValueSeparation,
		MemTableSize:                cmp.Or(o.memTable, memTableBytes),
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       8,
		Logger:                      storeLogger{s},
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) { s.fail(fmt.Errorf("work in the background: %w", err)) },
			DataCorruption:  func(info pebble.DataCorruptionInfo) { s.fail(corrupt("the store's file "+info.Path, info.Details)) },
		},
	}
	for i := range options.Levels {
		options.Levels[i].FilterPolicy = bloom.FilterPolicy(filterBitsPerID)
	}
	err := s.guard(func() (err error) {
		if err := checkLogs(options.FS, dir); err != nil {
			return err
		}
		if err := checkManifest(options.FS, dir); err != nil {
			return err
		}
		if err := replayLog(dir, *options); err != nil {
			return err
		}
		s.db, err = pebble.Open(dir, options)
		return err
	})
	if err != nil {
		if s.failure() != nil {
			c.left.Store(true) // it was held in the middle of it
		}
		s.fail(err)
		s.cut(fencePark)
		return nil, fmt.Errorf("open the ledger's store %s: %w", dir, err)
	}
	return s, nil
}

func checkManifest(fs vfs.FS, dir string) error {
	err := manifest.Check(fs, dir)
	var damage *manifest.DamageError
	if errors.As(err, &damage) {
		return corrupt(damage.Path, fmt.Errorf("its record at byte %d can't be read, and no crash tore it off", damage.At))
	}
	return err
}

// replayLog opens the store once with nothing in the background, and closes it, so that its log is empty afterwards. Opening one with a log to
// replay starts work in the background before it can still fail, and frees under that work what it uses.
func replayLog(dir string, options pebble.Options) error {
	options.DisableAutomaticCompactions = true
	options.DisableTableStats = true
	db, err := pebble.Open(dir, &options)
	if err != nil {
		return err
	}
	return db.Close()
}

// injectFence stands before every operation on the disk.
func (s *store) injectFence(errorfs.Op) error {
	s.mu.Lock()
	fence := s.fence
	s.mu.Unlock()
	switch fence {
	case fenceError:
		return ErrBroken
	case fencePark:
		park()
	}
	return nil
}

// park holds a goroutine of Pebble's for ever: where it stands it can neither go on nor return, and to end it would unlock what it doesn't hold. It
// costs its stack and what that holds on to, once for each failure of the disk.
func park() { select {} }

func (s *store) cut(f fence) {
	s.mu.Lock()
	s.fence = f
	s.mu.Unlock()
}

// fail ends the store. The first reason stays.
func (s *store) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return
	}
	s.err = err
	s.fence = fenceError
	close(s.failed)
}

func (s *store) wedge(err error) {
	s.fail(err)
	s.mu.Lock()
	s.wedged = true
	s.mu.Unlock()
	s.caches.left.Store(true)
}

// failure is why the store failed, nil when it has not.
func (s *store) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// guard runs f in a goroutine of its own, because Pebble ends the process, or here holds the goroutine, when a write to its
// log fails.
func (s *store) guard(f func() error) error {
	done := make(chan error, 1)
	go func() {
		err := ErrBroken
		defer func() {
			if r := recover(); r != nil {
				err = fmt.Errorf("%v", r)
				s.fail(err)
			}
			done <- err
		}()
		err = f()
	}()
	select {
	case err := <-done:
		if failure := s.failure(); failure != nil {
			return fmt.Errorf("%w: %w", ErrBroken, failure)
		}
		return err
	case <-s.failed:
		return fmt.Errorf("%w: %w", ErrBroken, s.failure())
	}
}

// isOver says that the store failed or is being closed.
func (s *store) isOver() bool { return s.closing.Load() || s.failure() != nil }

// close ends the store in order, or, when it failed, as well as it can.
func (s *store) close() error {
	s.closing.Store(true)
	if s.failure() == nil {
		return s.guard(s.db.Close)
	}
	s.mu.Lock()
	wedged := s.wedged
	s.mu.Unlock()
	if wedged {
		s.cut(fencePark)
		return nil
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { _ = recover() }() // it is broken: nothing that it says matters
		_ = s.db.Close()
		s.measuring.Wait()
	}()
	timeout := time.NewTimer(closeWait)
	defer timeout.Stop()
	select {
	case <-done:
	case <-timeout.C:
		s.caches.left.Store(true)
		s.logger.Warn("the ledger's failed store could not be closed: it is left behind, its access to the disk is cut")
	}
	s.cut(fencePark)
	return nil
}

// size is the store's, in bytes. It is guarded because Pebble may hold its lock for ever when it fails. One that was given up because the store failed
// meanwhile still uses the caches: close waits for it.
func (s *store) size() (int64, error) {
	var size uint64
	s.measuring.Add(1)
	if err := s.guard(func() error {
		defer s.measuring.Done()
		size = s.db.Metrics().DiskSpaceUsage()
		return nil
	}); err != nil {
		return 0, err
	}
	return int64(size), nil
}

// commit makes b durable and closes it. After an error of it nothing is known of b; the store is over, and b is left to whatever of it
// still runs.
func (s *store) commit(b *pebble.Batch) error {
	err := s.guard(func() error { return b.Commit(s.write) })
	if err != nil {
		s.fail(err)
		return err
	}
	return b.Close()
}

// storeLogger takes what Pebble has to say.
type storeLogger struct{ s *store }

func (l storeLogger) Infof(string, ...any) {}

func (l storeLogger) Errorf(format string, args ...any) {
	l.s.logger.Warn("ledger store: " + fmt.Sprintf(format, args...))
}

// Fatalf is called where Pebble can't go on. It must not return.
func (l storeLogger) Fatalf(format string, args ...any) {
	l.s.fail(fmt.Errorf(format, args...))
	park()
}
