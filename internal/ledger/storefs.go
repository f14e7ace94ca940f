package ledger

import (
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// storeFS is the disk as Pebble sees it. It leaves out Pebble's own lock: the writer's state has one owner already, and the lock of an opening that
// failed can't be had back.
type storeFS struct {
	vfs.FS
	s *store
}

func (storeFS) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

func (fs storeFS) OpenDir(name string) (vfs.File, error) {
	dir, err := fs.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return storeFolderFile{dir, fs.s}, nil
}

// storeFolderFile is a folder to be synced. Where that fails Pebble ends the process.
type storeFolderFile struct {
	vfs.File
	s *store
}

func (f storeFolderFile) Sync() error {
	if err := f.File.Sync(); err != nil {
		f.s.wedge(fmt.Errorf("sync the store's folder: %w", err))
		park()
	}
	return nil
}
