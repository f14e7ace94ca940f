package ledger

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"go.uber.org/zap"
)

// store is one opening of the embedded store. When a write or fsync fails it is over: what it holds in memory may be
// more than what is on disk, so nothing is tried again on it. Its access to the disk is cut, and a new opening reads what is surely there.
type store struct {
	db     *pebble.DB
	logger *zap.Logger

	failed chan struct{} // closed by fail

	mu    sync.Mutex // guards what follows
	err   error      // why it failed
	fence fence
}

// fence is how far the store's access to the disk is cut.
type fence int

const (
	fenceOpen  fence = iota
	fenceError       // every operation fails
	fenceExit        // every operation ends the goroutine that asks for it
)

const (
	memTableBytes   = 16 << 20
	closeWait       = 2 * time.Second // for a failed store to close; then it is left behind with its disk access cut
	storeFolder     = "store"
	filterBitsPerID = 10
)

func openStore(fs vfs.FS, dir string, lock *pebble.Lock, cacheBytes int64, logger *zap.Logger) (s *store, err error) {
	s = &store{logger: logger, failed: make(chan struct{})}
	cache := pebble.NewCache(cacheBytes)
	defer cache.Unref()
	options := &pebble.Options{
		FS:                          errorfs.Wrap(fs, errorfs.InjectorFunc(s.injectFence)),
		Lock:                        lock,
		Cache:                       cache,
		FormatMajorVersion:          pebble.FormatValueSeparation,
		MemTableSize:                memTableBytes,
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       4,
		Logger:                      storeLogger{s},
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) { s.fail(fmt.Errorf("work in the background: %w", err)) },
			DataCorruption:  func(info pebble.DataCorruptionInfo) { s.fail(corrupt("the store's file "+info.Path, info.Details)) },
		},
	}
	for i := range options.Levels {
		options.Levels[i].FilterPolicy = bloom.FilterPolicy(filterBitsPerID)
	}
	err = s.guard(func() (err error) {
		s.db, err = pebble.Open(dir, options)
		return err
	})
	if err != nil {
		s.fail(err)
		s.cut(fenceExit)
		return nil, fmt.Errorf("open the ledger's store %s: %w", dir, err)
	}
	return s, nil
}

// injectFence stands before every operation on the disk.
func (s *store) injectFence(errorfs.Op) error {
	s.mu.Lock()
	fence := s.fence
	s.mu.Unlock()
	switch fence {
	case fenceError:
		return ErrBroken
	case fenceExit:
		runtime.Goexit()
	}
	return nil
}

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

// failure is why the store failed, nil when it has not.
func (s *store) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// guard runs f in a goroutine of its own, because Pebble ends the process, or here the goroutine, when a write to its
// log fails, and may wait for ever for one that ended.
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

// close ends the store in order, or, when it failed, as well as it can.
func (s *store) close() error {
	if s.failure() == nil {
		return s.guard(s.db.Close)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { _ = recover() }() // it is broken: nothing that it says matters
		_ = s.db.Close()
	}()
	timeout := time.NewTimer(closeWait)
	defer timeout.Stop()
	select {
	case <-done:
	case <-timeout.C:
		s.logger.Warn("the ledger's failed store could not be closed: it is left behind, its access to the disk is cut")
	}
	s.cut(fenceExit)
	return nil
}

// commit makes b durable. After an error of it nothing is known of b; the store is over.
func (s *store) commit(b *pebble.Batch) error {
	err := s.guard(func() error { return b.Commit(pebble.Sync) })
	if err != nil {
		s.fail(err)
	}
	return err
}

// get reads a value into a copy; ok is false when there is none.
func (s *store) get(key []byte) (value []byte, ok bool, err error) {
	v, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, s.readError(err)
	}
	value = append([]byte(nil), v...)
	return value, true, closeAfter(closer, nil)
}

// getNumber reads what setNumber wrote, 0 when there is nothing.
func (s *store) getNumber(name string) (uint64, error) {
	v, ok, err := s.get(metaKey(name))
	if err != nil || !ok {
		return 0, err
	}
	if len(v) != 8 {
		return 0, corrupt("the store's number "+name, fmt.Errorf("it has %d bytes", len(v)))
	}
	return binary.BigEndian.Uint64(v), nil
}

func setNumber(b *pebble.Batch, name string, n uint64) error {
	return b.Set(metaKey(name), binary.BigEndian.AppendUint64(nil, n), nil)
}

// getJSON reads a record; ok is false when there is none.
func (s *store) getJSON(key []byte, record any) (ok bool, err error) {
	v, ok, err := s.get(key)
	if err != nil || !ok {
		return false, err
	}
	return true, decodeJSON(key, v, record)
}

func decodeJSON(key, value []byte, record any) error {
	if err := json.Unmarshal(value, record); err != nil {
		return corrupt(fmt.Sprintf("the store's record %q", key), err)
	}
	return nil
}

func setJSON(b *pebble.Batch, key []byte, record any) error {
	v, err := json.Marshal(record)
	if err != nil {
		return err
	}
	return b.Set(key, v, nil)
}

// scan calls f for the keys in [low, high) in order. Key and value are only valid during the call.
func (s *store) scan(low, high []byte, f func(key, value []byte) error) (err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: low, UpperBound: high})
	if err != nil {
		return s.readError(err)
	}
	defer func() { err = closeAfter(it, err) }()
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return s.readError(err)
		}
		if err := f(it.Key(), v); err != nil {
			return err
		}
	}
	if err := it.Error(); err != nil {
		return s.readError(err)
	}
	return nil
}

func (s *store) readError(err error) error {
	if pebble.IsCorruptionError(err) {
		err = corrupt("the ledger's store", err)
		s.fail(err)
		return err
	}
	return fmt.Errorf("read the ledger's store: %w", err)
}

// prefixEnd is the first key after all that start with prefix.
func prefixEnd(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

func closeAfter(c io.Closer, err error) error {
	if closeErr := c.Close(); err == nil {
		return closeErr
	}
	return err
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
	runtime.Goexit()
}
