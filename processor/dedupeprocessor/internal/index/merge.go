package index

import (
	"fmt"
	"math"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// cursor reads a file's entries in their order. Pages that can't be read are passed over, and reported.
type cursor struct {
	t       *table
	report  func(error)
	buf     []byte
	number  int64  // of the page after the one that is read
	in      int64  // of the page that buf begins with
	entries []byte // of the page: those that are left
}

const cursorPages = 128

// next goes to the next entry, or says that there is none.
func (c *cursor) next() bool {
	if len(c.entries) > entryBytes {
		c.entries = c.entries[entryBytes:]
	} else if !c.nextPage() {
		return false
	}
	return true
}

func (c *cursor) nextPage() bool {
	for pages := c.t.pages(); c.number < pages; {
		if c.number == c.in+int64(len(c.buf)/pageBytes) {
			c.in = c.number
			c.buf = append(c.buf[:0], make([]byte, min(cursorPages, pages-c.number)*pageBytes)...)
			if _, err := c.t.file.ReadAt(c.buf, c.number*pageBytes); err != nil {
				c.report(fmt.Errorf("%s: pages from %d on: %w", c.t.name, c.number, err))
				c.number = c.in + int64(len(c.buf)/pageBytes)
				continue
			}
		}
		number := c.number
		c.number++
		p := c.buf[(number-c.in)*pageBytes:][:pageBytes]
		if err := c.t.checkPage(number, p); err != nil {
			c.report(err)
			continue
		}
		c.entries = p[:c.t.inPage(number)*entryBytes]
		return true
	}
	return false
}

const (
	entriesPerStep = 1 << 16
	cursorBits     = 1<<4 - 1       // of a key: its cursor's number
	mostMerged     = cursorBits     // tables at once
	ended          = math.MaxUint64 // in the place of a key
)

// mergeInto writes the entries of tables, which are in the order in which they came, into w: of a hash that several have, the newest. step is called now and then; its error ends the merge.
func mergeInto(w *writer, tables []*table, report func(error), step func() error) error {
	// A key is the first 60 bits of a cursor's hash, and its number. Those of newer tables are lower, so that of a hash the newest comes first; w passes over the others.
	var cursors [mostMerged]*cursor
	var keys [mostMerged]uint64
	advance := func(i uint64) {
		keys[i] = ended
		if cursors[i].next() {
			keys[i] = (*Hash)(cursors[i].entries).high()&^cursorBits | i
		}
	}
	for i, t := range tables {
		n := len(tables) - 1 - i
		cursors[n] = &cursor{t: t, report: report}
		advance(uint64(n))
	}
	live := keys[:len(tables)]
	for n := 1; ; n++ {
		least, second := uint64(ended), uint64(ended)
		for _, key := range live {
			least, second = min(least, key), min(second, max(least, key))
		}
		if least == ended {
			return nil
		}
		if least^second <= cursorBits && second != ended { // the same hash, or nearly
			least = leastOf(cursors[:len(live)], live, least)
		}
		i := least & cursorBits
		entry := (*[entryBytes]byte)(cursors[i].entries)
		if err := w.add((*Hash)(entry[:]), (*usage.Payload)(entry[len(Hash{}):])); err != nil {
			return err
		}
		advance(i)
		if n%entriesPerStep == 0 {
			if err := step(); err != nil {
				return err
			}
		}
	}
}

// leastOf is the key of the least hash among those of which the first 60 bits are the same as of key, and of one hash the newest.
func leastOf(cursors []*cursor, keys []uint64, key uint64) uint64 {
	for i, other := range keys {
		if other^key <= cursorBits && other != ended && (*Hash)(cursors[i].entries).less((*Hash)(cursors[key&cursorBits].entries)) {
			key = other
		}
	}
	return key
}
