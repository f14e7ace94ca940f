package ledger

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"
)

// A store's manifest names its tables. Pebble takes one that can't be read from some record on as if it ended there.
func TestAFlippedBitInTheManifestIsFoundAndLosesNothing(t *testing.T) {
	dir := t.TempDir()
	o := childOptions(dir)
	o.Manual = true
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 30 {
		if _, err := l.Append(context.Background(), childEvents(n)); err != nil {
			t.Fatal(err)
		}
		if n == 10 || n == 20 || n == 25 {
			if err := l.state.store.db.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	image := t.TempDir()
	copyTree(t, dir, image)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	store := filepath.Join("state", "writer=main", "store")
	name, err := atomicfs.ReadMarker(vfs.Default, filepath.Join(image, store), "manifest")
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(image, store, name))
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for at := int64(0); at < info.Size(); at += 7 {
		damaged := t.TempDir()
		copyTree(t, image, damaged)
		flipBit(t, filepath.Join(damaged, store, name), at, 1<<(at%8))
		err := readDamaged(t, damaged) // which compares the totals when all seems well
		if damage := (*CorruptError)(nil); errors.As(err, &damage) && strings.Contains(err.Error(), name) {
			found++
		} else {
			t.Errorf("a flip in byte %d: %v", at, err)
		}
	}
	if found < 20 {
		t.Errorf("%d flips are too few to say anything", found)
	}
}
