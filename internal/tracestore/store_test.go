package tracestore

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"

	"github.com/usagebox/otelcol-usagebox/internal/manifest"
)

func TestAStoreWhoseManifestIsDamagedIsNotTakenForAShorterOne(t *testing.T) {
	fs := vfs.NewMem()
	for range 2 {
		s, err := Open(Options{Directory: "attribution", FS: fs})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join("attribution", "store")
	name, err := atomicfs.ReadMarker(fs, dir, "manifest")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name)
	info, err := fs.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{0xff}, info.Size()-2); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = Open(Options{Directory: "attribution", FS: fs})
	var damage *manifest.DamageError
	if !errors.As(err, &damage) || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v", err)
	}
}
