package idtable

import (
	"errors"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const mergeStep = 1 << 16 // records

// Merge writes the records of files, which are oldest first, into w: of an id that several have, the newest. step is called now and then; its error ends the merge.
func Merge(w *Writer, fs vfs.FS, paths []string, step func() error) (err error) {
	cursors := make([]*cursor, 0, len(paths))
	defer func() {
		for _, c := range cursors {
			err = errors.Join(err, c.t.Close())
		}
	}()
	var live []*cursor
	for _, path := range paths {
		t, err := Open(fs, path)
		if err != nil {
			return err
		}
		c := &cursor{t: t}
		cursors = append(cursors, c)
		if err := c.next(); err != nil { // a file has a record at least
			return err
		}
		live = append(live, c)
	}
	for n := 1; len(live) > 0; n++ {
		least := live[0]
		for _, c := range live[1:] {
			if Compare(&c.record.ID, &least.record.ID) <= 0 { // equal: this one is newer
				least = c
			}
		}
		r := least.record
		if err := w.Add(&r); err != nil {
			return err
		}
		kept := live[:0]
		for _, c := range live {
			if c.record.ID == r.ID {
				if err := c.next(); errors.Is(err, io.EOF) {
					continue
				} else if err != nil {
					return err
				}
			}
			kept = append(kept, c)
		}
		live = kept
		if n%mergeStep == 0 {
			if err := step(); err != nil {
				return err
			}
		}
	}
	return nil
}
