package ledger

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/usagebox/otelcol-usagebox/internal/dirlock"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// Ledger keeps usage events. Its methods may be called from any number of goroutines.
type Ledger struct {
	o     Options
	paths paths
	lock  *dirlock.Lock // nil on file systems other than the operating system's

	caches *caches

	queue chan *request // to the committer

	changes map[digest]idChange // of the group that is being committed; used by the committer alone
	looks   []look              // room, used by the committer alone
	body    []byte              // the same, for what a chunk has
	chunk   []byte              // the same, for the chunk

	idNumbers  idNumbers
	writingIDs sync.Mutex    // held while a table of ids is written or takes others' place
	mergingIDs sync.Mutex    // held while tables of ids are merged
	idsDue     chan struct{} // there are enough for a table

	// maintenance is held by whoever makes parts, seals, or opens the state again: one at a time.
	maintenance sync.Mutex

	// mu guards what follows.
	mu     sync.Mutex
	state  *state // nil while the store is not open
	broken error  // why it is not open

	// readers is held for reading by those who read the store, for writing by who closes it.
	readers sync.RWMutex

	lastStatus string  // what status.json says; used by the maintainer alone
	noExchange bool    // the file system can't; guarded by maintenance
	reopen     backoff // guarded by maintenance
	closing    chan struct{}
	closed     sync.WaitGroup // appenders that may still send to queue
	isOver     bool           // guarded by mu
	work       sync.WaitGroup // the committer and the maintainer
}

// Open opens the ledger in o.Directory, or makes one, and finishes what a crash cut short. The error is a *dirlock.HeldError when
// another process has the writer's state.
func Open(o Options) (*Ledger, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	l := &Ledger{o: o, paths: paths{fs: o.FS, dir: filepath.Clean(o.Directory), writer: o.WriterID, durable: make(map[string]bool), sabotage: o.sabotage}, queue: make(chan *request, queued), idsDue: make(chan struct{}, 1), changes: make(map[digest]idChange), closing: make(chan struct{})}
	if err := l.open(); err != nil {
		return nil, errors.Join(err, l.release())
	}
	l.work.Add(1)
	go l.commitLoop()
	if !o.Manual {
		l.work.Add(2)
		go l.maintainLoop()
		go l.idsLoop()
	}
	return l, nil
}

// queued is how many Appends wait without waiting for each other.
const queued = 1024

func (l *Ledger) open() (err error) {
	if l.o.FS == OS {
		take := dirlock.Acquire
		if l.o.Borrowed {
			take = dirlock.Borrow
		}
		if l.lock, err = take(l.paths.state(), "the ledger's state"); err != nil {
			return err
		}
	}
	if err := l.checkDirectory(); err != nil {
		return err
	}
	l.caches = newCaches(l.o.CacheBytes)
	l.state, err = l.openState()
	return err
}

// Close waits for every Append that has begun, makes parts of what was acknowledged, and gives the directory up. What it
// could not make parts of stays in the store, and the next Open makes them.
func (l *Ledger) Close() error { return l.end(true) }

// Leave is Close that makes no parts: for those who only look, and don't know how the directory's owner groups rollups.
func (l *Ledger) Leave() error { return l.end(false) }

func (l *Ledger) end(parts bool) (err error) {
	l.mu.Lock()
	if l.isOver {
		l.mu.Unlock()
		return nil
	}
	l.isOver = true
	l.mu.Unlock()
	close(l.closing)
	l.closed.Wait()
	close(l.queue)
	l.work.Wait()
	if parts {
		err = l.Flush(context.Background())
	}
	if errors.Is(err, ErrBroken) {
		l.o.Logger.Warn("the ledger closes with a failed store; what was acknowledged is kept, its parts are made at the next start", zap.Error(err))
		err = nil
	}
	return errors.Join(err, l.release())
}

// release gives up what Open took, as far as it came.
func (l *Ledger) release() (err error) {
	l.mu.Lock()
	s := l.state
	l.state = nil
	l.mu.Unlock()
	if s != nil {
		err = errors.Join(err, s.close())
	}
	if l.caches != nil {
		l.caches.release()
		l.caches = nil
	}
	return errors.Join(err, l.lock.Release())
}

// current is the open state, or why there is none.
func (l *Ledger) current() (*state, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state == nil {
		return nil, fmt.Errorf("%w: %w", ErrBroken, l.broken)
	}
	return l.state, nil
}

func (l *Ledger) now() usage.Micros { return max(0, usage.MicrosOf(l.o.Clock())) }

// Stats are numbers for people and metrics.
type Stats struct {
	OpenEvents         int64 // wait in the store for their hour's seal
	OpenBytes          int64 // of them, encoded
	OpenHours          int
	WaitingCorrections int64
	SealLag            time.Duration // how long the oldest hour that is due has been waiting for its seal
	ChainRecords       int64
	StoreBytes         int64 // on disk, after the last round of parts
	Broken             error // why Append fails at present, or nil
}

// Stats is the present state. Its cost does not grow with the ledger.
func (l *Ledger) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.state
	if s == nil {
		return Stats{Broken: l.broken}
	}
	if err := s.store.failure(); err != nil {
		return Stats{Broken: err}
	}
	st := Stats{
		OpenEvents: s.openEvents, OpenBytes: s.openBytes,
		WaitingCorrections: s.waiting, ChainRecords: int64(s.chain.Records), StoreBytes: s.storeBytes,
	}
	now := l.now()
	for _, h := range s.hours {
		if h.openEvents() == 0 {
			continue
		}
		st.OpenHours++
		if due := l.sealDue(h, now); due <= now {
			st.SealLag = max(st.SealLag, time.Duration(now-due)*time.Microsecond)
		}
	}
	return st
}
