package idtable

import (
	"encoding/binary"
	"errors"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Check reads the whole file: each page against its checksum, that ids are in their order, that each layer of the filter has each, and that marks are where they say.
func Check(fs vfs.FS, path string) (err error) {
	t, err := Open(fs, path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	var p Page
	for i := range t.filterPages() {
		if err := t.read(i, &p); err != nil {
			return err
		}
	}
	held, layers := int64(-1), make([]Page, len(t.layers)) // one page of each, and its number
	c := cursor{t: t}
	for {
		if err := c.next(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		id := &c.record.ID
		page, at := place(id, t.layerPages)
		for i := range layers {
			number := int64(i)*t.layerPages + page
			if page != held {
				if err := t.read(number, &layers[i]); err != nil {
					return err
				}
			}
			if !t.version.hasBits(layers[i][at:], t.version.probesOf(id, i)) {
				return &DamageError{number, "the filter lacks an id"}
			}
		}
		held = page
		if len(t.marks) > 0 && c.begins() && c.page%t.every == 0 && t.marks[c.page/t.every] != binary.BigEndian.Uint64(id[:]) {
			return &DamageError{t.filterPages() + c.page, "its mark is not that of its first id"}
		}
	}
}

// begins says whether the record is the first one of its page.
func (c *cursor) begins() bool { return c.left == c.t.inPage(c.page)-1 }
