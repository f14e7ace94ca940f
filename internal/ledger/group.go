package ledger

import (
	"github.com/cockroachdb/pebble/v2"

	"github.com/usagebox/otelcol-usagebox/usage"
)

func (g *group) fill(requests []*request) error {
	if err := g.lookUp(requests); err != nil {
		return err
	}
	for _, r := range requests {
		if err := g.judge(r); err != nil {
			return err
		}
	}
	return g.write()
}

// group is what one commit brings.
type group struct {
	l     *Ledger
	s     *state
	now   usage.Micros
	batch *pebble.Batch

	known map[digest]known // of the events that came, those that the store knows

	ids      map[digest]idChange
	hours    map[usage.Hour]*hourGroup
	order    []*hourGroup // as they came
	targets  map[digest]*target
	waiting  map[digest][]*waitingCorrection // by target, as far as they were looked at
	waits    int64                           // how many more wait than before
	begun    uint64                          // how many have begun to wait
	refusals []refusal
}

// idChange is what the group makes of an id. accepted is nil when it waits or is forgotten again.
type idChange struct {
	known    known
	accepted *item
}

// hourGroup is what the group brings for one hour.
type hourGroup struct {
	hour  *hour
	items []*item
	bytes int64
}

// newGroup is for so many events, of so many bytes, as far as they are known.
func newGroup(l *Ledger, s *state, events, bytes int) *group {
	const compression = 4 // of chunks, about
	clear(l.changes)
	return &group{
		l: l, s: s, now: l.now(), batch: s.store.db.NewBatchWithSize(4<<10 + bytes/compression),
		ids: l.changes, hours: make(map[usage.Hour]*hourGroup),
		targets: make(map[digest]*target), waiting: make(map[digest][]*waitingCorrection),
	}
}

// hourOf is the group's share of an hour.
func (g *group) hourOf(h usage.Hour) (*hourGroup, error) {
	hg := g.hours[h]
	if hg != nil {
		return hg, nil
	}
	g.l.mu.Lock()
	hour := g.s.hours[h]
	g.l.mu.Unlock()
	if hour == nil {
		var err error
		if hour, err = g.s.lookupHour(h); err != nil {
			return nil, err
		}
	}
	hg = &hourGroup{hour: hour}
	g.hours[h] = hg
	g.order = append(g.order, hg)
	return hg, nil
}

// write puts what the group brings into its batch.
func (g *group) write() error {
	next := g.s.next
	for _, hg := range g.order {
		if err := g.writeHour(hg, next); err != nil {
			return err
		}
		next += uint64(len(hg.items))
	}
	if err := g.writePending(); err != nil {
		return err
	}
	for d, t := range g.targets {
		if !t.changed {
			continue
		}
		if err := g.batch.Set(digestKey(keyTarget, d), t.append(nil), nil); err != nil {
			return err
		}
	}
	refused, err := g.writeRefusals()
	if err != nil {
		return err
	}
	if next > g.s.next {
		if err := setNumber(g.batch, metaNext, next); err != nil {
			return err
		}
	}
	if refused > g.s.refused {
		return setNumber(g.batch, metaRefused, refused)
	}
	return nil
}

func (g *group) writeHour(hg *hourGroup, first uint64) error {
	if len(hg.items) == 0 {
		return nil
	}
	body, chunk := g.l.body[:0], g.l.chunk
	defer func() { g.l.body, g.l.chunk = kept(body), kept(chunk) }()
	for i, from := 0, 0; i < len(hg.items); i++ {
		it := hg.items[i]
		body = append(body, it.encoded...)
		c := g.ids[it.digest]
		c.known.Seq = first + uint64(i)
		g.ids[it.digest] = c
		if i+1 < len(hg.items) && len(body) < fullBody {
			continue
		}
		chunk = appendChunk(chunk[:0], i+1-from, body)
		if err := g.batch.Set(hourSeqKey(keyChunk, hg.hour.Hour, first+uint64(from)), chunk, nil); err != nil {
			return err
		}
		body, from = body[:0], i+1
	}
	return setJSON(g.batch, hourKey(keyHour, hg.hour.Hour), hg.record(first))
}

// kept is b for its next use, unless it is large.
func kept(b []byte) []byte {
	if cap(b) > keptBytes {
		return nil
	}
	return b
}

func (hg *hourGroup) record(first uint64) hourRecord {
	r := hg.hour.hourRecord
	r.Events += int64(len(hg.items))
	r.Bytes += hg.bytes
	r.Last = first + uint64(len(hg.items))
	for i, it := range hg.items {
		if it.event.Kind != usage.KindUsage {
			r.Corrected = first + uint64(i)
		}
	}
	return r
}

// remember takes over what is durable now: the ids first, so that who sees the events knows them.
func (g *group) remember() {
	g.s.ids.remember(g.ids)
	g.l.mu.Lock()
	defer g.l.mu.Unlock()
	s := g.s
	for _, hg := range g.order {
		if len(hg.items) == 0 {
			continue
		}
		// The maintainer may have forgotten an idle hour, or another one may have come in its place: it has the newer records.
		h := s.hours[hg.hour.Hour]
		if h == nil {
			h = hg.hour
			s.hours[h.Hour] = h
		}
		h.hourRecord = hg.record(s.next)
		s.next += uint64(len(hg.items))
		s.openEvents += int64(len(hg.items))
		s.openBytes += hg.bytes
	}
	s.waiting += g.waits
	s.lastWait += g.begun
	s.refused += uint64(len(g.refusals))
}
