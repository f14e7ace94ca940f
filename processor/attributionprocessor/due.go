package attributionprocessor

import (
	"container/heap"

	"github.com/usagebox/otelcol-usagebox/internal/slab"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// dueQueue holds open traces, of which there may be millions, the one that is due first at the front. It is a heap.Interface.
type dueQueue struct {
	traces slab.Slab[openTrace]
	order  []uint32 // slots, a heap by due
}

func (q *dueQueue) trace(slot uint32) *openTrace { return q.traces.At(slot) }

// push keeps a copy of a trace in a slot, where it stays until it is freed.
func (q *dueQueue) push(t openTrace) (slot uint32) {
	t.slot = q.traces.New()
	*q.trace(t.slot) = t
	q.put(q.trace(t.slot))
	return t.slot
}

// release frees the slot of a trace that was taken. emptied says that it was the last of many.
func (q *dueQueue) release(t *openTrace) (emptied bool) {
	slot := t.slot
	*t = openTrace{}
	return q.traces.Free(slot)
}

// oldest is the earliest first arrival of the traces in the slots from one on, at most n of them, and the slot after them; 0: there is none.
func (q *dueQueue) oldest(from, n uint32) (first usage.Micros, next uint32) {
	end := q.traces.Max() + 1
	if next = min(from+n, end); next == end {
		next = 0
	}
	for slot := from; slot < min(from+n, end); slot++ {
		if t := q.trace(slot); t.first != 0 && (first == 0 || t.first < first) {
			first = t.first
		}
	}
	return first, next
}

// first is the trace that is due first; nil: there is none.
func (q *dueQueue) first() *openTrace {
	if len(q.order) == 0 {
		return nil
	}
	return q.trace(q.order[0])
}

// put adds a trace that was taken.
func (q *dueQueue) put(t *openTrace) { heap.Push(q, t.slot) }

// take removes a trace, which keeps its slot.
func (q *dueQueue) take(t *openTrace) { heap.Remove(q, int(t.at)) }

// fix moves a trace whose due has changed.
func (q *dueQueue) fix(t *openTrace) { heap.Fix(q, int(t.at)) }

func (q *dueQueue) Len() int { return len(q.order) }

func (q *dueQueue) Less(i, j int) bool { return q.trace(q.order[i]).due < q.trace(q.order[j]).due }

func (q *dueQueue) Swap(i, j int) {
	q.order[i], q.order[j] = q.order[j], q.order[i]
	q.trace(q.order[i]).at, q.trace(q.order[j]).at = int32(i), int32(j)
}

func (q *dueQueue) Push(slot any) {
	q.trace(slot.(uint32)).at = int32(len(q.order))
	q.order = append(q.order, slot.(uint32))
}

func (q *dueQueue) Pop() any {
	last := len(q.order) - 1
	slot := q.order[last]
	q.order = q.order[:last]
	return slot
}
