package parquetfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// readEverything reads a file as each of the four tables, and looks an event up.
func readEverything(b []byte) error {
	r, size := bytes.NewReader(b), int64(len(b))
	err := errors.Join(
		ReadRollups(r, size, func(*RollupRow) error { return nil }),
		ReadRuns(r, size, func(*RunRow) error { return nil }),
		ReadRefused(r, size, func(*RefusedRow) error { return nil }),
	)
	f, openErr := OpenEvents(r, size)
	if openErr != nil {
		return errors.Join(err, openErr)
	}
	var e usage.Event
	_, lookupErr := f.Lookup(usage.Key{Customer: "acme", ID: "a"}, &e)
	events := f.Events()
	defer events.Close()
	_, readErr := readAll(events)
	return errors.Join(err, lookupErr, readErr)
}

func onlyKnownErrors(t *testing.T, err error) {
	t.Helper()
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
			t.Fatalf("not a typed error: %v", err)
		}
		return
	}
	for _, err := range joined.Unwrap() {
		if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
			t.Fatalf("not a typed error: %v", err)
		}
	}
}

func seedFiles(t testing.TB) [][]byte {
	events := load(8)
	events[3].Customer, events[3].ID = "acme", "a"
	events[4].Dimensions = []usage.Dimension{{Key: "k", Value: "v"}}
	events[5].Flags = []string{"x", "y"}
	events[6].RunID = run1
	Sort(events)
	var e, r, u, refused bytes.Buffer
	w := NewPartWriter(&e, &r, &u, nil)
	for i := range events {
		if err := w.Write(&events[i]); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := WriteRefused(&refused, []RefusedRow{{At: 1, Reason: "conflict", Customer: "c"}}); err != nil {
		t.Fatal(err)
	}
	return [][]byte{e.Bytes(), r.Bytes(), u.Bytes(), refused.Bytes()}
}

func FuzzReadersOfDamagedFiles(f *testing.F) {
	for _, file := range seedFiles(f) {
		f.Add(file, uint(len(file)/2), byte(0))
		f.Add(file, uint(len(file)-20), byte(0xff))
	}
	f.Fuzz(func(t *testing.T, file []byte, at uint, flip byte) {
		if len(file) == 0 || len(file) > 1<<20 {
			return
		}
		file = bytes.Clone(file)
		file[at%uint(len(file))] ^= flip
		onlyKnownErrors(t, readEverything(file))
	})
}

// TestEveryFlippedByteAndEveryCutIsAnErrorOrChangesNothing damages an events file in every place.
func TestEveryFlippedByteAndEveryCutIsAnErrorOrChangesNothing(t *testing.T) {
	file := seedFiles(t)[0]
	r := opened(t, file).Events()
	want, err := readAll(r)
	r.Close()
	if err != nil {
		t.Fatal(err)
	}
	changed := 0
	for i := range file {
		damaged := bytes.Clone(file)
		damaged[i] ^= 1 << (i % 8)
		f, err := OpenEvents(bytes.NewReader(damaged), int64(len(damaged)))
		if err != nil {
			onlyKnownErrors(t, err)
			continue
		}
		r := f.Events()
		got, err := readAll(r)
		r.Close()
		onlyKnownErrors(t, err)
		if err == nil && !cmp.Equal(want, got) {
			changed++
		}
	}
	if changed > 0 {
		t.Errorf("%d flipped bits changed events without an error", changed)
	}
	for cut := range len(file) {
		if _, err := OpenEvents(bytes.NewReader(file[:cut]), int64(cut)); err == nil {
			t.Errorf("a file cut to %d of %d bytes is opened", cut, len(file))
		} else {
			onlyKnownErrors(t, err)
		}
	}
}

type failingReader struct{ err error }

func (f failingReader) ReadAt([]byte, int64) (int, error) { return 0, f.err }

func TestAnErrorOfTheFileSystemIsNotTakenForCorruption(t *testing.T) {
	broken := errors.New("input/output error")
	if _, err := OpenEvents(failingReader{broken}, 1000); !errors.Is(err, broken) || errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
	file := written(t, 0, load(5000))
	later := &failsLater{ReaderAt: bytes.NewReader(file), err: broken}
	f, err := OpenEvents(later, int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	later.fail = true
	r := f.Events()
	defer r.Close()
	if _, err := readAll(r); !errors.Is(err, broken) || errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
}

type failsLater struct {
	io.ReaderAt
	err  error
	fail bool
}

func (f *failsLater) ReadAt(p []byte, off int64) (int, error) {
	if f.fail {
		return 0, f.err
	}
	return f.ReaderAt.ReadAt(p, off)
}

func TestAFileOfAnotherVersionOrTableSaysSo(t *testing.T) {
	files := seedFiles(t)
	if _, err := OpenEvents(bytes.NewReader(files[1]), int64(len(files[1]))); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
	key := []byte(formatKey + "\x18\x01")
	newer := bytes.Replace(files[0], append(key, formatVersion...), append(key, '9'), 1)
	if bytes.Equal(newer, files[0]) {
		t.Fatal("the version is not where it is expected")
	}
	guardAgain(newer)
	if _, err := OpenEvents(bytes.NewReader(newer), int64(len(newer))); !errors.Is(err, ErrVersion) {
		t.Error(err)
	}
}

// guardAgain gives a changed file a right guard, so that what lies behind the guard is tested too.
func guardAgain(file []byte) bool {
	if len(file) < endBytes+guardBytes {
		return false
	}
	at := len(file) - endBytes - int(binary.LittleEndian.Uint32(file[len(file)-endBytes:])) - guardBytes
	if at < 0 || at > len(file)-endBytes-guardBytes || string(file[at:at+4]) != guardMagic {
		return false
	}
	begin := binary.LittleEndian.Uint64(file[at+4:])
	if begin > uint64(at) {
		return false
	}
	sum := crc32.Update(0, castagnoli, file[begin:at+12])
	sum = crc32.Update(sum, castagnoli, file[at+16:])
	binary.LittleEndian.PutUint32(file[at+12:], sum)
	return true
}
