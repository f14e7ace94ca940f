package ledger

import "github.com/usagebox/otelcol-usagebox/usage"

// lookUp finds which of the events that came are known.
func (g *group) lookUp(requests []*request) error {
	x := &g.s.ids
	x.mu.RLock()
	defer x.mu.RUnlock()
	for _, r := range requests {
		for i := range r.items {
			d := r.items[i].digest
			k, found, err := x.find(d, &g.l.page)
			if err != nil {
				return err
			}
			if !found {
				continue
			}
			if g.known == nil {
				g.known = make(map[digest]known)
			}
			g.known[d] = k
		}
	}
	return nil
}

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
