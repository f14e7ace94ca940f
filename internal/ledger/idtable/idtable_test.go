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

func open(tb testing.TB, fs vfs.FS, path string, filters int64) *Table {
	tb.Helper()
	table, err := Open(fs, path)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = table.Close() })
	share(tb, filters, table)
	return table
}

// share also says how many bytes are held.
func share(tb testing.TB, bytes int64, tables ...*Table) (held int64) {
	tb.Helper()
	if _, err := Share(tables, bytes); err != nil {
		tb.Fatal(err)
	}
	for _, t := range tables {
		for i := range t.layers {
			for j := range t.layers[i].chunks {
				b := t.layers[i].chunks[j].Load()
				if (b != nil) != (j < t.layers[i].held) {
					tb.Fatalf("chunk %d of %d: %v", j, t.layers[i].held, b != nil)
				}
				if b != nil {
					held += int64(len(*b))
				}
			}
		}
	}
	return held
}

// knows fails unless the table has the records, and none of others.
func knows(tb testing.TB, table *Table, records, others []Record) {
	tb.Helper()
	var p Page
	for i := range records {
		id := &records[i].ID
		if !table.MayHave(id) {
			tb.Fatalf("the filter lacks id %d", i)
		}
		if r, found, err := table.Get(id, &p); err != nil || !found || r != records[i] {
			tb.Fatalf("id %d: %+v, %v, %v", i, r, found, err)
		}
	}
	for i := range others {
		if _, found, err := table.Get(&others[i].ID, &p); err != nil || found {
			tb.Fatal(found, err)
		}
	}
}

// seeming is how many of a thousand absent ids seem to be in the table.
func seeming(table *Table, others []Record) (n int) {
	for i := range others {
		if table.MayHave(&others[i].ID) {
			n++
		}
	}
	return n * 1000 / len(others)
}

func TestATableKnowsItsIDsAndNoOthers(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, n := range []int{1, 119, 120, 121, 7_000, 60_000} {
		for _, spread := range []bool{true, false} {
			for _, filters := range []int64{0, 40_000, 1 << 20} {
				t.Run(fmt.Sprintf("%d/spread=%v/filters=%d", n, spread, filters), func(t *testing.T) {
					fs := vfs.NewMem()
					records := random(rng, n, spread)
					write(t, fs, "t", int64(n)+rng.Int64N(100), records)
					if err := Check(fs, "t"); err != nil {
						t.Fatal(err)
					}
					table, others := open(t, fs, "t", filters), random(rng, 2_000, spread)
					knows(t, table, records, others)
					if got := seeming(table, others); spread && filters == 1<<20 && got > 10 {
						t.Errorf("%d of 1,000 absent ids seem to be there", got)
					}
				})
			}
		}
	}
}

func TestATableOfTheVersionBeforeKnowsItsIDsAndIsMerged(t *testing.T) {
	const path = "testdata/version1.ids" // made by the program of its time
	if err := Check(vfs.Default, path); err != nil {
		t.Fatal(err)
	}
	records, others := random(rand.New(rand.NewPCG(7, 7)), 250, true), random(rand.New(rand.NewPCG(8, 8)), 2_000, true)
	for _, filters := range []int64{0, 1 << 20} {
		knows(t, open(t, vfs.Default, path, filters), records, others)
	}
	if got := seeming(open(t, vfs.Default, path, 1<<20), others); got > 20 {
		t.Errorf("%d of 1,000 absent ids seem to be there", got)
	}
	merged := t.TempDir() + "/merged"
	w, err := NewWriter(vfs.Default, merged, 250)
	if err != nil {
		t.Fatal(err)
	}
	if err := Merge(w, vfs.Default, []string{path}, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	knows(t, open(t, vfs.Default, merged, 1<<20), records, others)
}

func TestAnyIDIsFoundWithHardlyMoreThanOneRead(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 9))
	fs := &readsFS{FS: vfs.NewMem()}
	records := random(rng, 100_000, true)
	write(t, fs, "t", 100_000, records)
	table := open(t, fs, "t", 0)
	fs.reads = 0
	knows(t, table, records, nil)
	if fs.reads > len(records)*5/4 {
		t.Errorf("%d reads for %d ids", fs.reads, len(records))
	}
	t.Logf("%.3f reads for an id", float64(fs.reads)/float64(len(records)))
}

// readsFS counts reads.
type readsFS struct {
	vfs.FS
	reads int
}

type readsFile struct {
	vfs.File
	fs *readsFS
}

func (fs *readsFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := fs.FS.Open(name, opts...)
	return readsFile{f, fs}, err
}

func (f readsFile) ReadAt(b []byte, at int64) (int, error) {
	f.fs.reads++
	return f.File.ReadAt(b, at)
}

func TestFiltersTakeNoMoreMemoryThanTheyMay(t *testing.T) {
	rng := rand.New(rand.NewPCG(10, 10))
	fs := vfs.NewMem()
	others := random(rng, 5_000, true)
	var tables []*Table
	var known [][]Record
	for i, n := range []int{900_000, 60_000, 5_000} { // layers of 456, 32 and 4 KiB
		path := fmt.Sprint(i)
		known = append(known, random(rng, n, true))
		write(t, fs, path, int64(n), known[i])
		tables = append(tables, open(t, fs, path, 0))
	}
	most := int64(0)
	for _, table := range tables {
		most += table.filterPages() * pageBytes
	}
	for _, c := range []struct{ bytes, old, middle, newest int64 }{
		{most, 8, 8, 8},
		{900 << 10, 250, 8, 8}, // of the largest table the first layer
		{400 << 10, 600, 250, 8},
		{40 << 10, 1000, 250, 8},
		{8 << 10, 1000, 1000, 50},
		{0, 1000, 1000, 1000},
		{500 << 10, 600, 250, 8},
		{most, 8, 8, 8},
	} {
		held := share(t, c.bytes, tables...)
		if held > c.bytes || c.bytes == most && held != most {
			t.Errorf("%d bytes of %d are held", held, c.bytes)
		}
		for i, want := range []int64{c.old, c.middle, c.newest} {
			if got := int64(seeming(tables[i], others)); got > want || want == 1000 && got != want {
				t.Errorf("with %d bytes %d of 1,000 absent ids seem to be in table %d", c.bytes, got, i)
			}
			for j := 0; j < len(known[i]); j += 97 {
				if !tables[i].MayHave(&known[i][j].ID) {
					t.Fatalf("with %d bytes the filter of table %d lacks an id", c.bytes, i)
				}
			}
		}
	}
}

func TestFiltersComeAndGoBesideLooks(t *testing.T) {
	rng := rand.New(rand.NewPCG(13, 13))
	fs := vfs.NewMem()
	records := random(rng, 20_000, true)
	write(t, fs, "t", 20_000, records)
	table := open(t, fs, "t", 0)
	over, begun, looked := make(chan struct{}), make(chan struct{}), make(chan int)
	go func() {
		lacks := 0
		for n := 0; ; n++ {
			select {
			case <-over:
				looked <- lacks
				return
			default:
			}
			if !table.MayHave(&records[n%len(records)].ID) {
				lacks++
			}
			if n == 0 {
				close(begun)
			}
		}
	}()
	<-begun
	for range 50 {
		share(t, 1<<20, table)
		share(t, 0, table)
	}
	close(over)
	if lacks := <-looked; lacks > 0 {
		t.Errorf("%d times the filter lacked an id", lacks)
	}
}

func TestAFilterThatIsDamagedIsNotUsed(t *testing.T) {
	fs := vfs.NewMem()
	write(t, fs, "good", 500, random(rand.New(rand.NewPCG(11, 11)), 500, true))
	write(t, fs, "bad", 500, random(rand.New(rand.NewPCG(12, 12)), 500, true))
	b := content(t, fs, "bad")
	b[2*pageBytes+77] ^= 4
	put(t, fs, "bad", b)
	good, bad := open(t, fs, "good", 0), open(t, fs, "bad", 0)
	var damage *DamageError
	if failed, err := Share([]*Table{good, bad}, 1<<20); failed != 1 || !errors.As(err, &damage) || damage.Page != 2 {
		t.Fatal(failed, err)
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
	if _, err := Share([]*Table{table}, 1<<30); err != nil {
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
			table.MayHave(&others[i%n].ID)
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
