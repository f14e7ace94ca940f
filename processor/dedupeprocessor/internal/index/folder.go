package index

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"
)

const (
	version    = 2
	folder     = "index" // and its version, from 2 on
	extension  = ".known"
	unfinished = ".new"
)

// name is a file's: the generation that it is of, and the numbers of what it has.
type name struct{ generation, first, last uint32 }

func (n name) String() string {
	return fmt.Sprintf("%010d-%010d-%010d%s", n.generation, n.first, n.last, extension)
}

// parseName gives the name of a file that is ours.
func parseName(s string) (n name, ours bool) {
	_, _ = fmt.Sscanf(s, "%d-%d-%d", &n.generation, &n.first, &n.last)
	return n, n.String() == s && n.generation > 0 && n.first <= n.last
}

// replaces says whether n has all that o has.
func (n name) replaces(o name) bool {
	return n.generation == o.generation && n.first <= o.first && n.last >= o.last && n != o
}

// openFolder makes the folder of files, unless the directory is of a newer version; what an older one has left is removed.
func openFolder(fsys vfs.FS, directory string, log *zap.Logger) (path string, err error) {
	path = fsys.PathJoin(directory, fmt.Sprint(folder, version))
	if err := fsys.MkdirAll(path, 0o750); err != nil {
		return "", err
	}
	if err := syncFolder(fsys, directory); err != nil {
		return "", err
	}
	names, err := fsys.List(directory)
	if err != nil {
		return "", err
	}
	for _, name := range names {
		rest, ours := strings.CutPrefix(name, folder)
		n := 1
		if ours && rest != "" {
			if _, err := fmt.Sscan(rest, &n); err != nil || fmt.Sprint(n) != rest {
				continue
			}
		}
		if ours && n > version {
			return "", fmt.Errorf("dedupe's directory %s is of version %d, this program reads %d: use a newer program, or remove the directory (the ledger knows every event)", directory, n, version)
		}
	}
	if !slices.Contains(names, folder) {
		return path, nil
	}
	log.Warn("the index of a former version is removed: copies of events that it knew go on to the ledger, which knows them", zap.String("folder", fsys.PathJoin(directory, folder)))
	return path, fsys.RemoveAll(fsys.PathJoin(directory, folder))
}

func syncFolder(fsys vfs.FS, path string) error {
	folder, err := fsys.OpenDir(path)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// openTables opens what a folder has, in the order in which it came. What is not whole, or not needed any more, is removed.
func openTables(fsys vfs.FS, path string, log *zap.Logger) (tables []*table, err error) {
	defer func() {
		if err != nil {
			for _, t := range tables {
				err = errors.Join(err, t.close())
			}
		}
	}()
	files, err := fsys.List(path)
	if err != nil {
		return nil, err
	}
	var names []name
	for _, file := range files {
		if n, ours := parseName(file); ours {
			names = append(names, n)
		} else if n, ours := parseName(strings.TrimSuffix(file, unfinished)); ours {
			if err := fsys.Remove(fsys.PathJoin(path, n.String()+unfinished)); err != nil {
				return nil, err
			}
		}
	}
	slices.SortFunc(names, func(a, b name) int { // what replaces others comes before them
		return cmp.Or(cmp.Compare(a.generation, b.generation), cmp.Compare(a.first, b.first), cmp.Compare(b.last, a.last))
	})
	for _, n := range names {
		t, err := (*table)(nil), error(nil)
		if !slices.ContainsFunc(tables, func(t *table) bool { return t.replaces(n) }) {
			t, err = openTable(fsys, fsys.PathJoin(path, n.String()), n)
		}
		damage := (*damageError)(nil)
		switch {
		case errors.As(err, &damage):
			log.Warn("a file of dedupe's index is not whole and is removed: copies of its events go on to the ledger, which knows them", zap.Error(err))
		case err != nil:
			return tables, err
		case t != nil:
			tables = append(tables, t)
			continue
		}
		if err := fsys.Remove(fsys.PathJoin(path, n.String())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return tables, err
		}
	}
	return tables, nil
}
