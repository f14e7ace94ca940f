package ledger

import (
	"testing"

	"github.com/usagebox/otelcol-usagebox/usage"
)

func TestIDsAreKnownWhetherOrNotTheyAreInMemory(t *testing.T) {
	for _, c := range []struct {
		name   string
		cache  int64
		before func(h *harness)
	}{
		{"they are", 4 << 20, func(*harness) {}},
		{"they are after a restart", 4 << 20, func(h *harness) { h.restart() }},
		{"they are not all read yet", 4 << 20, func(h *harness) { h.state.ids.whole.Store(false) }},
		{"nor do filters fit into the cache", 2, func(h *harness) { h.state.ids.whole.Store(false) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHarness(t, func(o *Options) { o.CacheBytes, o.memTable = c.cache, 64<<10 })
			const batches, size = 12, 1000
			for n := range int64(batches) {
				h.accept(benchEvents(n*size, size)...)
			}
			if err := h.state.store.db.Compact(t.Context(), []byte{keyID}, []byte{keyID + 1}, false); err != nil {
				t.Fatal(err)
			}
			if fit := h.filtersFit(h.state); fit != (c.cache > 2) {
				t.Fatalf("filters fit: %v", fit)
			}
			c.before(h)
			for n := range int64(batches) {
				known := benchEvents(n*size, size)
				at := h.known(t, known[0])
				for i := range known {
					known[i].Timestamp = at + usage.Micros(i)
				}
				h.duplicate(known...)
				known[7].Lines[0].Quantity++
				h.reject(usage.ReasonConflict, known[7])
			}
			h.accept(benchEvents(batches*size, size)...)
		})
	}
}

// known is when the ledger says that an event happened.
func (h *harness) known(t *testing.T, e usage.Event) usage.Micros {
	t.Helper()
	k, found, err := h.state.known(digestOf(e.Key()))
	if err != nil || !found {
		t.Fatalf("%v, %v", found, err)
	}
	stored, err := h.readEvent(h.state, k, e.Key())
	if err != nil {
		t.Fatal(err)
	}
	return stored.Timestamp
}
