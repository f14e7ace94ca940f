package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/usagebox/otelcol-usagebox/internal/ledger/idtable"
	"github.com/usagebox/otelcol-usagebox/internal/manifest"
)

// tableMagic is what ends a table of the store that was written to its end.
var tableMagic = []byte("\xf0\x9f\xaa\xb3\xf0\x9f\xaa\xb3")

// CheckStore reads every table, log and manifest of the embedded store in a writer's state, and its tables of ids, against their checksums, and tells found of each file that is
// damaged. It changes nothing, and runs beside the process that writes the store. What that process has not written to its end, or removes meanwhile, is no damage.
func CheckStore(state string, found func(file string, err error)) error {
	disk := vfs.Default
	dir := disk.PathJoin(state, storeFolder)
	names, err := disk.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the files of a ledger may be copied without it
	} else if err != nil {
		return err
	}
	check := func(name string, look func() error) {
		err := look()
		if err != nil {
			err = look() // it may have been written to, or another taken in its place, while it was read
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			found(disk.PathJoin(storeFolder, name), err)
		}
	}
	for _, name := range names {
		path := disk.PathJoin(dir, name)
		switch {
		case strings.HasSuffix(name, ".sst"):
			check(name, func() error { return checkTable(path) })
		case strings.HasSuffix(name, ".log"):
			check(name, func() error { return checkLog(disk, path) })
		}
	}
	if err := checkIDs(state, found); err != nil {
		return err
	}
	var damage *manifest.DamageError
	if err = manifest.Check(disk, dir); errors.Is(err, fs.ErrNotExist) {
		err = manifest.Check(disk, dir)
	}
	if errors.As(err, &damage) {
		found(disk.PathJoin(storeFolder, disk.PathBase(damage.Path)), fmt.Errorf("its record at byte %d can't be read, and no crash tore it off", damage.At))
		return nil
	}
	return err
}

// checkIDs reads every table of ids.
func checkIDs(state string, found func(file string, err error)) error {
	dir := vfs.Default.PathJoin(state, idsFolder)
	names, err := vfs.Default.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, name := range names {
		if !strings.HasSuffix(name, idExtension) {
			continue
		}
		if err := idtable.Check(vfs.Default, vfs.Default.PathJoin(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			found(vfs.Default.PathJoin(idsFolder, name), err)
		}
	}
	return err
}

// checkTable reads a table of the store.
func checkTable(path string) error {
	f, err := vfs.Default.Open(path)
	if err != nil {
		return err
	}
	end := make([]byte, len(tableMagic))
	info, err := f.Stat()
	if err == nil && info.Size() >= int64(len(end)) {
		_, err = f.ReadAt(end, info.Size()-int64(len(end)))
	}
	if err != nil || !bytes.Equal(end, tableMagic) {
		return errors.Join(err, f.Close())
	}
	readable, err := sstable.NewSimpleReadable(f)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	r, err := sstable.NewReader(context.Background(), readable, sstable.ReaderOptions{})
	if err != nil {
		return errors.Join(err, readable.Close())
	}
	return errors.Join(r.ValidateBlockChecksums(), r.Close())
}
