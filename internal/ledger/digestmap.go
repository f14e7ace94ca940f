package ledger

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
)

// digestMap is a map of digests that keeps the order in which they came. Digests are evenly spread, so that it needs no more of a hash than a seed which senders don't
// know. The zero value is empty.
type digestMap[V any] struct {
	slots   []uint32 // number of the entry, and one; a power of two of them, at most half of them taken
	entries []digestEntry[V]
}

type digestEntry[V any] struct {
	digest digest
	value  V
}

var digestSeed = rand.Uint64() | 1

const fewestSlots = 64

func (m *digestMap[V]) len() int { return len(m.entries) }

// get points to the value of d, until the next put; nil when there is none.
func (m *digestMap[V]) get(d digest) *V {
	if len(m.entries) == 0 {
		return nil
	}
	for at := m.first(d); ; at = (at + 1) & uint64(len(m.slots)-1) {
		n := m.slots[at]
		if n == 0 {
			return nil
		}
		if e := &m.entries[n-1]; e.digest == d {
			return &e.value
		}
	}
}

func (m *digestMap[V]) put(d digest, v V) {
	if 2*(len(m.entries)+1) > len(m.slots) {
		m.grow(max(fewestSlots, 2*len(m.slots)))
	}
	at := m.first(d)
	for ; m.slots[at] != 0; at = (at + 1) & uint64(len(m.slots)-1) {
		if e := &m.entries[m.slots[at]-1]; e.digest == d {
			e.value = v
			return
		}
	}
	m.entries = append(m.entries, digestEntry[V]{d, v})
	m.slots[at] = uint32(len(m.entries))
}

// first is where a digest's slot is, or the slots before it that others have.
func (m *digestMap[V]) first(d digest) uint64 {
	return binary.LittleEndian.Uint64(d[:]) * digestSeed >> (64 - bits.Len(uint(len(m.slots)-1)))
}

func (m *digestMap[V]) grow(slots int) {
	m.slots = make([]uint32, slots)
	for i := range m.entries {
		at := m.first(m.entries[i].digest)
		for m.slots[at] != 0 {
			at = (at + 1) & uint64(slots-1)
		}
		m.slots[at] = uint32(i + 1)
	}
}

// reserve makes room for so many.
func (m *digestMap[V]) reserve(n int) {
	if slots := 1 << bits.Len(uint(max(2*n-1, fewestSlots-1))); slots > len(m.slots) {
		m.grow(slots)
	}
	if n > cap(m.entries) {
		entries := make([]digestEntry[V], len(m.entries), n)
		copy(entries, m.entries)
		m.entries = entries
	}
}

// reset empties it and keeps its room.
func (m *digestMap[V]) reset() {
	clear(m.slots)
	clear(m.entries)
	m.entries = m.entries[:0]
}
