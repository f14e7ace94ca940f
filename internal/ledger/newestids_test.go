package ledger

import (
	"bytes"
	"encoding/binary"
	"maps"
	"math/rand/v2"
	"testing"
)

// Evenly spread digests, digests that all begin alike, and those at the very end: what is put is there, and all come in the order of tables.
func TestTheNewestIDsAreThereAndInOrder(t *testing.T) {
	random := rand.New(rand.NewPCG(4, 2))
	spreads := map[string]func() digest{
		"even": func() (d digest) {
			binary.BigEndian.PutUint64(d[:], random.Uint64())
			return d
		},
		"alike": func() (d digest) {
			binary.BigEndian.PutUint64(d[8:], random.Uint64()%5000)
			return d
		},
		"at the end": func() (d digest) {
			binary.BigEndian.PutUint64(d[:], ^uint64(0))
			binary.BigEndian.PutUint64(d[8:], random.Uint64()%5000)
			return d
		},
		"few": func() (d digest) {
			d[0], d[15] = byte(random.Uint64()), byte(random.Uint64()%3)
			return d
		},
	}
	for name, next := range spreads {
		t.Run(name, func(t *testing.T) {
			ids := newNewest(1, 0)
			for round := range 3 {
				want := map[digest]known{}
				for range 2000 {
					d, k := next(), known{Hour: 3, Payload: [8]byte{byte(random.Uint64())}, Seq: random.Uint64() % 10}
					ids.put(d, k)
					want[d] = k
					absent := next()
					if got, found := ids.get(absent); found != (want[absent] != known{}) || got != want[absent] {
						t.Fatalf("round %d: %x is %+v (%v), want %+v", round, absent, got, found, want[absent])
					}
				}
				if ids.used != len(want) || !maps.Equal(maps.Collect(ids.all()), want) {
					t.Fatalf("round %d: %d ids, want %d", round, ids.used, len(want))
				}
				var last *digest
				for d := range ids.all() {
					if last != nil && bytes.Compare(last[:], d[:]) >= 0 {
						t.Fatalf("round %d: %x comes before %x", round, *last, d)
					}
					last = &d
				}
				if ids = ids.emptied(); ids == nil {
					return // it has grown too large to be kept
				}
				if _, found := ids.get(*last); found || ids.used > 0 {
					t.Fatal("an id is there that is not")
				}
			}
		})
	}
}
