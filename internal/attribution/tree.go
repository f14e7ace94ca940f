package attribution

import (
	"bytes"
	"cmp"
	"slices"
)

// node is a span in its tree.
type node struct {
	*Fact
	parent   int // -1: a root, or its parent is not there
	children []int
	order    int // in preorder; the subtree is [order, last]
	last     int
	depth    int
	root     int
}

// tree is a trace: its spans in the order of their ids, whatever order they came in. Parents that go in a circle are cut at the
// smallest id, so that what remains is a forest.
type tree struct {
	rules Rules
	nodes []node
	pre   []int // node by preorder
	index map[SpanID]int
	name  string // of the first node's trace
}

func newTree(facts []Fact, rules Rules) *tree {
	t := &tree{rules: rules, index: make(map[SpanID]int, len(facts))}
	sorted := make([]*Fact, len(facts))
	for i := range facts {
		sorted[i] = &facts[i]
	}
	slices.SortFunc(sorted, func(a, b *Fact) int {
		if c := bytes.Compare(a.Span[:], b.Span[:]); c != 0 {
			return c
		}
		return a.compare(b)
	})
	t.nodes = make([]node, 0, len(sorted))
	for _, f := range sorted {
		if n := len(t.nodes); n > 0 && t.nodes[n-1].Span == f.Span {
			continue // a copy that says no more
		}
		t.index[f.Span] = len(t.nodes)
		t.nodes = append(t.nodes, node{Fact: f, parent: -1})
	}
	for i := range t.nodes {
		n := &t.nodes[i]
		if p, ok := t.index[n.Parent]; ok && n.Parent != (SpanID{}) && p != i {
			n.parent = p
		}
	}
	if len(t.nodes) > 0 {
		t.name = t.nodes[0].Trace.String()
	}
	t.cutCircles()
	for i := range t.nodes {
		if p := t.nodes[i].parent; p >= 0 {
			t.nodes[p].children = append(t.nodes[p].children, i)
		}
	}
	byStart := func(a, b int) int { return cmp.Or(cmp.Compare(t.nodes[a].Start, t.nodes[b].Start), cmp.Compare(a, b)) }
	for i := range t.nodes {
		slices.SortFunc(t.nodes[i].children, byStart)
	}
	t.walk(byStart)
	return t
}

func (t *tree) cutCircles() {
	const unseen, open, done = 0, 1, 2
	state := make([]uint8, len(t.nodes))
	var path []int
	for start := range t.nodes {
		i := start
		path = path[:0]
		for i >= 0 && state[i] == unseen {
			state[i] = open
			path = append(path, i)
			i = t.nodes[i].parent
		}
		if i >= 0 && state[i] == open { // the circle is the path from i on
			smallest := slices.Min(path[slices.Index(path, i):])
			t.nodes[smallest].parent = -1
		}
		for _, p := range path {
			state[p] = done
		}
	}
}

// walk numbers the nodes in preorder, siblings in the order of their starts.
func (t *tree) walk(byStart func(a, b int) int) {
	t.pre = make([]int, 0, len(t.nodes))
	type step struct{ node, child int }
	var stack []step
	var roots []int
	for i := range t.nodes {
		if t.nodes[i].parent < 0 {
			roots = append(roots, i)
		}
	}
	slices.SortFunc(roots, byStart)
	for _, root := range roots {
		stack = append(stack[:0], step{root, 0})
		t.enter(root, root, 0)
		for len(stack) > 0 {
			top := &stack[len(stack)-1]
			n := &t.nodes[top.node]
			if top.child == len(n.children) {
				n.last = len(t.pre) - 1
				stack = stack[:len(stack)-1]
				continue
			}
			child := n.children[top.child]
			top.child++
			t.enter(child, root, len(stack))
			stack = append(stack, step{child, 0})
		}
	}
}

func (t *tree) enter(i, root, depth int) {
	t.nodes[i].order, t.nodes[i].root, t.nodes[i].depth = len(t.pre), root, depth
	t.pre = append(t.pre, i)
}

// traceOf is the id of a node's trace, as text.
func (t *tree) traceOf(i int) string {
	if t.nodes[i].Trace == t.nodes[0].Trace {
		return t.name
	}
	return t.nodes[i].Trace.String()
}

// lost says whether the parent of a node or of one of its ancestors is missing, so that what is around it is not known.
func (t *tree) lost(i int) bool {
	root := &t.nodes[t.nodes[i].root]
	return root.Parent != SpanID{} && root.Parent != root.Span
}

// above says whether a is b or one of its ancestors.
func (t *tree) above(a, b int) bool {
	return t.nodes[a].order <= t.nodes[b].order && t.nodes[b].order <= t.nodes[a].last
}

// Complete says whether a root and every span's parent is there.
func Complete(facts []Fact) bool {
	have := make(map[SpanID]struct{}, len(facts))
	for i := range facts {
		have[facts[i].Span] = struct{}{}
	}
	root := false
	for i := range facts {
		if facts[i].Parent == (SpanID{}) {
			root = true
		} else if _, ok := have[facts[i].Parent]; !ok {
			return false
		}
	}
	return root
}
