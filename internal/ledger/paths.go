package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// The trees of the directory.
const (
	treeEvents  = "events"
	treeRollups = "rollups"
	treeRuns    = "runs"
	treeRefused = "refused"
	treeDaily   = "daily"
)

// trees are the ones that hold parts, in the order in which the files of a part appear: what sums up comes after what it
// sums, so that no sum is ever without its events.
var trees = [...]string{treeEvents, treeRuns, treeRollups}

const (
	extension = ".parquet"
	temporary = ".tmp" // after the extension, so that no pattern for Parquet files finds it
)

// paths are the places in the directory of one writer.
type paths struct {
	fs     FS
	dir    string
	writer string

	sabotage sabotage
	durable  map[string]bool // folders that this process knows to survive a power cut; used by the maintainer alone
}

func (p paths) join(elem ...string) string { return p.fs.PathJoin(elem...) }

// state is what belongs to this writer alone.
func (p paths) state() string { return p.join(p.dir, "state", "writer="+p.writer) }
func (p paths) store() string { return p.join(p.state(), storeFolder) }
func (p paths) ids() string   { return p.join(p.state(), idsFolder) }
func (p paths) chain() string { return p.join(p.state(), "chain.ndjson") }
func (p paths) stage() string { return p.join(p.state(), "stage") }

func (p paths) witness() string { return p.join(p.state(), "acknowledged") }
func (p paths) status() string  { return p.join(p.state(), "status.json") }

// idTable is a table of ids.
func (p paths) idTable(number uint64) string { return p.join(p.ids(), idFile(number)) }

// staged is where a tree's new folder of an hour is built.
func (p paths) staged(tree string) string { return p.join(p.stage(), tree) }

// hour is the writer's folder of an hour, in daily/ of its day.
func (p paths) hour(tree string, h usage.Hour) string {
	if tree == treeDaily {
		return p.day(tree, dayOf(h))
	}
	t := h.Start().Time()
	return p.join(p.dir, tree, "date="+t.Format("2006-01-02"), fmt.Sprintf("hour=%02d", t.Hour()), "writer="+p.writer)
}

func (p paths) part(tree string, h usage.Hour, name string) string {
	return p.join(p.hour(tree, h), name+extension)
}

// day is the writer's folder of a day, counted from 1970, in refused/ or daily/.
func (p paths) day(tree string, day int64) string {
	return p.join(p.dir, tree, "date="+dayDate(day), "writer="+p.writer)
}

// makeFolder makes a folder below the ledger's directory, and its parents where they are missing, so that they survive a power
// cut: also when an earlier attempt made them and could not sync.
func (p paths) makeFolder(dir string) error {
	there, err := p.exists(dir)
	if err != nil {
		return err
	}
	if there && p.durable[dir] {
		return nil
	}
	if err := p.fs.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if len(p.durable) > maxDurable {
		clear(p.durable)
	}
	var chain []string
	for d := dir; d != p.dir && !(there && p.durable[d]); d = p.fs.PathDir(d) {
		chain = append(chain, d)
	}
	for _, d := range slices.Backward(chain) { // from the top, so that a folder which is remembered hangs on none that is not
		if err := p.sync(p.fs.PathDir(d)); err != nil {
			return err
		}
		p.durable[d] = true
	}
	return nil
}

// maxDurable bounds how many folders are remembered.
const maxDurable = 10_000

// makeRoot makes the ledger's directory. Of the folders above it those that can't be opened are somebody else's care.
func (p paths) makeRoot() error {
	if err := p.fs.MkdirAll(p.dir, 0o755); err != nil {
		return err
	}
	for d := p.dir; ; {
		parent := p.fs.PathDir(d)
		if err := p.sync(parent); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
		if parent == d || parent == "." || parent == "/" {
			return nil
		}
		d = parent
	}
}

// sync makes what happened in a folder survive a power cut.
func (p paths) sync(dir string) error {
	if p.sabotage == skipFolderSync {
		return nil
	}
	d, err := p.fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return closeAfter(d, d.Sync())
}

// exists says whether there is something at path.
func (p paths) exists(path string) (bool, error) {
	_, err := p.fs.Stat(path)
	if err == nil {
		return true, nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return false, err
}

// list is the names in a folder that end with suffix; none when it is not there.
func (p paths) list(dir, suffix string) ([]string, error) {
	names, err := p.fs.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	kept := names[:0]
	for _, name := range names {
		if strings.HasSuffix(name, suffix) {
			kept = append(kept, name)
		}
	}
	return kept, nil
}
