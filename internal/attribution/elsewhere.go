package attribution

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/zeebo/xxh3"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// late is how far the time of a log record may be from that of what it tells of.
const late = usage.Micros(250_000)

const maxOwnAlike = 1024 // notes of one trace under one topic: beyond it nobody can tell which is which

// telling is a call or tool call of this trace or another one, as notes tell of it.
type telling struct {
	Note
	node     int // of this trace, or -1
	log      bool
	rank     uint8
	models   [2]string
	provider string
	call     string // id of a tool call
	known    bool   // others tell of it too, and look at its identity
}

// encode writes it, with a digest of what others see of it.
func (t *telling) encode(identity uint64) []byte {
	b := []byte{byte(truth(t.log, false)), t.rank}
	for _, s := range [...]string{t.models[0], t.models[1], t.provider, t.call} {
		b = appendText(b, s)
	}
	return binary.LittleEndian.AppendUint64(b, identity)
}

func decodeTelling(n Note) (t telling, ok bool) {
	r := reader{s: string(n.Value)}
	t = telling{Note: n, node: -1, log: r.byte() != 0, rank: r.byte()}
	t.models[0], t.models[1], t.provider, t.call = r.text(), r.text(), r.text(), r.text()
	return t, !r.bad
}

// better orders those that are one call: log records last, then by rank.
func (t *telling) better(u *telling) int {
	return cmp.Or(truth(t.log, u.log), cmp.Compare(u.rank, t.rank), bytes.Compare(t.Trace[:], u.Trace[:]), bytes.Compare(t.Span[:], u.Span[:]))
}

// elsewhere finds what other traces tell of too: it is counted there, or its double there isn't.
type elsewhere struct {
	*calls
	owner   *owner
	signals bool // services may tell of calls on other signals, too
	notes   []telling
	counted map[int]Place   // by node: where it is counted
	doubles map[int][]Place // by node: who else tells of it
}

func newElsewhere(c *calls, o *owner) *elsewhere {
	e := &elsewhere{calls: c, owner: o, signals: true}
	if near, ok := o.near.(interface{ Signals() bool }); ok {
		e.signals = near.Signals()
	}
	return e
}

// call notes a call that reports its tokens, under each response id that its spans have, and for other signals of its service.
func (e *elsewhere) call(g *group) {
	first := e.nodes[g.members[0]].Fact
	if !g.usage || g.failed || g.dropped != "" || g.adopted >= 0 || first.is(TraitEstimated) || first.Trace == (TraceID{}) {
		return
	}
	in, out := number(g.reading.input()), number(g.reading.output())
	seen := map[string]bool{}
	for _, m := range g.members {
		f := e.nodes[m].Fact
		if id := f.ResponseID; id != "" && !seen[id] && f.reports() && e.sum(m).agrees(e.sum(g.members[0])) {
			seen[id] = true
			e.note(g.members, topic("response", id, in, out), NoteResponse, xxh3.HashString(first.Emitter))
		}
	}
	if first.Service != "" && e.signals {
		session, _ := e.owner.said(g.members, SlotSession)
		e.note(g.members, topic("calls", first.Service, session, in, out), NoteSignal, uint64(truth(first.is(TraitLog), false)))
	}
}

// tool notes a tool call for other signals of its service.
func (e *elsewhere) tool(members []int) {
	f := e.nodes[members[0]].Fact
	if name := f.Own.Slots[SlotTool]; e.signals && f.Service != "" && name != "" && f.Trace != (TraceID{}) {
		session, _ := e.owner.said(members, SlotSession)
		e.note(members, topic("tool", f.Service, session, name), NoteSignal, uint64(truth(f.is(TraitLog), false)))
	}
}

func (e *elsewhere) note(members []int, t Topic, kind NoteKind, sub uint64) {
	f := e.nodes[members[0]].Fact
	n := telling{node: members[0], log: f.is(TraitLog), rank: f.Rank, models: e.sum(members[0]).models, provider: e.maker(members), call: f.CallID}
	n.Note = Note{Place: f.Place, Topic: t, Kind: kind, Sub: sub, Start: f.Start, End: f.End}
	if n.log {
		n.Start, n.End = n.Start-late, n.End+late
	}
	e.notes = append(e.notes, n)
}

// maker is who made the model, as its name says it: gateways name themselves, or whose interface they have.
func (e *elsewhere) maker(members []int) string {
	for _, m := range members {
		if p := providerOf(e.nodes[m].model()); p != "" {
			return p
		}
	}
	for _, m := range members {
		if p := canonicalProvider(e.nodes[m].Provider); slices.Contains(providers, p) {
			return p
		}
	}
	return ""
}

// look finds which are one call.
func (e *elsewhere) look() {
	e.counted, e.doubles = map[int]Place{}, map[int][]Place{}
	slices.SortFunc(e.notes, func(a, b telling) int { return a.Compare(&b.Note) })
	for rest := e.notes; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].Topic == rest[0].Topic {
			n++
		}
		if n <= maxOwnAlike {
			e.about(rest[:n])
		}
		rest = rest[n:]
	}
	for i := range e.notes {
		node := e.notes[i].node
		_, counted := e.counted[node]
		e.notes[i].known = counted || len(e.doubles[node]) > 0
	}
}

// about looks at this trace's notes of one topic.
func (e *elsewhere) about(own []telling) {
	done := map[int]bool{}
	for i := range own {
		n := &own[i]
		if done[n.node] {
			continue
		}
		find := func(from, to usage.Micros) []Note {
			found := e.owner.near.Calls(n.Topic, n.Sub, from, to, n.Trace)
			if len(found) == 0 {
				return nil
			}
			for k := range own {
				if own[k].Start <= to && own[k].End >= from {
					found = append(found, own[k].Note)
				}
			}
			return found
		}
		if all, ok := component(&n.Note, maxComponent, find); ok {
			e.settle(e.tellings(all, own, done))
		}
	}
}

func (e *elsewhere) tellings(notes []Note, own []telling, done map[int]bool) (all []telling) {
	for _, n := range notes {
		if n.Trace != own[0].Trace {
			if t, ok := decodeTelling(n); ok {
				all = append(all, t)
			}
			continue
		}
		for k := range own {
			if own[k].Span == n.Span {
				all = append(all, own[k])
				done[own[k].node] = true
			}
		}
	}
	return all
}

// settle joins the best fitting pairs first. One call is told of once by a trace and once by an instrumentation.
func (e *elsewhere) settle(all []telling) {
	slices.SortFunc(all, func(a, b telling) int { return a.Compare(&b.Note) })
	var pairs []pair
	for a := range all {
		for b := a + 1; b < len(all); b++ {
			if e.oneCall(&all[a], &all[b]) {
				pairs = append(pairs, pair{a: a, b: b, distance: distance(&all[a], &all[b])})
			}
		}
	}
	slices.SortFunc(pairs, e.better)
	set := make([]int, len(all))
	for i := range set {
		set[i] = i
	}
	for _, p := range pairs {
		a, b := set[p.a], set[p.b]
		if a == b || e.clash(all, set, a, b) {
			continue
		}
		for i := range set {
			if set[i] == b {
				set[i] = a
			}
		}
	}
	for i := range all {
		e.judge(all, set, i)
	}
}

func (e *elsewhere) oneCall(t, u *telling) bool {
	return t.Trace != u.Trace && (t.Sub != u.Sub || e.rules.off(RuleEmitter)) && (t.Start <= u.End && u.Start <= t.End || e.rules.off(RuleOverlap)) &&
		(t.call == "" || u.call == "" || t.call == u.call) && (t.provider == "" || u.provider == "" || t.provider == u.provider) &&
		(&summary{models: t.models}).sameModel(&summary{models: u.models}) && !e.rules.off(RuleElsewhere)
}

// distance is how badly two fit in time. A log record is written when it is over.
func distance(t, u *telling) usage.Micros {
	if t.log != u.log {
		log, span := t, u
		if u.log {
			log, span = u, t
		}
		return 2 * abs(log.End-late-span.End)
	}
	return abs(t.Start-u.Start) + abs(t.End-u.End)
}

// clash says whether two sets have notes of one trace or of one instrumentation.
func (e *elsewhere) clash(all []telling, set []int, a, b int) bool {
	for i := range set {
		for k := range set {
			if set[i] == a && set[k] == b && (all[i].Trace == all[k].Trace || all[i].Sub == all[k].Sub && !e.rules.off(RuleEmitter)) {
				return true
			}
		}
	}
	return false
}

// judge notes for one of this trace where it is counted.
func (e *elsewhere) judge(all []telling, set []int, i int) {
	node := all[i].node
	if node < 0 {
		return
	}
	best := i
	var others []Place
	for k := range all {
		if k != i && set[k] == set[i] {
			others = append(others, all[k].Place)
			if all[k].better(&all[best]) < 0 {
				best = k
			}
		}
	}
	if best != i {
		e.counted[node] = all[best].Place
		return
	}
	for _, place := range others {
		if !slices.Contains(e.doubles[node], place) {
			e.doubles[node] = append(e.doubles[node], place)
		}
	}
}
