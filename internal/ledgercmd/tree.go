package ledgercmd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

const extension = ".parquet"

// trees hold the parts; a part has one name in all three.
var trees = [...]string{parquetfile.Events, parquetfile.Runs, parquetfile.Rollups}

// requireLedger says in one line what is wrong with a directory that holds no ledger.
func requireLedger(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s is not there: name the ledger's directory with --directory", dir)
	case err != nil:
		return fmt.Errorf("the ledger's directory: %w", err)
	case !info.IsDir():
		return fmt.Errorf("%s is not a directory", dir)
	}
	for _, name := range []string{"state", parquetfile.Events, parquetfile.Refused} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return nil
		}
	}
	return fmt.Errorf("%s holds no ledger: neither state/ nor events/ is in it", dir)
}

// folder is one writer's parts of one hour.
type folder struct {
	hour   usage.Hour
	writer string
}

func (f folder) String() string {
	return fmt.Sprintf("hour %s of writer %s", f.hour.Start().Time().Format("2006-01-02T15Z"), f.writer)
}

// rel is the folder below the ledger's directory, with slashes.
func (f folder) rel(tree string) string {
	at := f.hour.Start().Time()
	return fmt.Sprintf("%s/date=%s/hour=%02d/writer=%s", tree, at.Format(time.DateOnly), at.Hour(), f.writer)
}

func (f folder) part(tree, name string) string { return f.rel(tree) + "/" + name + extension }

func (c *common) path(rel string) string { return filepath.Join(c.directory, filepath.FromSlash(rel)) }

// folders are those of all writers with hours in r, in the order of hours, and what lies where no part belongs.
func (c *common) folders(r timeRange) (found []folder, strays []string, err error) {
	seen := map[folder]bool{}
	for _, tree := range trees {
		paths, err := filepath.Glob(filepath.Join(escape(c.directory), tree, "date=*", "hour=*", "writer=*"))
		if err != nil {
			return nil, nil, err
		}
		for _, path := range paths {
			rel, err := filepath.Rel(c.directory, path)
			if err != nil {
				return nil, nil, err
			}
			f, ok := parseFolder(filepath.ToSlash(rel))
			if !ok {
				strays = append(strays, rel)
				continue
			}
			if !seen[f] && r.touches(f.hour) {
				seen[f] = true
				found = append(found, f)
			}
		}
	}
	slices.SortFunc(found, func(a, b folder) int {
		if a.hour != b.hour {
			return int(a.hour - b.hour)
		}
		return strings.Compare(a.writer, b.writer)
	})
	return found, strays, nil
}

// escape keeps a directory's own name from being taken for a pattern.
func escape(dir string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(dir)
}

func parseFolder(rel string) (f folder, ok bool) {
	elements := strings.Split(rel, "/")
	if len(elements) != 4 {
		return f, false
	}
	date, a := strings.CutPrefix(elements[1], "date=")
	hour, b := strings.CutPrefix(elements[2], "hour=")
	writer, d := strings.CutPrefix(elements[3], "writer=")
	at, err := time.Parse("2006-01-02 15", date+" "+hour)
	if !a || !b || !d || writer == "" || err != nil || len(hour) != 2 {
		return f, false
	}
	return folder{usage.MicrosOf(at).Hour(), writer}, true
}

// names are the parts of a folder in a tree, sorted; none when the folder is not there.
func (c *common) names(f folder, tree string) ([]string, error) {
	entries, err := os.ReadDir(c.path(f.rel(tree)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), extension); ok {
			names = append(names, name)
		}
	}
	return names, nil
}

// listing is the parts of a folder, by tree.
type listing [len(trees)][]string

func (c *common) list(f folder) (l listing, err error) {
	for i, tree := range trees {
		if l[i], err = c.names(f, tree); err != nil {
			return l, err
		}
	}
	return l, nil
}

// complete says whether each part is in all three trees, but for what has left.
func (c *common) complete(f folder, l *listing) (bool, error) {
	if slices.Equal(l[0], l[1]) && slices.Equal(l[0], l[2]) {
		return true, nil
	}
	left, err := c.leftFiles(f.writer)
	if err != nil {
		return false, err
	}
	for _, name := range l.names() {
		for i, tree := range trees {
			if !slices.Contains(l[i], name) && left[f.part(tree, name)] == nil {
				return false, nil
			}
		}
	}
	return true, nil
}

// names are the parts that are in any tree, sorted.
func (l *listing) names() []string {
	all := map[string]bool{}
	for _, names := range l {
		for _, n := range names {
			all[n] = true
		}
	}
	return sortedNames(all)
}

// steady is how often, and how long apart, a folder is looked at again whose parts are just being made or exchanged, and how often in
// all of a command: a ledger that is damaged in many places is not waited for.
const (
	steadyTries = 6
	steadyPause = 150 * time.Millisecond
	patience    = 60
)

// steady calls work with a folder's parts. When a file is not there any more, because the folder was exchanged meanwhile, or when its trees
// have different parts, work is called again with what is there then; incomplete says that this didn't help.
func (c *common) steady(f folder, work func(l *listing, incomplete bool) error) error {
	for try := 1; ; try++ {
		l, err := c.list(f)
		if err != nil {
			return err
		}
		complete, err := c.complete(f, &l)
		if err != nil {
			return err
		}
		wait := try < steadyTries && c.waited.Load() < patience
		if complete || !wait {
			if err = work(&l, !complete); !wait || !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		c.waited.Add(1)
		time.Sleep(steadyPause)
	}
}

// file is an open file of the ledger.
type file struct {
	*os.File
	rel  string
	size int64
}

func (c *common) open(rel string) (*file, error) {
	f, err := os.Open(c.path(rel))
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return &file{f, rel, info.Size()}, nil
}

// events opens an events file; the caller closes the file.
func (c *common) events(rel string) (*file, *parquetfile.EventFile, error) {
	f, err := c.open(rel)
	if err != nil {
		return nil, nil, err
	}
	e, err := parquetfile.OpenEvents(f, f.size)
	if err != nil {
		_ = f.Close()
		return nil, nil, fmt.Errorf("%s: %w", rel, err)
	}
	return f, e, nil
}

// writers are the names that have state or parts.
func (c *common) writers() ([]string, error) {
	paths, err := filepath.Glob(filepath.Join(escape(c.directory), "state", "writer=*"))
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, p := range paths {
		seen[strings.TrimPrefix(filepath.Base(p), "writer=")] = true
	}
	folders, _, err := c.folders(always)
	if err != nil {
		return nil, err
	}
	for _, f := range folders {
		seen[f.writer] = true
	}
	writers := make([]string, 0, len(seen))
	for w := range seen {
		writers = append(writers, w)
	}
	slices.Sort(writers)
	return writers, nil
}
