package idtable

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func write(tb testing.TB, fs vfs.FS, path string, room int64, records []Record) {
	tb.Helper()
	w, err := NewWriter(fs, path, room)
	if err != nil {
		tb.Fatal(err)
	}
	for i := range records {
		if err := w.Add(&records[i]); err != nil {
			tb.Fatal(err)
		}
	}
	if n, err := w.Finish(); err != nil || n != int64(len(records)) {
		tb.Fatal(n, err)
	}
}

// random gives sorted records; spread false: their ids are anything but evenly spread.
func random(rng *rand.Rand, n int, spread bool) []Record {
	records := make([]Record, n)
	for i := range records {
		r := &records[i]
		binary.BigEndian.PutUint64(r.ID[:], rng.Uint64())
		binary.BigEndian.PutUint64(r.ID[8:], rng.Uint64())
		if !spread {
			binary.BigEndian.PutUint64(r.ID[:], rng.Uint64N(3)<<62+rng.Uint64N(5))
		}
		binary.BigEndian.PutUint64(r.Payload[:], rng.Uint64())
		r.Hour, r.Seq = rng.Uint32(), rng.Uint64N(MaxSeq+1)
	}
	slices.SortFunc(records, func(a, b Record) int { return Compare(&a.ID, &b.ID) })
	return records
}

func TestATableKnowsItsIDsAndNoOthers(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, n := range []int{1, 119, 120, 121, 7_000, 60_000} {
		for _, spread := range []bool{true, false} {
			for _, loaded := range []bool{true, false} {
				t.Run(fmt.Sprintf("%d/spread=%v/loaded=%v", n, spread, loaded), func(t *testing.T) {
					fs := vfs.NewMem()
					records := random(rng, n, spread)
					write(t, fs, "t", int64(n)+rng.Int64N(100), records)
					if err := Check(fs, "t"); err != nil {
						t.Fatal(err)
					}
					table, err := Open(fs, "t")
					if err != nil {
						t.Fatal(err)
					}
					defer table.Close()
					if loaded {
						if err := table.LoadFilter(); err != nil {
							t.Fatal(err)
						}
					}
					var p Page
					for i := range records {
						id := &records[i].ID
						if may, err := table.MayHave(id, &p); err != nil || !may {
							t.Fatalf("id %d: %v, %v", i, may, err)
						}
						if r, found, err := table.Get(id, &p); err != nil || !found || r != records[i] {
							t.Fatalf("id %d: %+v, %v, %v", i, r, found, err)
						}
					}
					seeming := 0
					others := random(rng, 2_000, spread)
					for i := range others {
						if _, found, err := table.Get(&others[i].ID, &p); err != nil || found {
							t.Fatal(found, err)
						}
						may, err := table.MayHave(&others[i].ID, &p)
						if err != nil {
							t.Fatal(err)
						}
						if may {
							seeming++
						}
					}
					if spread && seeming > len(others)/25 {
						t.Errorf("%d of %d absent ids seem to be there", seeming, len(others))
					}
				})
			}
		}
	}
}

func TestOfAnIDThatSeveralTablesHaveTheNewestStays(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	fs := vfs.NewMem()
	want := map[[16]byte]Record{}
	var paths []string
	all := random(rng, 3_000, true)
	for n := range 5 {
		var records []Record
		for i := range all {
			if rng.IntN(3) == 0 {
				r := all[i]
				r.Seq = uint64(n)
				records = append(records, r)
				want[r.ID] = r
			}
		}
		paths = append(paths, fmt.Sprint(n))
		write(t, fs, paths[n], int64(len(records)), records)
	}
	w, err := NewWriter(fs, "merged", 15_000)
	if err != nil {
		t.Fatal(err)
	}
	if err := Merge(w, fs, paths, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	if n, err := w.Finish(); err != nil || n != int64(len(want)) {
		t.Fatal(n, err)
	}
	if err := Check(fs, "merged"); err != nil {
		t.Fatal(err)
	}
	table, err := Open(fs, "merged")
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	var p Page
	for id, r := range want {
		if got, found, err := table.Get(&id, &p); err != nil || !found || got != r {
			t.Fatalf("%+v, %v, %v, want %+v", got, found, err, r)
		}
	}
}

func TestAMergeEndsWhenItIsToldTo(t *testing.T) {
	fs := vfs.NewMem()
	write(t, fs, "one", mergeStep, random(rand.New(rand.NewPCG(3, 3)), mergeStep, true))
	w, err := NewWriter(fs, "merged", mergeStep)
	if err != nil {
		t.Fatal(err)
	}
	over := errors.New("over")
	if err := Merge(w, fs, []string{"one"}, func() error { return over }); !errors.Is(err, over) {
		t.Fatal(err)
	}
	if err := w.Abort(); err != nil {
		t.Fatal(err)
	}
}

func TestIDsThatAreNotInOrderAreRefused(t *testing.T) {
	w, err := NewWriter(vfs.NewMem(), "t", 2)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	r := Record{ID: [16]byte{1}, Seq: MaxSeq + 1}
	if err := w.Add(&r); err == nil {
		t.Error("a number that doesn't fit was taken")
	}
	r.Seq = 1
	if err := w.Add(&r); err != nil {
		t.Error(err)
	}
	if err := w.Add(&r); err == nil {
		t.Error("an id was taken twice")
	}
}

func content(tb testing.TB, fs vfs.FS, path string) []byte {
	tb.Helper()
	f, err := fs.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		tb.Fatal(err)
	}
	b := make([]byte, info.Size())
	if _, err := f.ReadAt(b, 0); err != nil {
		tb.Fatal(err)
	}
	return b
}

func put(tb testing.TB, fs vfs.FS, path string, b []byte) {
	tb.Helper()
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := f.Write(bytes.Clone(b)); err != nil {
		tb.Fatal(err)
	}
	if err := f.Close(); err != nil {
		tb.Fatal(err)
	}
}

func TestEveryDamagedByteAndEveryTornEndIsFound(t *testing.T) {
	fs := vfs.NewMem()
	write(t, fs, "t", 200, random(rand.New(rand.NewPCG(4, 4)), 200, true))
	whole := content(t, fs, "t")
	for i := 0; i < len(whole); i += 7 {
		damaged := bytes.Clone(whole)
		damaged[i] ^= 1 << (i & 7)
		put(t, fs, "d", damaged)
		var damage *DamageError
		if err := Check(fs, "d"); !errors.As(err, &damage) || damage.Page != int64(i/pageBytes) {
			t.Fatalf("byte %d: %v", i, err)
		}
	}
	for size := 0; size < len(whole); size += 1 + size/4 {
		put(t, fs, "d", whole[:size])
		if err := Check(fs, "d"); err == nil {
			t.Fatalf("cut off at %d", size)
		}
	}
	swapped := bytes.Clone(whole)
	copy(swapped[pageBytes:], whole[2*pageBytes:3*pageBytes])
	copy(swapped[2*pageBytes:], whole[pageBytes:2*pageBytes])
	put(t, fs, "d", swapped)
	if err := Check(fs, "d"); err == nil {
		t.Fatal("pages are in each other's place")
	}
}

func FuzzTable(f *testing.F) {
	fs := vfs.NewMem()
	write(f, fs, "t", 130, random(rand.New(rand.NewPCG(5, 5)), 130, true))
	f.Add(content(f, fs, "t"))
	f.Add(make([]byte, 3*pageBytes))
	f.Fuzz(func(t *testing.T, b []byte) {
		b = bytes.Clone(b)
		for i := 0; (i+1)*pageBytes <= len(b); i++ { // so that more than checksums is tried
			page := b[i*pageBytes : (i+1)*pageBytes]
			binary.LittleEndian.PutUint32(page[pageBody:], pageSum(int64(i), page))
		}
		fs := vfs.NewMem()
		put(t, fs, "t", b)
		if Check(fs, "t") != nil {
			return
		}
		table, err := Open(fs, "t")
		if err != nil {
			t.Fatal(err)
		}
		defer table.Close()
		var p Page
		if _, _, err := table.Get(&[16]byte{7}, &p); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkTable(b *testing.B) {
	const n = 1 << 20
	fs := vfs.Default
	path := b.TempDir() + "/t"
	rng := rand.New(rand.NewPCG(6, 6))
	records := random(rng, n, true)
	b.Run("write", func(b *testing.B) {
		for range b.N {
			write(b, fs, path, n, records)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/id")
	})
	table, err := Open(fs, path)
	if err != nil {
		b.Fatal(err)
	}
	defer table.Close()
	if err := table.LoadFilter(); err != nil {
		b.Fatal(err)
	}
	others := random(rng, n, true)
	rng.Shuffle(n, func(i, j int) {
		others[i], others[j] = others[j], others[i]
		records[i], records[j] = records[j], records[i]
	})
	var p Page
	b.Run("filter", func(b *testing.B) {
		for i := range b.N {
			_, _ = table.MayHave(&others[i%n].ID, &p)
		}
	})
	b.Run("get", func(b *testing.B) {
		for i := range b.N {
			if _, found, err := table.Get(&records[i%n].ID, &p); err != nil || !found {
				b.Fatal(err)
			}
		}
	})
	b.Run("merge", func(b *testing.B) {
		for range b.N {
			w, err := NewWriter(fs, path+"m", n)
			if err != nil {
				b.Fatal(err)
			}
			if err := Merge(w, fs, []string{path, path, path, path}, func() error { return nil }); err != nil {
				b.Fatal(err)
			}
			if _, err := w.Finish(); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/id")
	})
}
