package attributionprocessor

// dueQueue holds open traces, the one that is due first at the front. There may be millions: nothing in it is a pointer, but to chunks of many, so that a
// collection of garbage does not take longer with each of them.
type dueQueue struct {
	chunks [][]openTrace
	free   []uint32 // slots in chunks
	order  []uint32 // slots, a heap by due
}

const (
	chunkTraces = 1 << 12
	keptChunks  = 16 // when no trace is open
)

func (q *dueQueue) trace(slot uint32) *openTrace {
	return &q.chunks[slot/chunkTraces][slot%chunkTraces]
}

// push keeps a copy of a trace in a slot, where it stays until it is freed.
func (q *dueQueue) push(t openTrace) (slot uint32) {
	if len(q.free) == 0 {
		first := uint32(len(q.chunks) * chunkTraces)
		q.chunks = append(q.chunks, make([]openTrace, chunkTraces))
		for n := range uint32(chunkTraces) {
			q.free = append(q.free, first+chunkTraces-1-n)
		}
	}
	last := len(q.free) - 1
	slot, q.free = q.free[last], q.free[:last]
	t.slot = slot
	*q.trace(slot) = t
	q.put(q.trace(slot))
	return slot
}

// release frees the slot of a trace that was taken.
func (q *dueQueue) release(t *openTrace) { q.free = append(q.free, t.slot) }

// first is the trace that is due first; nil: there is none.
func (q *dueQueue) first() *openTrace {
	if len(q.order) == 0 {
		return nil
	}
	return q.trace(q.order[0])
}

// put adds a trace that was taken.
func (q *dueQueue) put(t *openTrace) {
	t.at = int32(len(q.order))
	q.order = append(q.order, t.slot)
	q.up(t)
}

// take removes a trace, which keeps its slot.
func (q *dueQueue) take(t *openTrace) {
	end := len(q.order) - 1
	last := q.trace(q.order[end])
	q.order = q.order[:end]
	if last != t {
		q.set(int(t.at), last)
		q.fix(last)
	}
}

// fix moves a trace whose due has changed.
func (q *dueQueue) fix(t *openTrace) {
	if !q.down(t) {
		q.up(t)
	}
}

func (q *dueQueue) set(at int, t *openTrace) { q.order[at], t.at = t.slot, int32(at) }

func (q *dueQueue) up(t *openTrace) {
	for t.at > 0 {
		above := q.trace(q.order[(t.at-1)/2])
		if above.due <= t.due {
			return
		}
		at := above.at
		q.set(int(t.at), above)
		q.set(int(at), t)
	}
}

func (q *dueQueue) down(t *openTrace) (moved bool) {
	for {
		next := 2*int(t.at) + 1
		if next >= len(q.order) {
			return moved
		}
		below := q.trace(q.order[next])
		if next++; next < len(q.order) {
			if other := q.trace(q.order[next]); other.due < below.due {
				below = other
			}
		}
		if below.due >= t.due {
			return moved
		}
		at := below.at
		q.set(int(t.at), below)
		q.set(int(at), t)
		moved = true
	}
}
