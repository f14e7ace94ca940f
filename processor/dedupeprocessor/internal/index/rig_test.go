package index

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/usagebox/otelcol-usagebox/usage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type fataler interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// rig is an index on a disk of memory.
type rig struct {
	fataler
	Options
	disk *vfs.MemFS
	x    *Index
	now  time.Time
	logs *observer.ObservedLogs

	mu       sync.Mutex // guards reported
	reported []error
}

func newRig(t fataler, directory string) *rig {
	r := &rig{fataler: t, disk: vfs.NewCrashableMem(), now: time.Date(2026, 11, 28, 9, 0, 0, 0, time.UTC)}
	for at := directory; at != r.disk.PathDir(at); at = r.disk.PathDir(at) { // all above is there for good
		if err := errors.Join(r.disk.MkdirAll(at, 0o750), syncFolder(r.disk, r.disk.PathDir(at))); err != nil {
			t.Fatal(err)
		}
	}
	core, logs := observer.New(zap.WarnLevel)
	r.logs = logs
	r.Options = Options{
		Directory: directory, Window: time.Hour, MaxDisk: 1 << 30, CacheSize: 1 << 20, FS: r.disk, Logger: zap.New(core),
		Report: func(err error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.reported = append(r.reported, err)
		},
	}
	return r
}

func started(t *testing.T) *rig {
	t.Helper()
	r := newRig(t, t.TempDir())
	r.start()
	t.Cleanup(func() {
		if r.x != nil {
			_ = r.x.Close()
		}
	})
	return r
}

// start opens the index, without its lock, which is on the machine's disk.
func (r *rig) start() {
	r.Helper()
	x, err := open(r.Options, nil)
	if err != nil {
		r.Fatal(err)
	}
	r.x = x
}

func (r *rig) stop() {
	r.Helper()
	if err := r.x.Close(); err != nil {
		r.Fatal(err)
	}
	r.x = nil
}

// on has the index on another disk from now on.
func (r *rig) on(disk *vfs.MemFS) {
	r.Helper()
	if r.x != nil {
		r.stop()
	}
	r.disk, r.FS = disk, disk
	r.start()
}

func (r *rig) record(entries ...Entry) {
	r.Helper()
	if _, err := r.x.Record(entries, r.now); err != nil {
		r.Fatal(err)
	}
}

// table records entries that become a table of their own.
func (r *rig) table(entries ...Entry) {
	r.Helper()
	r.now = r.now.Add(freshFor)
	r.record(entries...)
	r.x.work.Wait()
}

func (r *rig) seen(entries []Entry) []Known {
	known := make([]Known, len(entries))
	r.x.Seen(r.now, entries, known)
	return known
}

// unknown is how many of the entries are not known; what is known of others has to be true.
func (r *rig) unknown(entries []Entry) (n int) {
	r.Helper()
	for i, k := range r.seen(entries) {
		if !k.Found {
			n++
		} else if k.Payload != entries[i].Payload {
			r.Fatalf("of entry %d another payload is known", i)
		}
	}
	return n
}

func (r *rig) files() (names []string) {
	r.Helper()
	all, err := r.disk.List(r.disk.PathJoin(r.Directory, "index2"))
	if err != nil {
		r.Fatal(err)
	}
	slices.Sort(all)
	return all
}

func (r *rig) pathOf(file string) string { return r.disk.PathJoin(r.Directory, "index2", file) }

func (r *rig) read(file string) []byte {
	r.Helper()
	f, err := r.disk.Open(r.pathOf(file))
	if err != nil {
		r.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		r.Fatal(err)
	}
	b := make([]byte, info.Size())
	if _, err := f.ReadAt(b, 0); err != nil {
		r.Fatal(err)
	}
	return b
}

func (r *rig) write(file string, b []byte) {
	r.Helper()
	f, err := r.disk.Create(r.pathOf(file), vfs.WriteCategoryUnspecified)
	if err != nil {
		r.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(slices.Clone(b)); err != nil { // a file may change what it is given
		r.Fatal(err)
	}
}

func (r *rig) remove(file string) {
	r.Helper()
	if err := r.disk.Remove(r.pathOf(file)); err != nil {
		r.Fatal(err)
	}
}

// removals is how many files starts found to be damaged, or of a former version, since the last call.
func (r *rig) removals() int {
	return len(slices.DeleteFunc(r.logs.TakeAll(), func(e observer.LoggedEntry) bool { return !strings.Contains(e.Message, "removed") }))
}

func random(rng *rand.Rand, n int) []Entry {
	entries := make([]Entry, n)
	for i := range entries {
		e := &entries[i]
		for _, b := range [][]byte{e.Hash[:8], e.Hash[8:], e.Payload[:8], e.Payload[8:]} {
			binary.LittleEndian.PutUint64(b, rng.Uint64())
		}
	}
	return entries
}

func (r *rig) payload(n uint64) (p usage.Payload) {
	binary.LittleEndian.PutUint64(p[:], n)
	return p
}
