package index

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/usagebox/otelcol-usagebox/internal/dirlock"
)

func TestWhatWasRecordedIsKnownHoweverMuchItIs(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, n := range []int{1, 30, 31, 32, 5_000, mostFresh + 1} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			r := started(t)
			entries, others := random(rng, n), random(rng, 2_000)
			r.table(entries[0])
			r.record(entries...)
			for range 2 {
				if got := r.unknown(entries); got != 0 {
					t.Fatalf("%d are not known", got)
				}
				if got := r.unknown(others); got != len(others) {
					t.Fatalf("%d that never came are known", len(others)-got)
				}
				r.stop()
				r.start()
			}
		})
	}
}

// Hashes that somebody has made so that they fall together cost no more than time.
func TestHashesThatBeginInTheSameWayAreKnown(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	r := started(t)
	entries := random(rng, 3_000)
	for i := range entries {
		copy(entries[i].Hash[:8], "the same")
		if i%3 == 0 {
			copy(entries[i].Hash[:4], "\xff\xff\xff\xff")
		}
	}
	others := random(rng, 50)
	for i := range others {
		copy(others[i].Hash[:8], "the same")
	}
	for tables := range slices.Chunk(entries, 300) {
		r.table(tables...)
	}
	if got := r.unknown(entries); got != 0 {
		t.Errorf("%d are not known", got)
	}
	if got := r.unknown(others); got != len(others) {
		t.Error("what never came is known")
	}
}

func TestWhatIsFreshGoesToAFileWithWhatComesASecondLater(t *testing.T) {
	r := started(t)
	entries := random(rand.New(rand.NewPCG(3, 3)), 4)
	r.record(entries[0])
	r.now = r.now.Add(freshFor / 2)
	r.record(entries[1])
	if n := len(r.x.fresh.entries); n != 1 {
		t.Fatalf("%d are fresh", n)
	}
	r.now = r.now.Add(freshFor)
	r.record(entries[2])
	if n := len(r.x.fresh.entries); n != 0 {
		t.Fatalf("%d are still fresh", n)
	}
	r.now = r.now.Add(-time.Hour) // a clock that is set back waits for nothing
	r.record(entries[3])
	if n := len(r.x.fresh.entries); n != 0 {
		t.Fatalf("%d are still fresh", n)
	}
	if n := r.unknown(entries); n != 0 {
		t.Fatalf("%d are not known", n)
	}
}

func TestOfOneHashTheNewestPayloadIsKnown(t *testing.T) {
	r := started(t)
	rng := rand.New(rand.NewPCG(4, 4))
	entries := random(rng, 200)
	for round := range uint64(40) {
		some := slices.Clone(entries[:1+rng.IntN(len(entries))])
		for i := range some {
			some[i].Payload = r.payload(round)
			entries[i].Payload = some[i].Payload
		}
		if rng.IntN(2) == 0 {
			r.table(some...)
		} else {
			r.record(some...)
		}
		if n := r.unknown(entries[:len(some)]); n != 0 {
			t.Fatalf("%d are not known", n)
		}
	}
	r.stop()
	r.start()
	for i, k := range r.seen(entries) {
		if k.Found && k.Payload != entries[i].Payload {
			t.Fatalf("of entry %d a payload of before is known", i)
		}
	}
}

func TestAnEventIsKnownForTheWindowAndNotMuchLonger(t *testing.T) {
	r := started(t)
	rng := rand.New(rand.NewPCG(5, 5))
	var came []time.Time
	var entries []Entry
	for range 300 {
		e := random(rng, 1)
		r.record(e...)
		came, entries = append(came, r.now), append(entries, e...)
		if rng.IntN(10) == 0 {
			r.stop()
			r.start()
		}
		r.now = r.now.Add(time.Duration(rng.IntN(300)) * time.Second)
		for i, k := range r.seen(entries) {
			age := r.now.Sub(came[i])
			if age <= r.Window && !k.Found || k.Found && age > r.Window*3/2+freshFor {
				t.Fatalf("after %v: known: %v", age, k.Found)
			}
		}
	}
	r.x.work.Wait()
	if n := len(r.x.generations); n > 4 {
		t.Errorf("%d generations", n)
	}
	if n := len(r.files()); n != len(r.x.tables()) {
		t.Errorf("%d files of %d tables", n, len(r.x.tables()))
	}
}

func TestBeyondMaxDiskTheOldestIsForgottenFirst(t *testing.T) {
	r := newRig(t, t.TempDir())
	const most = 8_000
	r.MaxDisk = most * BytesPerEntry
	r.start()
	defer func() { _ = r.x.Close() }()
	entries, evicted := random(rand.New(rand.NewPCG(6, 6)), 30_000), int64(0)
	for i := 0; i < len(entries); i += 500 {
		r.now = r.now.Add(freshFor / 2)
		n, err := r.x.Record(entries[i:i+500], r.now)
		if err != nil {
			t.Fatal(err)
		}
		evicted += n
		r.x.work.Wait()
		if n := r.x.entries(); n > most {
			t.Fatalf("%d entries", n)
		}
		if size := r.x.Size(); size > r.MaxDisk {
			t.Fatalf("%d bytes", size)
		}
		from := max(0, i+500-most*3/4+500)
		if n := r.unknown(entries[from : i+500]); n != 0 {
			t.Fatalf("%d of the newest are not known", n)
		}
	}
	if want := int64(len(entries)) - r.x.entries(); evicted != want {
		t.Errorf("%d were forgotten, it says %d", want, evicted)
	}
}

func TestAGenerationHasFewTables(t *testing.T) {
	r := started(t)
	rng := rand.New(rand.NewPCG(7, 7))
	var entries []Entry
	for range 300 {
		e := random(rng, 1+rng.IntN(40))
		entries = append(entries, e...)
		r.table(e...)
		if n := len(r.x.newest().tables); n > 16 {
			t.Fatalf("%d tables", n)
		}
	}
	r.now = r.now.Add(r.Window / 2)
	r.table(random(rng, 1)...)
	if n := len(r.x.generations[0].tables); n != 1 {
		t.Errorf("%d tables of a generation that takes no more, of %d; %v", n, len(r.x.generations), r.reported)
	}
	if n := r.unknown(entries); n != 0 {
		t.Errorf("%d are not known", n)
	}
	if len(r.reported) > 0 {
		t.Error(r.reported)
	}
}

func TestFiltersTakeNoMoreMemoryThanTheyMayAndSpareReads(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 8))
	entries, others := random(rng, 100_000), random(rng, 5_000)
	for _, c := range []struct{ cache, reads int64 }{{1 << 20, 30}, {128 << 10, 3_000}, {0, 11_000}} {
		r := newRig(t, t.TempDir())
		r.CacheSize = c.cache
		reads := &readsFS{FS: r.disk}
		r.FS = reads
		r.start()
		r.table(entries[:90_000]...)
		r.table(entries[90_000:]...)
		for range 2 {
			held := int64(0)
			for _, table := range r.x.tables() {
				for _, chunk := range table.filter.Load().chunks {
					held += int64(8 * len(chunk))
				}
			}
			if held > c.cache {
				t.Errorf("%d of %d bytes are held", held, c.cache)
			}
			reads.n = 0
			if n := r.unknown(others); n != len(others) {
				t.Error("what never came is known")
			}
			if reads.n > c.reads {
				t.Errorf("with %d bytes %d new events cost %d reads", c.cache, len(others), reads.n)
			}
			reads.n = 0
			if n := r.unknown(entries[:5_000]); n != 0 {
				t.Errorf("%d are not known", n)
			}
			if c.cache == 1<<20 && reads.n > 5_050 {
				t.Errorf("5,000 known events cost %d reads", reads.n)
			}
			r.stop()
			r.start()
			r.x.work.Wait()
		}
		r.stop()
	}
}

// readsFS counts reads.
type readsFS struct {
	vfs.FS
	n int64
}

type readsFile struct {
	vfs.File
	fs *readsFS
}

func (fs *readsFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := fs.FS.Create(name, category)
	return readsFile{f, fs}, err
}

func (fs *readsFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := fs.FS.Open(name, opts...)
	return readsFile{f, fs}, err
}

func (f readsFile) ReadAt(b []byte, at int64) (int, error) {
	f.fs.n++
	return f.File.ReadAt(b, at)
}

func TestLooksGoOnBesideAllElse(t *testing.T) {
	r := newRig(t, t.TempDir())
	r.MaxDisk, r.CacheSize = 3_000*BytesPerEntry, 3_000
	r.start()
	entries := random(rand.New(rand.NewPCG(9, 9)), 12_000)
	var work sync.WaitGroup
	start := r.now
	for part := range 4 {
		work.Go(func() {
			for i := part * 20; i < len(entries); i += 80 {
				e := entries[i : i+20]
				if _, err := r.x.Record(e, start.Add(time.Duration(i)*freshFor/50)); err != nil {
					r.x.Report(err)
				}
				known := make([]Known, 20)
				r.x.Seen(start.Add(time.Duration(i)*freshFor/50), e, known)
				for n, k := range known {
					if k.Found && k.Payload != e[n].Payload {
						r.x.Report(errors.New("another payload is known"))
					}
				}
				r.x.Size()
			}
		})
	}
	work.Wait()
	r.stop()
	if len(r.reported) > 0 {
		t.Error(r.reported)
	}
}

func TestTheIndexOfVersion1IsReplacedAndANewerOneRefused(t *testing.T) {
	r := newRig(t, t.TempDir())
	old := r.disk.PathJoin(r.Directory, "index")
	if err := r.disk.MkdirAll(old, 0o750); err != nil {
		t.Fatal(err)
	}
	if f, err := r.disk.Create(r.disk.PathJoin(old, "MANIFEST-000001"), vfs.WriteCategoryUnspecified); err != nil || f.Close() != nil {
		t.Fatal(err)
	}
	r.start()
	if n := r.removals(); n != 1 {
		t.Errorf("%d lines", n)
	}
	entries := random(rand.New(rand.NewPCG(10, 10)), 100)
	r.record(entries...)
	r.stop()
	r.start()
	if n, left := r.unknown(entries), r.removals(); n != 0 || left != 0 {
		t.Errorf("%d are not known, %d lines", n, left)
	}
	r.stop()
	before := r.files()
	if err := r.disk.MkdirAll(r.disk.PathJoin(r.Directory, "index3"), 0o750); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(r.Options); err == nil || !strings.Contains(err.Error(), "is of version 3, this program reads 2") {
		t.Error(err)
	}
	if !slices.Equal(before, r.files()) {
		t.Error("something was changed")
	}
	if err := r.disk.Remove(r.disk.PathJoin(r.Directory, "index3")); err != nil {
		t.Fatal(err)
	}
	r.start() // the lock was given up
	r.stop()
}

func TestADirectoryThatAnotherIndexHasIsNotOpened(t *testing.T) {
	r := newRig(t, t.TempDir())
	x, err := Open(r.Options)
	if err != nil {
		t.Fatal(err)
	}
	held := (*dirlock.HeldError)(nil)
	if _, err := Open(r.Options); !errors.As(err, &held) {
		t.Error(err)
	}
	if err := x.Close(); err != nil {
		t.Error(err)
	}
}

// The form is what doc.go says, so that the next program reads what this one writes.
func TestAFileIsWhatItWasToTheByte(t *testing.T) {
	r := started(t)
	var entries []Entry
	for i := range 40 {
		e := Entry{Hash: Hash{byte(i * 6), 15: byte(i)}, Payload: r.payload(uint64(i))}
		entries = append(entries, e)
	}
	r.table(entries...)
	r.stop()
	const file = "0000000001-0000000001-0000000001.known"
	if files := r.files(); !slices.Equal(files, []string{file}) {
		t.Fatal(files)
	}
	got, want := r.read(file), goldenFile(entries, r.now)
	if !bytes.Equal(got, want) {
		for i := range got {
			if i >= len(want) || got[i] != want[i] {
				t.Fatalf("%d bytes, want %d; byte %d differs", len(got), len(want), i)
			}
		}
		t.Fatal(len(got), len(want))
	}
}
