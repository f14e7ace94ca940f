package ledger

import (
	"encoding/binary"
	"iter"
	"math/bits"

	"github.com/usagebox/otelcol-usagebox/internal/ledger/idtable"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// newestIDs are ids that are in no table.
//
// Digests are evenly spread, so the first bits of one say where about it is among all of them in their order: that is its slot, or one of the next. So the slots are at once a hash table
// and, but for the empty ones between, the order in which the ids go into a table. At most three of four are used.
type newestIDs struct {
	slots []idSlot
	bits  int // of a digest that say which slot it begins to be looked for at
	used  int

	generation uint64 // of the records that the store has of them
	next       uint64 // events with lower numbers are in it or were before it; set when it is full
}

type idSlot struct {
	digest  digest
	payload [8]byte
	seq     uint64
	hour    usage.Hour
	used    bool
}

const (
	fewestSlotBits = 8
	keptSlotBits   = 18 // with room for idsPerTable
	spareSlots     = 64 // at the end, and as many again when they are full, so that a search never goes on at the front
)

// newNewest has room for so many, and for a quarter more before it grows.
func newNewest(generation uint64, ids int) *newestIDs {
	n := &newestIDs{generation: generation}
	n.make(max(fewestSlotBits, bits.Len(uint(ids+ids*2/3))))
	return n
}

func (n *newestIDs) make(bits int) {
	n.slots, n.bits, n.used = make([]idSlot, 1<<bits+spareSlots), bits, 0
}

// emptied is n's room without ids, unless that has become large; n is not used any more.
func (n *newestIDs) emptied() *newestIDs {
	if n.bits > keptSlotBits {
		return nil
	}
	clear(n.slots)
	return &newestIDs{slots: n.slots, bits: n.bits}
}

// place is the slot of an id, or that in which it is to be.
func (n *newestIDs) place(d *digest) (slot int, found bool) {
	for i := int(binary.BigEndian.Uint64(d[:]) >> (64 - n.bits)); i < len(n.slots); i++ {
		s := &n.slots[i]
		if !s.used {
			return i, false
		}
		switch c := idtable.Compare((*[16]byte)(&s.digest), (*[16]byte)(d)); {
		case c == 0:
			return i, true
		case c > 0:
			return i, false
		}
	}
	return len(n.slots), false
}

func (n *newestIDs) get(d digest) (known, bool) {
	i, found := n.place(&d)
	if !found {
		return known{}, false
	}
	s := &n.slots[i]
	return known{Hour: s.hour, Payload: s.payload, Seq: s.seq}, true
}

// put sets what is known of an id, over what was known before.
func (n *newestIDs) put(d digest, k known) {
	slot := idSlot{digest: d, payload: k.Payload, seq: k.Seq, hour: k.Hour, used: true}
	i, found := n.place(&d)
	if found {
		n.slots[i] = slot
		return
	}
	end := i // the first empty slot: those before it move on by one
	for end < len(n.slots) && n.slots[end].used {
		end++
	}
	if 4*(n.used+1) > 3<<n.bits {
		n.grow()
		n.put(d, k)
		return
	}
	if end == len(n.slots) {
		n.slots = append(n.slots, make([]idSlot, spareSlots)...)
	}
	copy(n.slots[i+1:end+1], n.slots[i:end])
	n.slots[i] = slot
	n.used++
}

func (n *newestIDs) grow() {
	from := *n
	n.make(n.bits + 1)
	for d, k := range from.all() {
		n.put(d, k)
	}
}

// all is every id, in the order of tables.
func (n *newestIDs) all() iter.Seq2[digest, known] {
	return func(yield func(digest, known) bool) {
		for i := range n.slots {
			if s := &n.slots[i]; s.used && !yield(s.digest, known{Hour: s.hour, Payload: s.payload, Seq: s.seq}) {
				return
			}
		}
	}
}
