package attributionprocessor

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// Whatever is pushed, put off, taken and closed: the first one is one of those that are due first, each is told of as it was left, and the oldest is found piece
// by piece.
func TestTheFirstInTheQueueIsDueFirst(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 5))
	var q dueQueue
	want := map[uint32]usage.Micros{} // due of those in the queue, by slot
	var taken []uint32
	one := func() uint32 {
		slots := make([]uint32, 0, len(want))
		for s := range want {
			slots = append(slots, s)
		}
		slices.Sort(slots)
		return slots[random.IntN(len(slots))]
	}
	for step := range 20_000 {
		switch op := random.IntN(10); {
		case op < 5 && len(want) < 300 || len(want) == 0:
			due := usage.Micros(random.IntN(50))
			slot := q.push(openTrace{due: due, first: due + 7})
			if _, ok := want[slot]; ok || slices.Contains(taken, slot) {
				t.Fatalf("slot %d is in use", slot)
			}
			want[slot] = due
		case op < 7:
			slot := one()
			want[slot] = usage.Micros(random.IntN(50))
			q.trace(slot).due = want[slot]
			q.fix(q.trace(slot))
		case op < 8:
			slot := one()
			q.take(q.trace(slot))
			delete(want, slot)
			taken = append(taken, slot)
		case len(taken) > 0 && random.IntN(2) == 0:
			last := len(taken) - 1
			q.put(q.trace(taken[last]))
			want[taken[last]] = q.trace(taken[last]).due
			taken = taken[:last]
		case len(taken) > 0:
			last := len(taken) - 1
			q.release(q.trace(taken[last]))
			taken = taken[:last]
		}
		oldest, found := usage.Micros(0), usage.Micros(0)
		for slot := range want {
			if first := q.trace(slot).first; oldest == 0 || first < oldest {
				oldest = first
			}
		}
		for _, slot := range taken {
			if first := q.trace(slot).first; oldest == 0 || first < oldest {
				oldest = first
			}
		}
		for slot := uint32(1); slot != 0; {
			var first usage.Micros
			if first, slot = q.oldest(slot, 1000); first != 0 && (found == 0 || first < found) {
				found = first
			}
		}
		if found != oldest {
			t.Fatalf("step %d: the oldest is of %d, found %d", step, oldest, found)
		}
		first := q.first()
		if first == nil {
			if len(want) > 0 {
				t.Fatalf("step %d: empty, but %d are in it", step, len(want))
			}
			continue
		}
		for slot, due := range want {
			if due < first.due || q.trace(slot).due != due || q.order[q.trace(slot).at] != slot {
				t.Fatalf("step %d: due at %d, but the first one at %d", step, due, first.due)
			}
		}
	}
}
