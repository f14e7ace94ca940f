package attribution

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// slack is how far clocks of one machine may disagree about what lies inside what.
const slack = usage.Micros(5_000)

// What one span is compared with is bounded, so that a trace of any shape takes no more than n log n.
const (
	maxActive = 256  // overlapping spans
	maxPairs  = 16   // of them, the best
	maxSets   = 1024 // calls inside a call
	maxAlike  = 256  // calls that say the same number
	maxInside = 64   // calls in the time of a sum
)

// group is one model call: the spans that are it.
type group struct {
	members []int // the first one stands for the call
	reading Reading
	usage   bool // somebody reports tokens
	failed  bool // refused, without usage: no call was served
	adopted int  // node of the wrapper whose sum it carries, or -1
	dropped string
}

// calls works out which spans are one model call.
type calls struct {
	*tree
	near    []int   // nearest span of the same kind of call above, not across a tool; -1
	inner   [][]int // spans whose near this is
	union   []int   // disjoint sets of nodes
	emitter map[int][]string
	verdict []Verdict
	groups  []*group
	groupOf []int // index in groups, -1
	sums    []int // wrappers and agents that are counted as aggregates

	summaries []summary
	byOutput  map[int64][]int
	below     []Vector // counted in a node's subtree
	orphans   []orphan // by start
	strays    []int    // counted calls, by start
	excess    int64    // tokens by which wrappers and the calls below them disagree
}

func newCalls(t *tree) *calls {
	c := &calls{tree: t, verdict: make([]Verdict, len(t.nodes)), groupOf: make([]int, len(t.nodes)), emitter: map[int][]string{}, summaries: make([]summary, len(t.nodes))}
	for i := range c.groupOf {
		c.groupOf[i] = -1
	}
	c.nest()
	c.mergeSiblings()
	c.mergeNested()
	c.gather()
	c.dropSums()
	c.aggregate()
	return c
}

// nest finds for every candidate the nearest one around it.
func (c *calls) nest() {
	n := len(c.nodes)
	c.near, c.inner, c.union = make([]int, n), make([][]int, n), make([]int, n)
	call, embedding := make([]int, n), make([]int, n) // nearest at or above, for the children
	for _, i := range c.pre {
		c.union[i] = i
		above, aboveEmbedding := -1, -1
		if p := c.nodes[i].parent; p >= 0 && c.nodes[p].Role != RoleTool {
			above, aboveEmbedding = call[p], embedding[p]
		}
		c.near[i] = -1
		call[i], embedding[i] = above, aboveEmbedding
		switch c.nodes[i].Role {
		case RoleCall:
			c.near[i], call[i] = above, i
		case RoleEmbedding:
			c.near[i], embedding[i] = aboveEmbedding, i
		}
		if c.near[i] >= 0 {
			c.inner[c.near[i]] = append(c.inner[c.near[i]], i)
		}
	}
}

// sum is what a node is compared by.
func (c *calls) sum(i int) *summary {
	s := &c.summaries[i]
	if !s.done {
		*s = c.nodes[i].summarize(c.rules)
	}
	return s
}

func (c *calls) find(i int) int {
	for c.union[i] != i {
		c.union[i] = c.union[c.union[i]]
		i = c.union[i]
	}
	return i
}

func (c *calls) join(a, b int) {
	a, b = c.find(a), c.find(b)
	if a == b {
		return
	}
	if b < a {
		a, b = b, a
	}
	c.union[b] = a
	c.emitter[a] = append(c.emittersOf(a), c.emittersOf(b)...)
}

func (c *calls) emittersOf(root int) []string {
	if e, ok := c.emitter[root]; ok {
		return e
	}
	return []string{c.nodes[root].Emitter}
}

func (c *calls) isLeaf(i int) bool { return c.nodes[i].Role.isCall() && len(c.inner[i]) == 0 }

// reports says whether a span's tokens are evidence: there, and counted, not guessed.
func (f *Fact) reports() bool { return f.Usage.some() && !f.is(TraitEstimated) }

type pair struct {
	a, b     int
	score    int
	distance usage.Micros
}

// mergeSiblings finds doubles that are not nested: spans of other emitters, overlapping in time, of one model, with the same tokens or one of them
// without. The best pairs go first, and a call has one span of each emitter: so concurrent calls stay apart.
func (c *calls) mergeSiblings() {
	if c.rules.off(RuleSiblings) {
		return
	}
	var leaves []int
	for i := range c.nodes {
		if c.isLeaf(i) {
			leaves = append(leaves, i)
		}
	}
	slices.SortFunc(leaves, func(a, b int) int {
		return cmp.Or(cmp.Compare(c.nodes[a].Start, c.nodes[b].Start), cmp.Compare(a, b))
	})
	var pairs, own []pair
	var active []int
	for _, b := range leaves {
		if !c.rules.off(RuleOverlap) {
			active = slices.DeleteFunc(active, func(a int) bool { return c.nodes[a].End+slack < c.nodes[b].Start })
		}
		own = own[:0]
		for _, a := range active {
			if p, ok := c.pair(a, b); ok {
				own = append(own, p)
			}
		}
		if len(own) > maxPairs {
			slices.SortFunc(own, c.better)
			own = own[:maxPairs]
		}
		pairs = append(pairs, own...)
		if len(active) == maxActive {
			active = slices.Delete(active, 0, 1)
		}
		active = append(active, b)
	}
	slices.SortFunc(pairs, c.better)
	for _, p := range pairs {
		a, b := c.find(p.a), c.find(p.b)
		if a == b || !c.rules.off(RuleEmitter) && slices.ContainsFunc(c.emittersOf(a), func(e string) bool { return slices.Contains(c.emittersOf(b), e) }) {
			continue
		}
		c.join(a, b)
	}
}

func (c *calls) better(p, q pair) int {
	return cmp.Or(cmp.Compare(p.score, q.score), cmp.Compare(p.distance, q.distance), cmp.Compare(min(p.a, p.b), min(q.a, q.b)), cmp.Compare(max(p.a, p.b), max(q.a, q.b)))
}

func (c *calls) pair(a, b int) (pair, bool) {
	f, g := &c.nodes[a], &c.nodes[b]
	if f.Emitter == g.Emitter && !c.rules.off(RuleEmitter) || f.Role != g.Role {
		return pair{}, false
	}
	p := pair{a: a, b: b, distance: abs(f.Start-g.Start) + abs(f.End-g.End)}
	p, ok := c.alikeSiblings(p, f, g)
	return p, ok && c.sum(a).sameModel(c.sum(b)) && !c.above(a, b) && !c.above(b, a)
}

// alikeSiblings says how well two spans fit by numbers and times; a smaller score is better.
func (c *calls) alikeSiblings(p pair, f, g *node) (pair, bool) {
	sameID := f.ResponseID != "" && f.ResponseID == g.ResponseID
	switch {
	case f.reports() && g.reports():
		p.score = 1
		if sameID {
			p.score = 0
		}
		return p, c.sum(p.a).agrees(c.sum(p.b))
	case f.reports() || g.reports():
		p.score = 3
		if sameID {
			p.score = 2
		}
		silent := f
		if f.reports() {
			silent = g
		}
		return p, sameTime(f.Fact, g.Fact) && !silent.is(TraitRefused)
	default:
		p.score = 4
		return p, sameTime(f.Fact, g.Fact) && f.is(TraitRefused) == g.is(TraitRefused)
	}
}

// within says whether one of two spans lies inside the other.
func within(f, g *Fact) bool {
	return f.Start-slack <= g.Start && g.End <= f.End+slack || g.Start-slack <= f.Start && f.End <= g.End+slack
}

// sameTime says whether two spans take the same time: one lies inside the other, or they share three quarters of the longer. Callbacks of a busy
// process begin and end late.
func sameTime(f, g *Fact) bool {
	shared := min(f.End, g.End) - max(f.Start, g.Start)
	return within(f, g) || shared > 0 && 4*shared >= 3*max(f.End-f.Start, g.End-g.Start)
}

// related says whether one plain name is the other, or its dated form.
func related(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	if a == b {
		return true
	}
	rest, ok := strings.CutPrefix(b, a)
	return ok && dated(rest)
}

// plainModel leaves out what stands before a model's name: a provider, a region, a path.
func plainModel(m string) string {
	m = strings.ToLower(m)
	if i := strings.LastIndexAny(m, "/:"); i >= 0 && i < len(m)-1 && strings.ContainsAny(m[i+1:], "abcdefghijklmnopqrstuvwxyz") {
		m = m[i+1:]
	}
	return m
}

// dated says whether the rest of a name is a version or a date.
func dated(rest string) bool {
	rest = strings.Trim(rest, "-@:_")
	if rest == "latest" || rest == "preview" {
		return true
	}
	return rest != "" && strings.Trim(rest, "0123456789-.v") == ""
}

// mergeNested goes from the innermost out: a call around its only call is that call, one around several is a wrapper.
func (c *calls) mergeNested() {
	below := make([][]int, len(c.nodes)) // sets of calls in and below a candidate
	for k := len(c.pre) - 1; k >= 0; k-- {
		i := c.pre[k]
		if !c.nodes[i].Role.isCall() {
			continue
		}
		if len(c.inner[i]) == 0 {
			below[i] = []int{i}
			continue
		}
		var sets []int
		for _, in := range c.inner[i] {
			for _, s := range below[in] {
				sets = append(sets, c.find(s))
			}
			below[in] = nil
		}
		slices.Sort(sets)
		sets = slices.Compact(sets)
		sets = sets[:min(len(sets), maxSets)]
		below[i] = c.around(i, sets)
	}
}

// around decides what a call-like span around other calls is.
func (c *calls) around(i int, sets []int) []int {
	f := c.nodes[i].Fact
	if c.rules.off(RuleNested) {
		return append(sets, i)
	}
	agreeing, related, alone := -1, false, f.reports()
	for _, in := range c.inner[i] {
		g := c.nodes[in].Fact
		related = related || c.sum(i).sameModel(c.sum(in))
		alone = alone && g.Emitter == f.Emitter && g.reports()
		if f.reports() && g.reports() && c.sum(i).agrees(c.sum(in)) {
			agreeing = c.find(in)
		}
	}
	if alone && agreeing < 0 && !c.holds(i, sets) && !c.rules.off(RuleOwnAnswer) {
		return append(sets, i) // its emitter tells of calls below it, and its own numbers are another call's
	}
	if len(sets) == 1 && (related || agreeing >= 0 || !f.Usage.some()) {
		c.join(i, sets[0])
		return []int{c.find(i)}
	}
	if related || agreeing >= 0 || !f.reports() || c.holds(i, sets) {
		c.verdict[i] = Verdict{Kind: VerdictWrapper, Reason: fmt.Sprintf("it lies around %d calls, which are counted themselves", len(sets))}
		return sets
	}
	return append(sets, i) // other model, other tokens: a call that has other calls inside
}

// holds says whether a span's numbers can be the sum of calls, or more: an aggregate may tell of calls that left no spans.
func (c *calls) holds(i int, sets []int) bool {
	var input, output int64
	for _, s := range sets {
		if c.nodes[s].Usage.some() {
			input, output = input+c.sum(s).input, output+c.sum(s).output
		}
	}
	return c.sum(i).input >= input && c.sum(i).output >= output
}

// gather makes groups of the sets and chooses each one's vector.
func (c *calls) gather() {
	at := map[int]int{}
	for i := range c.nodes {
		if !c.nodes[i].Role.isCall() || c.verdict[i].Kind == VerdictWrapper {
			continue
		}
		root := c.find(i)
		k, ok := at[root]
		if !ok {
			k = len(c.groups)
			at[root] = k
			c.groups = append(c.groups, &group{adopted: -1})
		}
		c.groups[k].members = append(c.groups[k].members, i)
		c.groupOf[i] = k
	}
	for _, g := range c.groups {
		c.weigh(g)
	}
}

// weigh sorts a group's spans by how much their numbers are to be believed and takes the best, split as finely as any that agrees.
func (c *calls) weigh(g *group) {
	slices.SortFunc(g.members, func(a, b int) int {
		f, h := &c.nodes[a], &c.nodes[b]
		by := cmp.Or(truth(h.Usage.some(), f.Usage.some()), truth(c.estimated(f), c.estimated(h)))
		if !c.rules.off(RuleRank) {
			by = cmp.Or(by, cmp.Compare(h.Rank, f.Rank))
		}
		return cmp.Or(by, cmp.Compare(h.depth, f.depth), bytes.Compare(f.Span[:], h.Span[:]))
	})
	best := c.nodes[g.members[0]].Fact
	g.reading = best.read(c.rules)
	g.usage = best.Usage.some()
	if !g.usage {
		g.failed = !c.rules.off(RuleFailed)
		for _, m := range g.members {
			f := c.nodes[m].Fact
			g.failed = g.failed && f.is(TraitError) && f.is(TraitRefused) && !f.is(TraitServed)
		}
		return
	}
	if c.rules.off(RuleRicher) {
		return
	}
	for _, m := range g.members[1:] {
		f := c.nodes[m].Fact
		if f.Emitter == best.Emitter || !f.reports() || !c.sum(g.members[0]).agrees(c.sum(m)) {
			continue
		}
		g.reading.enrich(f.read(c.rules))
	}
}

func (c *calls) estimated(n *node) bool { return n.is(TraitEstimated) && !c.rules.off(RuleEstimated) }

// enrich takes the split of input or of output from another reading of the same call where this one has none.
func (r *Reading) enrich(o Reading) {
	for _, side := range [...][]Bucket{{BucketIn, BucketCacheRead, BucketCacheWrite, BucketInAudio, BucketInImage}, {BucketOut, BucketReasoning, BucketOutAudio, BucketOutImage}} {
		own, other := 0, 0
		for _, b := range side[1:] {
			if r.Vector[b] != 0 {
				own++
			}
			if o.Vector[b] != 0 {
				other++
			}
		}
		if other <= own {
			continue
		}
		for _, b := range side {
			r.Vector[b] = o.Vector[b]
		}
		if side[0] == BucketIn {
			r.Cache = o.Cache + "; from the double"
		} else {
			r.Thought = o.Thought + "; from the double"
		}
	}
}

func truth(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

func abs(m usage.Micros) usage.Micros { return max(m, -m) }
