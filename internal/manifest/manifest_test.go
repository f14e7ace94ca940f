package manifest

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// written is a manifest of records of these lengths, and where each begins.
func written(t *testing.T, lengths ...int) (text []byte, begins []int) {
	t.Helper()
	var b bytes.Buffer
	w := record.NewWriter(&b)
	for i, n := range lengths {
		begins = append(begins, b.Len())
		if _, err := w.WriteRecord(bytes.Repeat([]byte{byte(i + 1)}, n)); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes(), append(begins, b.Len())
}

func TestEveryFlippedBitIsFound(t *testing.T) {
	for _, lengths := range [][]int{{40}, {40, 1, 90}, {300, 700, 3}} {
		text, _ := written(t, lengths...)
		for i := range 8 * len(text) {
			text[i/8] ^= 1 << (i % 8)
			if _, ok := whole(text); ok {
				t.Fatalf("%v: bit %d of byte %d", lengths, i%8, i/8)
			}
			text[i/8] ^= 1 << (i % 8)
		}
	}
}

func TestWhatACrashLeavesIsNoDamage(t *testing.T) {
	text, begins := written(t, 40, 700, 1, block, 300)
	for n := range len(text) {
		if n > 800 && n < len(text)-400 && n%2999 != 0 {
			continue
		}
		if at, ok := whole(text[:n]); !ok {
			t.Fatalf("cut at %d: damage at %d", n, at)
		}
	}
	last := begins[len(begins)-2]
	for n := last; n < len(text); n++ { // a record of which no sector, or some, came to the disk
		if n != last && n%sector != 0 {
			continue
		}
		zeroed := append(append([]byte{}, text[:n]...), make([]byte, len(text)-n)...)
		if at, ok := whole(zeroed); !ok {
			t.Fatalf("zeros from %d on: damage at %d", n, at)
		}
	}
}

func TestTheManifestOfAStoreIsReadWhereItsMarkerSays(t *testing.T) {
	fs := vfs.NewMem()
	if err := Check(fs, "none"); err != nil {
		t.Errorf("no store: %v", err)
	}
	db, err := pebble.Open("store", &pebble.Options{FS: fs, Logger: pebble.DefaultLogger})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"a", "b"} {
		if err := errors.Join(db.Set([]byte(key), []byte(key), pebble.Sync), db.Flush(), Check(fs, "store")); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := fs.List("store")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if !strings.HasPrefix(name, "MANIFEST-") {
			continue
		}
		f, err := fs.OpenReadWrite("store/"+name, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte{0xff}, 20); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	var damage *DamageError
	if err := Check(fs, "store"); !errors.As(err, &damage) || !strings.HasPrefix(damage.Path, "store/MANIFEST-") {
		t.Errorf("got %v", err)
	}
}
