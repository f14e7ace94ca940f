package ledger

import (
	"cmp"
	"sync"
	"sync/atomic"

	"github.com/usagebox/otelcol-usagebox/internal/ledger/idtable"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// idReads is how many reads for ids are on their way to the disk at once: those of a batch that nobody has asked for in a while would otherwise wait for each other.
const idReads = 16

// look is for an id that may be in a table.
type look struct {
	digest digest
	known  known
	found  bool
	err    error
}

// lookUp finds which of the events that came are known.
func (g *group) lookUp(requests []*request) error {
	x := &g.s.ids
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.closed {
		return ErrBroken
	}
	looks := g.l.looks[:0]
	for _, r := range requests {
		for i := range r.items {
			d := r.items[i].digest
			if k, ok := x.inMemory(d); ok {
				g.isKnown(d, k)
			} else if x.mayBeInTable(d) {
				looks = append(looks, look{digest: d})
			}
		}
	}
	g.l.looks = looks
	x.readTables(looks, cmp.Or(g.l.o.idReads, idReads))
	for i := range looks {
		if looks[i].err != nil {
			return looks[i].err
		}
		if looks[i].found {
			g.isKnown(looks[i].digest, looks[i].known)
		}
	}
	return nil
}

func (g *group) isKnown(d digest, k known) {
	if k.Seq == forgotten {
		return
	}
	if g.known == nil {
		g.known = make(map[digest]known)
	}
	g.known[d] = k
}

// readTables looks for ids in the tables, so many at once. After an error not all were looked for.
func (x *ids) readTables(looks []look, atOnce int) {
	var next atomic.Int64
	var failed atomic.Bool
	work := func() {
		p := pages.Get().(*idtable.Page)
		defer pages.Put(p)
		for i := next.Add(1) - 1; i < int64(len(looks)) && !failed.Load(); i = next.Add(1) - 1 {
			l := &looks[i]
			if l.known, l.found, l.err = x.inTable(l.digest, p); l.err != nil {
				failed.Store(true)
			}
		}
	}
	var readers sync.WaitGroup
	for range min(atOnce, len(looks)) - 1 {
		readers.Go(work)
	}
	work()
	readers.Wait()
}

var pages = sync.Pool{New: func() any { return new(idtable.Page) }}

// writePending puts into the batch what chunks don't say of ids: which corrections wait, which were forgotten, and the payloads of corrections and retractions as
// they were sent.
func (g *group) writePending() error {
	for d, c := range g.ids {
		if c.accepted != nil && c.accepted.event.Kind == usage.KindUsage {
			continue
		}
		if err := g.batch.Set(pendingKey(g.s.ids.newest.generation, d), c.known.append(nil), nil); err != nil {
			return err
		}
	}
	return nil
}
