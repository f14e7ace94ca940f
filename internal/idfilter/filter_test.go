package idfilter

import (
	"fmt"
	"math"
	"testing"

	"github.com/zeebo/xxh3"
)

func at(i int) [16]byte { return xxh3.HashString128(fmt.Sprint(i)).Bytes() }

func TestTheFilterKnowsWhatWasAddedAndLittleElse(t *testing.T) {
	for _, c := range []struct {
		name            string
		limit           int64
		chunks, seeming int // of a thousand absent ones
	}{
		{"without limit", math.MaxInt, 4, 25},
		{"with too little room", 48 * blockBytes, 2, 500},
		{"with less than a chunk", 1, 1, 1000},
	} {
		t.Run(c.name, func(t *testing.T) {
			const keys = 5_000
			f := New(c.limit)
			f.first = 16
			if f.Copy().MayHave(at(0)) {
				t.Fatal("an empty filter has something")
			}
			for i := range keys {
				f.Add(at(i))
			}
			if len(f.chunks) != c.chunks || int64(f.blocks*blockBytes) > max(c.limit, 16*blockBytes) {
				t.Fatalf("%d chunks, %d bytes", len(f.chunks), f.blocks*blockBytes)
			}
			seeming := 0
			f = f.Copy()
			for i := range keys {
				if !f.MayHave(at(i)) {
					t.Fatalf("%d is not known", i)
				}
				if f.MayHave(at(keys + i)) {
					seeming++
				}
			}
			if seeming > keys/1000*c.seeming {
				t.Fatalf("%d of %d absent keys seem to be there", seeming, keys)
			}
			t.Logf("%d of %d absent keys seem to be there", seeming, keys)
		})
	}
}
