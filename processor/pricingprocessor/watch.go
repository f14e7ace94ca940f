package pricingprocessor

import (
	"fmt"
	"os"
	"strings"

	"github.com/zeebo/xxh3"

	"github.com/usagebox/otelcol-usagebox/internal/catalog"
)

// watch looks at a catalogue's files. It follows links at every look, so that it sees files written in place or renamed, and a folder
// or link that is swapped. A change is read when two looks in a row saw the same: so a file that is being written is left alone.
type watch struct {
	path   string
	judged string // the state of the files that was loaded, or found to be broken
	last   string // the state at the last look
}

// open loads the catalogue. An empty path is the built-in one.
func (w *watch) open() (*catalog.Catalog, error) {
	if w.path == "" {
		return catalog.Builtin()
	}
	w.judged = state(w.path)
	w.last = w.judged
	return catalog.Load(w.path)
}

// look loads the catalogue when it has changed and stays as it is.
func (w *watch) look() (c *catalog.Catalog, changed bool, err error) {
	now := state(w.path)
	stable := now == w.last
	w.last = now
	if !stable || now == w.judged {
		return nil, false, nil
	}
	c, err = catalog.Load(w.path)
	if state(w.path) != now {
		return nil, false, nil // it changed meanwhile: the next looks decide
	}
	w.judged = now
	return c, err == nil, err
}

// again makes the next look load what is there once more.
func (w *watch) again() { w.judged = "" }

// hashed is the size of files, in bytes, up to which their contents are compared too: a time of change is as coarse as a few milliseconds.
const hashed = 4 << 20

// state tells two states of a catalogue's files apart.
func state(path string) string {
	files, err := catalog.Files(path)
	if err != nil {
		return "unreadable: " + err.Error()
	}
	var b strings.Builder
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			return "unreadable: " + err.Error()
		}
		fmt.Fprintf(&b, "%s %d %d %s", f, info.Size(), info.ModTime().UnixNano(), inode(info))
		if info.Size() <= hashed {
			text, err := os.ReadFile(f)
			if err != nil {
				return "unreadable: " + err.Error()
			}
			fmt.Fprintf(&b, " %x", xxh3.Hash128(text).Bytes())
		}
		b.WriteByte('\n')
	}
	return b.String()
}
