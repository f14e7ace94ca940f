package factlog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"pgregory.net/rapid"
)

var errDisk = errors.New("the disk failed")

// disk is a file system that can fail and lose what was not synced.
type disk struct {
	mem  *vfs.MemFS
	fail func(errorfs.Op) bool // nil: nothing fails
}

func (d *disk) String() string { return "disk" }

func (d *disk) MaybeError(op errorfs.Op) error {
	if d.fail != nil && d.fail(op) {
		return errDisk
	}
	return nil
}

func (d *disk) open(t testing.TB, segment int64) *Log {
	t.Helper()
	l, err := Open(Options{FS: errorfs.Wrap(d.mem, d), Directory: "facts", SegmentBytes: segment, SegmentAge: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

type tester interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

func replayed(t tester, l *Log) map[Place][]byte {
	t.Helper()
	found := map[Place][]byte{}
	_, err := l.Replay(0, func(p Place, b []byte) (bool, error) {
		if _, ok := found[p]; ok {
			t.Fatalf("%v was told twice", p)
		}
		found[p] = bytes.Clone(b)
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func pinnedPlaces(m map[Place][]byte) []Place { return slices.Collect(maps.Keys(m)) }

// Whatever fails, wherever the machine stops: what was acknowledged is read back, at its place, and nothing that was never sent turns up.
func TestWhatWasAcknowledgedIsThereAfterAnyFaultsAndCrashes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")
		random := rand.New(rand.NewPCG(seed, 1))
		d := &disk{mem: vfs.NewCrashableMem()}
		open := func() *Log {
			l, err := Open(Options{FS: errorfs.Wrap(d.mem, d), Directory: "facts", SegmentBytes: 400, SegmentAge: 1000})
			if err != nil {
				rt.Fatal(err)
			}
			return l
		}
		l := open()
		sent := map[string]bool{}
		acked := map[Place][]byte{}
		dropped := uint64(0)
		now, n := int64(1), 0
		check := func() {
			for p, want := range acked {
				got, err := l.Read(p, nil)
				if p.Offset < dropped && errors.Is(err, ErrGone) {
					continue
				}
				if err != nil || !bytes.Equal(got, want) {
					rt.Fatalf("%v: %q, %v, want %q", p, got, err, want)
				}
			}
		}
		reopen := func() {
			l = open()
			found := replayed(rt, l)
			for p, want := range acked {
				if p.Offset >= dropped && !bytes.Equal(found[p], want) {
					rt.Fatalf("%v is lost: %q", p, want)
				}
			}
			for p, b := range found {
				if !sent[string(b)] {
					rt.Fatalf("%v was never sent: %q", p, b)
				}
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"append": func(rt *rapid.T) {
				var records [][]byte
				for range rapid.IntRange(1, 4).Draw(rt, "records") {
					n++
					r := fmt.Appendf(nil, "%d ", n)
					r = append(r, bytes.Repeat([]byte{'x'}, rapid.IntRange(0, 150).Draw(rt, "bytes"))...)
					records, sent[string(r)] = append(records, r), true
				}
				now += rapid.Int64Range(0, 400).Draw(rt, "later")
				if rapid.IntRange(0, 3).Draw(rt, "fails") == 0 {
					skip := rapid.IntRange(0, 6).Draw(rt, "operation")
					d.fail = func(op errorfs.Op) bool { skip--; return skip == -1 && op.Kind.ReadOrWrite() == errorfs.OpIsWrite }
				}
				places, err := l.Append(records, now)
				d.fail = nil
				if err != nil {
					if !errors.Is(err, errDisk) {
						rt.Fatal(err)
					}
					return
				}
				for i, p := range places {
					acked[p] = records[i]
				}
			},
			"drop": func(rt *rapid.T) {
				l.Release(pinnedPlaces(acked))
				if _, err := l.Drop(now - rapid.Int64Range(0, 500).Draw(rt, "age")); err != nil {
					rt.Fatal(err)
				}
				l.mu.Lock()
				if len(l.segments) > 0 {
					dropped = max(dropped, l.segments[0].base)
				} else {
					dropped = max(dropped, l.next)
				}
				l.mu.Unlock()
				for p := range acked {
					if p.Offset < dropped {
						delete(acked, p)
					}
				}
			},
			"crash": func(rt *rapid.T) {
				_ = l.Close()
				d.mem = d.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rapid.SampledFrom([]int{0, 50, 100}).Draw(rt, "unsynced"), RNG: random})
				reopen()
			},
			"reopen": func(rt *rapid.T) {
				if err := l.Close(); err != nil {
					rt.Fatal(err)
				}
				reopen()
			},
			"": func(*rapid.T) { check() },
		})
		_ = l.Close()
	})
}

func TestManySendersShareOneSync(t *testing.T) {
	d := &disk{mem: vfs.NewMem()}
	var syncs atomic.Int64
	hold := make(chan struct{})
	first := make(chan struct{})
	d.fail = func(op errorfs.Op) bool {
		if op.Kind == errorfs.OpFileSyncData && syncs.Add(1) == 1 {
			close(first)
			<-hold
		}
		return false
	}
	l := d.open(t, 1<<20)
	var senders sync.WaitGroup
	send := func(i int) {
		senders.Go(func() {
			if _, err := l.Append([][]byte{{byte(i)}}, 1); err != nil {
				t.Error(err)
			}
		})
	}
	send(0)
	<-first
	for i := range 50 {
		send(i + 1)
	}
	for waiting := 0; waiting < 50; {
		l.mu.Lock()
		if l.group != nil {
			waiting = len(l.group.ends)
		}
		l.mu.Unlock()
	}
	close(hold)
	senders.Wait()
	if n := syncs.Load(); n != 2 {
		t.Errorf("%d syncs for 51 senders", n)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if n := len(replayed(t, d.open(t, 1<<20))); n != 51 {
		t.Errorf("%d records", n)
	}
}

func TestAFlippedBitIsFoundAndCostsOneRecord(t *testing.T) {
	mem := vfs.NewMem()
	d := &disk{mem: mem}
	l := d.open(t, 1<<20)
	var places []Place
	for i := range 10 {
		p, err := l.Append([][]byte{fmt.Appendf(nil, "record %d", i)}, 1)
		if err != nil {
			t.Fatal(err)
		}
		places = append(places, p...)
	}
	path := l.segments[0].path
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	whole := contents(t, mem, path)
	for at := headerBytes; at < len(whole); at++ {
		damagedFile := bytes.Clone(whole)
		damagedFile[at] ^= 0x10
		put(t, mem, path, damagedFile)
		l := d.open(t, 1<<20)
		n := 0
		damaged, err := l.Replay(0, func(Place, []byte) (bool, error) { n++; return false, nil })
		hit := (at - headerBytes) / (recordHeader + len("record 0"))
		if err != nil || n != 9 || (len(damaged) != 1) != (hit == 9) {
			t.Fatalf("byte %d: %d records, %v, %v", at, n, damaged, err)
		}
		var corrupt *CorruptError
		if _, err := l.Read(places[hit], nil); hit < 9 && !errors.As(err, &corrupt) {
			t.Fatalf("byte %d: %v", at, err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func contents(t *testing.T, fs vfs.FS, path string) []byte {
	t.Helper()
	f, err := fs.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func put(t *testing.T, fs vfs.FS, path string, b []byte) {
	t.Helper()
	f, err := fs.Create(path, category)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestPinnedSegmentsStay(t *testing.T) {
	d := &disk{mem: vfs.NewMem()}
	l := d.open(t, 100)
	defer l.Close()
	var places []Place
	for i := range 5 {
		p, err := l.Append([][]byte{bytes.Repeat([]byte{'x'}, 80)}, int64(i))
		if err != nil {
			t.Fatal(err)
		}
		places = append(places, p...)
	}
	if ok, err := l.Drop(100); ok || err != nil {
		t.Fatal("a pinned segment was dropped", err)
	}
	l.Release(places[:3])
	for range 5 {
		if _, err := l.Drop(3); err != nil {
			t.Fatal(err)
		}
	}
	for i, p := range places {
		if _, err := l.Read(p, nil); errors.Is(err, ErrGone) != (i < 2) {
			t.Fatalf("record %d: %v", i, err)
		}
	}
}

func FuzzReplay(f *testing.F) {
	f.Add([]byte("no segment"), 0)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		mem := vfs.NewMem()
		d := &disk{mem: mem}
		l := d.open(t, 1<<20)
		if _, err := l.Append([][]byte{[]byte("one"), b}, 7); err != nil {
			t.Fatal(err)
		}
		path := l.segments[0].path
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		whole := contents(t, mem, path)
		put(t, mem, path, append(whole[:max(0, min(cut, len(whole)))], b...))
		l, err := Open(Options{FS: mem, Directory: "facts", SegmentBytes: 1 << 20})
		if err != nil {
			return
		}
		if _, err := l.Replay(0, func(Place, []byte) (bool, error) { return true, nil }); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
