package slab

import (
	"math/rand/v2"
	"testing"
)

// Whatever is taken and given back, in whatever order: no number is given twice, and each value is what was put there.
func TestAValueStaysUntilItsNumberIsFree(t *testing.T) {
	random := rand.New(rand.NewPCG(2, 7))
	var s Slab[int]
	want := map[uint32]int{}
	var numbers []uint32
	grown, emptied := false, false
	for step := range 400_000 {
		// It grows beyond what an empty slab keeps, then shrinks to nothing, twice.
		if grow := step/100_000%2 == 0; grow && random.IntN(10) > 0 || len(numbers) == 0 {
			n := s.New()
			if _, used := want[n]; used || n == 0 {
				t.Fatalf("step %d: number %d is in use", step, n)
			}
			*s.At(n) = step
			want[n] = step
			numbers = append(numbers, n)
			grown = grown || len(s.chunks) > kept
			continue
		}
		at := random.IntN(len(numbers))
		n := numbers[at]
		numbers[at] = numbers[len(numbers)-1]
		numbers = numbers[:len(numbers)-1]
		if *s.At(n) != want[n] {
			t.Fatalf("step %d: %d at %d, want %d", step, *s.At(n), n, want[n])
		}
		delete(want, n)
		if s.Free(n) {
			emptied = true
			if len(want) > 0 || len(s.chunks) > 0 {
				t.Fatalf("step %d: emptied with %d in use", step, len(want))
			}
		}
	}
	if !grown || !emptied {
		t.Fatalf("grown: %v, emptied: %v", grown, emptied)
	}
}
