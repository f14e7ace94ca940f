package index

import (
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// merged leaves a stopped index with one file that others were merged into, of so many entries each, and one more.
func merged(t *testing.T, seed uint64, each int) (r *rig, entries []Entry) {
	r, entries = started(t), random(rand.New(rand.NewPCG(seed, seed)), 5*each)
	for table := range slices.Chunk(entries, each) {
		r.table(table...)
	}
	if files := r.files(); len(files) != 2 {
		t.Fatal(files)
	}
	r.stop()
	return r, entries
}

func TestAfterAFlippedBitLittleIsUnknownAndNothingIsWrong(t *testing.T) {
	r, entries := merged(t, 1, 20)
	for _, file := range r.files() {
		whole := r.read(file)
		for at := range whole {
			b := slices.Clone(whole)
			b[at] ^= 1 << (at % 8)
			r.write(file, b)
			r.reported = nil
			r.start()
			n := r.unknown(entries)
			r.x.work.Wait()
			if later := r.unknown(entries); later > n {
				t.Fatalf("byte %d of %s: later %d are unknown, before %d", at, file, later, n)
			}
			told := len(r.reported) + r.removals()
			if n > 0 && told == 0 {
				t.Fatalf("byte %d of %s: %d are unknown, and nothing is said", at, file, n)
			}
			if n > perPage && at < len(whole)-endBytes-4*4 { // before the tail, of 3 pages and a chunk
				t.Fatalf("byte %d of %s: %d are unknown", at, file, n)
			}
			r.stop()
			r.write(file, whole)
		}
	}
	r.start()
	if n := r.unknown(entries); n != 0 {
		t.Fatalf("%d are unknown", n)
	}
}

func TestATornFileIsLeftOutAtAnyLength(t *testing.T) {
	r, entries := merged(t, 2, 32)
	files := r.files()
	newest := files[len(files)-1]
	whole := r.read(newest)
	for length := range whole {
		r.write(newest, whole[:length])
		r.start()
		if n := r.unknown(entries); n != 32 {
			t.Fatalf("of %d bytes: %d are unknown", length, n)
		}
		if n := r.removals(); n != 1 || slices.Contains(r.files(), newest) {
			t.Fatalf("of %d bytes: %v, %d lines", length, r.files(), n)
		}
		r.stop()
	}
	for length := 1; length < len(whole); length += 7 { // its end is there, what came before is not, as no disk has to keep an order
		b := slices.Clone(whole)
		clear(b[:length])
		r.write(newest, b)
		r.start()
		if n := r.unknown(entries); n > 32 {
			t.Fatalf("without the first %d bytes: %d are unknown", length, n)
		}
		r.stop()
	}
}

// Whatever files a crash leaves of a merge, each entry is known, with the payload that came last.
func TestACrashAtAnyStepOfAMergeLosesNothing(t *testing.T) {
	r := started(t)
	rng := rand.New(rand.NewPCG(3, 3))
	entries := random(rng, 100)
	var parts [][]byte
	var names []string
	for round := range uint64(4) {
		for i := range entries[:50] {
			entries[i].Payload = r.payload(round)
		}
		if round == 3 {
			for _, file := range r.files() {
				names, parts = append(names, file), append(parts, r.read(file))
			}
		}
		r.table(entries[:50+10*(round+1)]...)
	}
	entries = entries[:90]
	files := r.files()
	if len(files) != 1 || len(names) != 3 {
		t.Fatal(files, names)
	}
	whole := r.read(files[0])
	const last = "0000000001-0000000004-0000000004.known"
	r.stop()
	newest := newRig(t, t.TempDir()) // which makes the fourth file as it was before the merge
	newest.start()
	newest.x.mu.Lock()
	newest.x.generations = []*generation{{number: 1, first: 1, last: 1, tables: []*table{{name: name{1, 3, 3}}}}}
	newest.x.fresh.add(entries)
	if err := newest.x.write(1); err != nil {
		t.Fatal(err)
	}
	newest.x.generations[0].tables = newest.x.generations[0].tables[1:]
	newest.x.mu.Unlock()
	newest.x.work.Wait()
	names, parts = append(names, last), append(parts, newest.read(last))
	newest.stop()

	check := func(what string, left ...string) {
		t.Helper()
		r.start()
		for i, k := range r.seen(entries) {
			if !k.Found || k.Payload != entries[i].Payload {
				t.Fatalf("%s: entry %d: %v", what, i, k)
			}
		}
		r.x.work.Wait()
		if n := r.unknown(entries); n != 0 {
			t.Fatalf("%s: %d are unknown", what, n)
		}
		for _, file := range r.files() {
			if strings.HasSuffix(file, unfinished) {
				t.Fatalf("%s: %s is left", what, file)
			}
		}
		r.stop()
		for _, file := range r.files() {
			r.remove(file)
		}
	}
	for length := 0; length <= len(whole); length += 1 + length%7 { // not renamed yet
		for i := range names {
			r.write(names[i], parts[i])
		}
		r.write(files[0]+unfinished, whole[:length])
		check("while it is written")
	}
	for some := range 1 << len(names) { // renamed, and some are removed
		for i := range names {
			if some>>i&1 == 1 {
				r.write(names[i], parts[i])
			}
		}
		r.write(files[0], whole)
		r.start()
		if left := r.files(); !slices.Equal(left, files) {
			t.Fatal("what was replaced is left: ", left)
		}
		r.stop()
		check("when it is there")
	}
}

func TestAFileUnderAnotherNameIsLeftOut(t *testing.T) {
	r, entries := merged(t, 4, 40)
	files := r.files()
	for _, other := range []string{"0000000001-0000000009-0000000009.known", "0000000002-0000000005-0000000005.known", files[0]} {
		whole, replaced := r.read(files[1]), r.read(files[0])
		r.remove(files[1])
		r.write(other, whole)
		r.start()
		n := r.unknown(entries)
		if want := map[bool]int{true: 200, false: 40}[other == files[0]]; n != want {
			t.Errorf("%s: %d are unknown", other, n)
		}
		r.stop()
		r.write(files[0], replaced)
		r.write(files[1], whole)
	}
	r.write("notes.txt", []byte("of somebody else"))
	r.start()
	if n := r.unknown(entries); n != 0 || !slices.Contains(r.files(), "notes.txt") {
		t.Errorf("%d are unknown, %v", n, r.files())
	}
	r.remove("notes.txt")
}

// What was merged is there after a power cut that takes all that was not synced.
func TestAPowerCutTakesTheNewestAlone(t *testing.T) {
	r := started(t)
	rng := rand.New(rand.NewPCG(5, 5))
	var entries []Entry
	for range 60 {
		e := random(rng, 1+rng.IntN(60))
		r.table(e...)
		entries = append(entries, e...)
		newest := int64(0)
		for _, t := range r.x.newest().tables {
			if t.first == t.last {
				newest += t.entries
			}
		}
		left := r.disk.CrashClone(vfs.CrashCloneCfg{})
		disk := r.disk
		r.on(left)
		if n := r.unknown(entries); int64(n) > newest {
			t.Fatalf("%d are unknown, the newest are %d", n, newest)
		}
		r.on(disk)
	}
}

func TestAFullDiskIsLeftAloneAndWhatComesLaterIsKnown(t *testing.T) {
	for name, full := range map[string]func(*fullFS, bool){
		"no room":     func(fs *fullFS, full bool) { fs.full = full },
		"little room": func(fs *fullFS, full bool) { fs.little = full },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, t.TempDir())
			disk := &fullFS{FS: r.disk}
			r.FS = errorfs.Wrap(disk, disk)
			r.start()
			entries := random(rand.New(rand.NewPCG(6, 6)), 400)
			for i := range 10 {
				r.table(entries[i*20 : i*20+20]...)
			}
			before := r.files()
			full(disk, true)
			for i := 10; i < 15; i++ {
				r.now = r.now.Add(freshFor)
				if _, err := r.x.Record(entries[i*20:i*20+20], r.now); err == nil {
					t.Fatal("nothing is said")
				}
				r.x.work.Wait()
			}
			if got := r.files(); !slices.Equal(got, before) {
				t.Errorf("%v, before %v", got, before)
			}
			if n := r.unknown(entries[:300]); n != 100 {
				t.Errorf("%d are unknown, want those of a full disk", n)
			}
			full(disk, false)
			for i := 15; i < 20; i++ {
				r.table(entries[i*20 : i*20+20]...)
			}
			r.stop()
			r.start()
			if n := r.unknown(entries); n != 100 {
				t.Errorf("%d are unknown, want those of a full disk", n)
			}
			r.stop()
		})
	}
}

// fullFS is a disk that has no room, or little.
type fullFS struct {
	vfs.FS
	full, little bool
}

func (f *fullFS) String() string { return "a full disk" }

func (f *fullFS) MaybeError(op errorfs.Op) error {
	if f.full && op.Kind == errorfs.OpFileWrite {
		return &os.PathError{Op: "write", Path: op.Path, Err: syscall.ENOSPC}
	}
	return nil
}

func (f *fullFS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	if f.little {
		return vfs.DiskUsage{AvailBytes: minFree - 1}, nil
	}
	return vfs.DiskUsage{AvailBytes: 1 << 40}, nil
}

// A fault of the disk, at whatever operation and for however long, makes no event known with another payload, and when it is over the index goes on.
func TestNoFaultOfTheDiskMakesTheIndexWrong(t *testing.T) {
	entries := random(rand.New(rand.NewPCG(7, 7)), 300)
	for _, lasts := range []int{1, 3, 1 << 20} {
		for at := 0; ; at++ {
			r := newRig(t, t.TempDir())
			r.start()
			for i := range 3 {
				r.table(entries[i*20 : i*20+20]...)
			}
			r.stop()
			n := -at
			over := false
			r.FS = errorfs.Wrap(r.disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
				if n++; !over && n > 0 && n <= lasts && op.Kind != errorfs.OpFileClose {
					return &os.PathError{Op: "do", Path: op.Path, Err: syscall.EIO}
				}
				return nil
			}))
			x, err := open(r.Options, nil)
			failed := 0
			if err == nil {
				r.x = x
				x.work.Wait()
				for i := 3; i < 10; i++ {
					r.now = r.now.Add(freshFor)
					if _, err := x.Record(entries[i*20:i*20+20], r.now); err != nil {
						failed += 20
					}
					x.work.Wait()
					r.unknown(entries)
				}
			}
			faults := n > 0
			over = true
			if err != nil {
				r.start()
				failed = 7 * 20
			}
			for i := 10; i < 15; i++ {
				r.table(entries[i*20 : i*20+20]...)
			}
			lost := failed
			if len(r.reported) > 0 { // pages that a merge had to leave out
				lost = 200
			}
			if n := r.unknown(entries); n > lost {
				t.Fatalf("fault %d for %d: %d are unknown, %d were not taken; %v", at, lasts, n, failed, r.reported)
			}
			if n := r.unknown(entries[200:]); n != 0 {
				t.Fatalf("fault %d for %d: %d of what came later are unknown", at, lasts, n)
			}
			r.FS = r.disk
			r.stop()
			r.start()
			if n := r.unknown(entries[200:]); n != 0 {
				t.Fatalf("fault %d for %d: after a start %d of what came later are unknown", at, lasts, n)
			}
			r.stop()
			if !faults {
				break
			}
		}
	}
}
