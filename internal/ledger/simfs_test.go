package ledger

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// simFS is a file system in memory that forgets what was not synced when the machine dies, fails when it is told to, and can
// exchange folders.
type simFS struct {
	*errorfs.FS
	mem *vfs.MemFS

	pending [][2]string // exchanges that are not durable

	mu             sync.Mutex
	fault          *simFault
	ops            int        // operations that change something
	dead           *vfs.MemFS // what is left after the machine died
	rng            *rand.Rand
	cannotExchange bool
}

// simFault is what goes wrong at an operation that changes something.
type simFault struct {
	Kind     string // crash, error, full
	After    int    // so many operations go well before
	For      int    // so many fail, of kind full
	Unsynced int    // percent of unsynced data that survives, of kind crash; of unsynced names none do at 0 and all above, as in a journal
}

var (
	errSimDead = errors.New("simulated: the machine is dead")
	errSimIO   = fmt.Errorf("simulated: %w", syscall.EIO)
	errSimFull = fmt.Errorf("simulated: %w", syscall.ENOSPC)
)

func newSimFS(mem *vfs.MemFS, rng *rand.Rand) *simFS {
	f := &simFS{mem: mem, rng: rng}
	f.FS = errorfs.Wrap(mem, errorfs.InjectorFunc(f.inject))
	return f
}

// arm lets a fault happen; nil takes it back.
func (f *simFS) arm(fault *simFault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ops, f.fault = 0, fault
}

// crashed is what is left after the machine died, nil when it lives.
func (f *simFS) crashed() *vfs.MemFS {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dead
}

func (f *simFS) inject(op errorfs.Op) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead != nil {
		return errSimDead
	}
	if op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData {
		f.settleExchange(op.Path)
	}
	switch op.Kind {
	case errorfs.OpCreate, errorfs.OpLink, errorfs.OpRemove, errorfs.OpRemoveAll, errorfs.OpRename, errorfs.OpReuseForWrite,
		errorfs.OpMkdirAll, errorfs.OpFileWrite, errorfs.OpFileWriteAt, errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
		return f.change()
	}
	return nil
}

// change counts an operation and says what becomes of it. f.mu is held.
func (f *simFS) change() error {
	f.ops++
	fault := f.fault
	if fault == nil || f.ops <= fault.After {
		return nil
	}
	switch fault.Kind {
	case "crash":
		f.die(fault.Unsynced)
		return errSimDead
	case "error":
		f.fault = nil
		return errSimIO
	case "full":
		if f.ops <= fault.After+fault.For {
			return errSimFull
		}
		f.fault = nil
	}
	return nil
}

// kill lets the machine die now.
func (f *simFS) kill(unsynced int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead == nil {
		f.die(unsynced)
	}
}

func (f *simFS) die(unsynced int) {
	for i := len(f.pending) - 1; i >= 0; i-- {
		a, b := f.pending[i][0], f.pending[i][1]
		_, errA := f.mem.Stat(a)
		_, errB := f.mem.Stat(b)
		if errA != nil || errB != nil || f.rng.IntN(100) < unsynced { // what was removed since is not there to go back to
			f.syncFolder(path.Dir(a))
			f.syncFolder(path.Dir(b))
		} else {
			f.swap(a, b)
		}
	}
	f.pending = nil
	if unsynced > 0 {
		f.syncFolders("/")
	}
	f.dead = f.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: unsynced, RNG: f.rng})
}

// Exchange is one step: it is durable as a whole once one of the parents is synced, or not at all.
func (f *simFS) Exchange(a, b string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead != nil {
		return errSimDead
	}
	if f.cannotExchange {
		return ErrExchangeUnsupported
	}
	if err := f.change(); err != nil {
		return err
	}
	f.swap(a, b)
	f.pending = append(f.pending, [2]string{a, b})
	return nil
}

func (f *simFS) swap(a, b string) {
	must(f.mem.Rename(a, a+".swap"))
	must(f.mem.Rename(b, a))
	must(f.mem.Rename(a+".swap", b))
}

// settleExchange makes exchanges below a folder that is synced durable. f.mu is held.
func (f *simFS) settleExchange(dir string) {
	kept := f.pending[:0]
	for _, p := range f.pending {
		if path.Dir(p[0]) == dir || path.Dir(p[1]) == dir {
			f.syncFolder(path.Dir(p[0]))
			f.syncFolder(path.Dir(p[1]))
			continue
		}
		kept = append(kept, p)
	}
	f.pending = kept
}

func (f *simFS) syncFolders(dir string) {
	f.syncFolder(dir)
	names, err := f.mem.List(dir)
	must(err)
	for _, name := range names {
		p := path.Join(dir, name)
		if info, err := f.mem.Stat(p); err == nil && info.IsDir() {
			f.syncFolders(p)
		}
	}
}

func (f *simFS) syncFolder(dir string) {
	d, err := f.mem.OpenDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	must(err)
	must(d.Sync())
	must(d.Close())
}

// direct reads without faults.
type directFS struct{ *vfs.MemFS }

func (directFS) Exchange(string, string) error { return ErrExchangeUnsupported }

func must(err error) {
	if err != nil {
		panic(err)
	}
}
