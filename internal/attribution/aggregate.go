package attribution

import (
	"cmp"
	"slices"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// dropSums finds calls whose numbers are the sum of the calls that tools inside them made.
func (c *calls) dropSums() {
	below := make([]Vector, len(c.nodes)) // counted in the subtree
	c.below = below
	for k := len(c.pre) - 1; k >= 0; k-- {
		i := c.pre[k]
		if at := c.groupOf[i]; at >= 0 && c.groups[at].usage && c.groups[at].members[0] == i {
			g := c.groups[at]
			if len(g.members) == 1 && !below[i].zero() && below[i].input() == g.reading.input() && below[i].output() == g.reading.output() {
				g.dropped = "its tokens are the sum of the calls below it"
			} else {
				below[i] = below[i].plus(g.reading.Vector)
			}
		}
		if p := c.nodes[i].parent; p >= 0 {
			below[p] = below[p].plus(below[i])
		}
	}
}

// aggregate looks at wrappers and agents that report tokens: they count only where no call below them does.
func (c *calls) aggregate() {
	carries := make([]bool, len(c.nodes)) // a counted number is in the subtree
	embeds := make([]bool, len(c.nodes))  // the same, of embeddings, which no sum of answers holds
	own := make([]bool, len(c.nodes))     // the same, not below another agent that sums only its own
	silent := make([][]int, len(c.nodes)) // calls without usage in the subtree, at most two
	for k := len(c.pre) - 1; k >= 0; k-- {
		i := c.pre[k]
		n := &c.nodes[i]
		for _, child := range n.children {
			carries[i], embeds[i] = carries[i] || carries[child], embeds[i] || embeds[child]
			if c.nodes[child].is(TraitOwnSum) {
				continue
			}
			own[i] = own[i] || own[child]
			for _, s := range silent[child] {
				if len(silent[i]) < 2 && !slices.Contains(silent[i], s) {
					silent[i] = append(silent[i], s)
				}
			}
			silent[child] = nil
		}
		if k := c.groupOf[i]; k >= 0 {
			g := c.groups[k]
			counted := g.usage && g.dropped == ""
			if n.Role == RoleEmbedding {
				embeds[i] = embeds[i] || counted
			} else {
				carries[i], own[i] = carries[i] || counted, own[i] || counted
			}
			if !g.usage && !g.failed && len(silent[i]) < 2 && !slices.Contains(silent[i], k) {
				silent[i] = append(silent[i], k)
			}
		}
		sums := n.Role == RoleWrapper || n.Role == RoleAgent
		if !sums || !n.Usage.some() {
			continue
		}
		below := carries[i]
		if n.is(TraitOwnSum) {
			below = own[i]
		}
		below = below || embeds[i] && n.Usage.N[FieldOutput] == 0
		switch {
		case below && !c.rules.off(RuleWrapper):
			c.verdict[i] = Verdict{Kind: VerdictWrapper, Reason: "its tokens are those of the calls below it"}
			if !n.is(TraitOwnSum) {
				c.excess += absolute(c.sum(i).input + c.sum(i).output - c.below[i].input() - c.below[i].output())
			}
		case c.rules.off(RuleAggregate) || c.repeats(i):
			c.verdict[i] = Verdict{Kind: VerdictWrapper, Reason: "its tokens are those of a call that is counted elsewhere"}
		case !c.rules.off(RuleOrphans) && c.holdsOrphan(i):
			c.verdict[i] = Verdict{Kind: VerdictWrapper, Reason: "a call inside its time and its sum has lost its parent, and may be below it"}
		case !c.rules.off(RuleStrays) && c.holdsStray(i):
			c.verdict[i] = Verdict{Kind: VerdictWrapper, Reason: "another instrumentation tells of a call inside its time and its sum, on a span around it"}
		default:
			carries[i], own[i] = true, true
			if len(silent[i]) == 1 {
				g := c.groups[silent[i][0]]
				g.reading, g.usage, g.adopted = n.read(c.rules), true, i
				c.verdict[i] = Verdict{Kind: VerdictWrapper, Reason: "its tokens are those of the only call below it, which reports none", Of: c.nodes[g.members[0]].Span}
				continue
			}
			c.sums = append(c.sums, i)
			c.verdict[i] = Verdict{Kind: VerdictAggregate, Reason: "no call below it reports tokens: its sum stands in for them"}
		}
	}
	slices.Sort(c.sums)
}

// repeats says whether a wrapper tells of a call that is counted where no tree connects them: the same response, or another emitter's sum.
func (c *calls) repeats(i int) bool {
	f := c.nodes[i].Fact
	for _, k := range c.alike(i) {
		g := c.groups[k]
		m := &c.nodes[g.members[0]]
		if !g.usage || g.dropped != "" || m.Emitter == f.Emitter && f.ResponseID == "" {
			continue
		}
		sameID := f.ResponseID != "" && f.ResponseID == m.ResponseID
		if (sameID || m.Emitter != f.Emitter && within(f, m.Fact) && c.sum(i).sameModel(c.sum(g.members[0]))) && c.sum(i).agrees(c.sum(g.members[0])) {
			return true
		}
	}
	for _, s := range c.sums[max(0, len(c.sums)-maxAlike):] {
		m := c.nodes[s].Fact
		if m.Emitter != f.Emitter && within(f, m) && c.sum(i).agrees(c.sum(s)) {
			return true
		}
	}
	return false
}

// holdsOrphan says whether a part of the trace whose parent is missing may belong below a wrapper: it lies in the wrapper's time, and in its sum.
func (c *calls) holdsOrphan(i int) bool {
	if c.orphans == nil {
		c.orphans = c.findOrphans()
	}
	f := &c.nodes[i]
	r := c.sum(i)
	first, _ := slices.BinarySearchFunc(c.orphans, f.Start-slack, func(o orphan, start usage.Micros) int { return cmp.Compare(c.nodes[o.root].Start, start) })
	for _, o := range c.orphans[first:min(len(c.orphans), first+maxInside)] {
		g := &c.nodes[o.root]
		if g.Start > f.End || c.above(o.root, i) {
			continue
		}
		inside := g.End <= f.End+slack && o.input <= r.input && o.output <= r.output
		mutual := f.Start-slack <= g.Start && g.Start <= f.Start+slack && f.End <= g.End+slack && g.order > f.order
		if inside && !mutual {
			return true
		}
	}
	return false
}

// holdsStray says whether another emitter's call that hangs on an ancestor of a wrapper, as callbacks that activate no context make it, lies in the
// wrapper's time, and in its sum.
func (c *calls) holdsStray(i int) bool {
	if c.strays == nil {
		c.strays = []int{}
		for _, g := range c.groups {
			if m := g.members[0]; g.usage && g.dropped == "" && c.nodes[m].parent >= 0 {
				c.strays = append(c.strays, m)
			}
		}
		slices.SortFunc(c.strays, func(a, b int) int {
			return cmp.Or(cmp.Compare(c.nodes[a].Start, c.nodes[b].Start), cmp.Compare(a, b))
		})
	}
	f := &c.nodes[i]
	r := c.sum(i)
	first, _ := slices.BinarySearchFunc(c.strays, f.Start-slack, func(m int, start usage.Micros) int { return cmp.Compare(c.nodes[m].Start, start) })
	for _, m := range c.strays[first:min(len(c.strays), first+maxInside)] {
		g := &c.nodes[m]
		if g.Start > f.End {
			break
		}
		if g.Emitter == f.Emitter || g.End > f.End+slack || !c.above(g.parent, i) && !c.lost(i) || c.above(m, i) || c.above(i, m) || g.Role == RoleEmbedding {
			continue
		}
		if v := c.sum(m); v.input <= r.input && v.output <= r.output && r.sameModel(v) {
			return true
		}
	}
	return false
}

// orphan is a span whose parent is not there, with the largest numbers in and below it.
type orphan struct {
	root          int
	input, output int64
}

func (c *calls) findOrphans() []orphan {
	found := []orphan{}
	for i := range c.nodes {
		n := &c.nodes[i]
		if n.parent >= 0 || !c.lost(i) {
			continue
		}
		o := orphan{root: i}
		tells := false
		for _, k := range c.pre[n.order : n.last+1] {
			m := &c.nodes[k]
			if m.Usage.some() && (m.Role.isCall() || m.Role == RoleWrapper || m.Role == RoleAgent) {
				o.input, o.output, tells = max(o.input, c.sum(k).input), max(o.output, c.sum(k).output), true
			}
		}
		if tells {
			found = append(found, o)
		}
	}
	slices.SortFunc(found, func(a, b orphan) int {
		return cmp.Or(cmp.Compare(c.nodes[a.root].Start, c.nodes[b.root].Start), cmp.Compare(a.root, b.root))
	})
	return found
}

func absolute(n int64) int64 { return max(n, -n) }

// alike are calls whose output may be that of node i.
func (c *calls) alike(i int) (groups []int) {
	if c.byOutput == nil {
		c.byOutput = map[int64][]int{}
		for k, g := range c.groups {
			m := g.members[0]
			if !c.nodes[m].Usage.some() {
				continue
			}
			for _, n := range distinct(c.sum(m).out) {
				if at := c.byOutput[n]; len(at) < maxAlike {
					c.byOutput[n] = append(at, k)
				}
			}
		}
	}
	for _, n := range distinct(c.sum(i).out) {
		for d := int64(-1); d <= 1; d++ {
			groups = append(groups, c.byOutput[n+d]...)
		}
	}
	slices.Sort(groups)
	return slices.Compact(groups)
}

func distinct(numbers [4]int64) []int64 {
	all := numbers[:]
	slices.Sort(all)
	return slices.Compact(all)
}
