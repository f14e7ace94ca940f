package index

import (
	"math/bits"
	"slices"

	"github.com/usagebox/otelcol-usagebox/usage"
)

const (
	slotBits  = 18
	mostFresh = 1 << (slotBits - 1) // entries: half of the slots, so that few share one
	tagBits   = 32 - slotBits
	inSlot    = 1<<slotBits - 1
)

// fresh is entries that are in no file yet.
type fresh struct {
	entries []Entry
	slots   []uint32 // each a tag and the number of an entry, counted from 1, or 0
	salt    uint64   // odd; who does not know it can't make hashes that fall together

	placed []Entry // room for sorted
	ends   []uint32
}

func newFresh(salt uint64) fresh { return fresh{salt: salt | 1} }

// slot is the first slot that h may be in, and its tag.
func (f *fresh) slot(h *Hash) (at, tag uint32) {
	mixed := (h.high() ^ bits.RotateLeft64(h.low(), 32)) * f.salt
	return uint32(mixed >> (64 - slotBits)), uint32(mixed>>(64-slotBits-tagBits)) << slotBits
}

// find is the entry of h, or nil. There is one at least.
func (f *fresh) find(h *Hash) *Entry {
	at, tag := f.slot(h)
	for {
		s := f.slots[at]
		if s == 0 {
			return nil
		}
		if s&^inSlot == tag {
			if e := &f.entries[s&inSlot-1]; e.Hash == *h {
				return e
			}
		}
		at = (at + 1) & inSlot
	}
}

// add takes as many as there is room for. Of one hash the last payload stays.
func (f *fresh) add(entries []Entry) (taken int) {
	if f.slots == nil {
		f.slots = make([]uint32, 1<<slotBits)
	}
	for i := range entries {
		e := &entries[i]
		at, tag := f.slot(&e.Hash)
		for {
			s := f.slots[at]
			if s == 0 {
				if f.isFull() {
					return i
				}
				f.entries = append(f.entries, *e)
				f.slots[at] = tag | uint32(len(f.entries))
				break
			}
			if s&^inSlot == tag && f.entries[s&inSlot-1].Hash == e.Hash {
				f.entries[s&inSlot-1].Payload = e.Payload
				break
			}
			at = (at + 1) & inSlot
		}
	}
	return len(entries)
}

func (f *fresh) isFull() bool { return len(f.entries) == mostFresh }

func (f *fresh) clear() {
	f.entries = f.entries[:0]
	clear(f.slots)
}

// payload is what is known of h.
func (f *fresh) payload(h *Hash) (p usage.Payload, found bool) {
	if e := f.find(h); e != nil {
		return e.Payload, true
	}
	return p, false
}

// sorted gives the entries in the order of files, until the next call. As hashes are spread evenly, few are not in their place when they are put where their first bits say.
func (f *fresh) sorted() []Entry {
	shift := 64 - max(1, bits.Len(uint(len(f.entries)))-1)
	f.placed = slices.Grow(f.placed[:0], len(f.entries))[:len(f.entries)]
	f.ends = slices.Grow(f.ends[:0], 1<<(64-shift)+1)[:1<<(64-shift)+1]
	clear(f.ends)
	for i := range f.entries {
		f.ends[f.entries[i].Hash.high()>>shift+1]++
	}
	for i := 1; i < len(f.ends); i++ {
		f.ends[i] += f.ends[i-1]
	}
	for i := range f.entries {
		at := &f.ends[f.entries[i].Hash.high()>>shift]
		f.placed[*at] = f.entries[i]
		*at++
	}
	from := uint32(0)
	for _, to := range f.ends[:len(f.ends)-1] {
		if to-from > 1 {
			sortFew(f.placed[from:to])
		}
		from = to
	}
	return f.placed
}

// sortFew is fast for what is nearly always a handful.
func sortFew(entries []Entry) {
	if len(entries) > 16 {
		slices.SortFunc(entries, func(a, b Entry) int { return compare(&a, &b) })
		return
	}
	for i := range entries {
		for ; i > 0 && entries[i].Hash.less(&entries[i-1].Hash); i-- {
			entries[i], entries[i-1] = entries[i-1], entries[i]
		}
	}
}

func compare(a, b *Entry) int {
	switch {
	case a.Hash.less(&b.Hash):
		return -1
	case b.Hash.less(&a.Hash):
		return 1
	}
	return 0
}
