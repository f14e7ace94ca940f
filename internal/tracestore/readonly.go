package tracestore

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"

	"github.com/usagebox/otelcol-usagebox/internal/factlog"
)

// openTries is how often a directory is read that its owner rearranges meanwhile.
const openTries = 20

// OpenReadOnly reads a directory, also beside the process that owns it, and never writes there. Nothing but reading works on such a
// store, and it shows the moment at which it was opened.
func OpenReadOnly(directory string) (*Store, error) {
	path := filepath.Join(directory, "store")
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("%s is no directory of attribution: %w", directory, err)
	}
	var err error
	for range openTries {
		s := &Store{fs: readOnlyFS{vfs.Default}, dir: directory, cache: pebble.NewCache(8 << 20), logger: zap.NewNop()}
		err = s.openBoth(
			&pebble.Options{FS: s.fs, Cache: s.cache, ReadOnly: true, FormatMajorVersion: pebble.FormatNewest, Logger: silent{}},
			factlog.Options{FS: s.fs, Directory: filepath.Join(directory, "facts"), ReadOnly: true},
		)
		if err == nil {
			return s, nil
		}
		err = errors.Join(err, s.Close())
		if !errors.Is(err, os.ErrNotExist) {
			break
		}
	}
	return nil, fmt.Errorf("read attribution's store in %s: %w", directory, err)
}

// readOnlyFS takes no lock, because it changes nothing.
type readOnlyFS struct{ vfs.FS }

var errReadOnly = errors.New("opened for reading only")

func (readOnlyFS) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

func (readOnlyFS) Create(string, vfs.DiskWriteCategory) (vfs.File, error) { return nil, errReadOnly }

func (readOnlyFS) Link(string, string) error { return errReadOnly }

func (readOnlyFS) Remove(string) error { return errReadOnly }

func (readOnlyFS) RemoveAll(string) error { return errReadOnly }

func (readOnlyFS) Rename(string, string) error { return errReadOnly }

func (readOnlyFS) OpenReadWrite(string, vfs.DiskWriteCategory, ...vfs.OpenOption) (vfs.File, error) {
	return nil, errReadOnly
}

func (readOnlyFS) ReuseForWrite(string, string, vfs.DiskWriteCategory) (vfs.File, error) {
	return nil, errReadOnly
}

func (readOnlyFS) MkdirAll(string, os.FileMode) error { return errReadOnly }

type silent struct{}

func (silent) Infof(string, ...any)  {}
func (silent) Errorf(string, ...any) {}
func (silent) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf(format, args...))
}
