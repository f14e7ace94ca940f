package attribution

import (
	"cmp"
	"slices"
)

// counts are the spans of one role that are counted once each, with the spans that are the same thing.
type counts struct {
	first []int
	of    map[int]int      // a double's node → the one that is counted
	seen  map[int][]string // who else tells of a counted one
}

func (c *calls) same(o *counts, i, host int) {
	host = o.root(host)
	o.of[i] = host
	o.seen[host] = append(o.seen[host], c.nodes[i].Emitter)
}

// tools counts each tool call once: copies of a call id, a span inside the span of the same tool, and two emitters' spans of one call.
func (c *calls) tools() counts {
	out := counts{of: map[int]int{}, seen: map[int][]string{}}
	byID := map[string][]int{}
	byName := map[string][]int{}
	var order []int
	for _, i := range c.pre {
		if c.nodes[i].Role == RoleTool {
			order = append(order, i)
		}
	}
	for _, i := range order {
		f := c.nodes[i].Fact
		if host := c.toolAround(i); host >= 0 {
			c.same(&out, i, host)
			continue
		}
		if same := c.sameTool(i, byID[f.CallID], byName[f.Own.Slots[SlotTool]], out); same >= 0 {
			c.same(&out, i, same)
			continue
		}
		if f.CallID != "" {
			byID[f.CallID] = append(byID[f.CallID], i)
		} else {
			byName[f.Own.Slots[SlotTool]] = append(byName[f.Own.Slots[SlotTool]], i)
		}
		out.first = append(out.first, i)
	}
	slices.Sort(out.first)
	return out
}

func (o *counts) root(i int) int {
	for {
		host, ok := o.of[i]
		if !ok {
			return i
		}
		i = host
	}
}

// toolAround is the tool's span directly around i that is of the same call, or -1.
func (c *calls) toolAround(i int) int {
	if c.rules.off(RuleNestedTool) {
		return -1
	}
	f := c.nodes[i].Fact
	for p, hops := c.nodes[i].parent, 0; p >= 0 && hops < 8; p, hops = c.nodes[p].parent, hops+1 {
		switch g := c.nodes[p].Fact; g.Role {
		case RoleTool:
			if f.CallID != "" && g.CallID != "" {
				if f.CallID == g.CallID {
					return p
				}
				return -1
			}
			unnamed := f.Own.Slots[SlotTool] == f.Name
			around := g.Own.Slots[SlotTool] == g.Name
			if sameName(f.Own.Slots[SlotTool], g.Own.Slots[SlotTool]) || (unnamed || around) && !(unnamed && around && f.Emitter == g.Emitter) {
				return p
			}
			return -1
		case RolePlain:
		default:
			return -1
		}
	}
	return -1
}

func sameName(a, b string) bool { return a == "" || b == "" || a == b }

// sameTool is a counted span of the same call elsewhere in the trace: of the same id, unless it is an id that a server uses again; without
// ids another emitter's span of the same tool at the same time.
func (c *calls) sameTool(i int, withID, named []int, out counts) int {
	f := c.nodes[i].Fact
	if f.CallID != "" && !c.rules.off(RuleToolCallID) {
		for _, j := range withID[max(0, len(withID)-maxActive):] {
			g := c.nodes[j].Fact
			if g.Emitter != f.Emitter || overlap(f, g) {
				return j
			}
		}
		return -1
	}
	if c.rules.off(RuleSiblings) {
		return -1
	}
	for _, j := range named[max(0, len(named)-maxActive):] {
		g := c.nodes[j].Fact
		if g.Emitter != f.Emitter && sameTime(f, g) && !slices.Contains(out.seen[j], f.Emitter) {
			return j
		}
	}
	return -1
}

func overlap(f, g *Fact) bool { return f.Start <= g.End && g.Start <= f.End }

// agents counts agent runs: one emitter's span directly inside another's of the same agent is the same run.
func (c *calls) agents() counts {
	return c.once(RoleAgent, func(f, g *Fact) bool { return f.Own.Slots[SlotAgent] == g.Own.Slots[SlotAgent] })
}

// once counts the spans of a role; one directly inside another emitter's is the same.
func (c *calls) once(role Role, same func(f, g *Fact) bool) counts {
	out := counts{of: map[int]int{}}
	nearest := make([]int, len(c.nodes))
	for _, i := range c.pre {
		nearest[i] = -1
		p := c.nodes[i].parent
		if p >= 0 && c.nodes[p].Role != RoleTool {
			nearest[i] = nearest[p]
			if c.nodes[p].Role == role {
				nearest[i] = p
			}
		}
		if c.nodes[i].Role != role {
			continue
		}
		if h := nearest[i]; h >= 0 && c.nodes[h].Emitter != c.nodes[i].Emitter && same(c.nodes[i].Fact, c.nodes[h].Fact) {
			out.of[i] = out.root(h)
			continue
		}
		out.first = append(out.first, i)
	}
	slices.SortFunc(out.first, func(a, b int) int { return cmp.Compare(a, b) })
	return out
}
