package attribution

import (
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// happened is what really happened in a generated trace.
type happened struct {
	calls []servedCall
	tools int
}

type servedCall struct {
	customer string
	vector   Vector
	silent   bool // nobody reports its tokens
}

// generator makes traces that hide what happened as instrumentations do: sums on agents and workflows, doubles nested and beside each other,
// streams without usage, retries, sub-agents below tools and in traces of their own, gateways in traces of their own, tools seen from both ends.
type generator struct {
	*rand.Rand
	facts    []Fact
	happened happened
	now      usage.Micros
	next     uint64
	served   int64
	root     SpanID
	sums     bool    // wrappers report sums
	several  bool    // traces: of sub-agents, linked or of one conversation, and of gateways
	trace    TraceID // that spans are added to
	traces   byte
	linked   bool // the trace says by a link whose it is, and no conversation
	here     bool // a call of the first trace is reported
}

func generate(seed, n uint64) *generator {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, n)), now: 1_000_000, trace: TraceID{9}}
	g.sums, g.several = g.IntN(3) > 0, g.IntN(3) == 0
	root := g.add(Fact{Role: RolePlain}, SpanID{})
	g.root = g.facts[root].Span
	whose := ""
	if g.IntN(2) == 0 {
		whose = "acme"
		g.facts[root].Own.Slots[SlotCustomer] = whose
	}
	for range 1 + g.IntN(2) {
		c := whose
		if g.IntN(3) == 0 {
			c = []string{"globex", "initech"}[g.IntN(2)]
		}
		if whose == "" && c == "" {
			c = "umbrella" // said by each agent, so that it isn't told by the trace
		}
		g.agent(g.root, c, whose, 0)
	}
	g.close(root)
	return g
}

func (g *generator) add(f Fact, parent SpanID) int {
	g.next++
	f.Trace = g.trace
	f.Span = SpanID{byte(g.Uint32()), byte(g.next >> 16), byte(g.next >> 8), byte(g.next), 1}
	f.Parent = parent
	if f.Start == 0 {
		g.now += usage.Micros(10_000 + g.IntN(5_000))
		f.Start = g.now
	}
	if f.Emitter == "" && f.Role != RolePlain {
		f.Emitter, f.Rank = "framework", 50
	}
	g.facts = append(g.facts, f)
	return len(g.facts) - 1
}

func (g *generator) close(i int) {
	g.now += usage.Micros(10_000 + g.IntN(5_000))
	g.facts[i].End = g.now
}

// agent is a run with calls and tools, some of them run agents again.
func (g *generator) agent(parent SpanID, whose, inherited string, depth int) (sum Vector) {
	role := []Role{RoleAgent, RoleWrapper}[g.IntN(2)]
	i := g.add(Fact{Role: role}, parent)
	if whose != inherited {
		g.facts[i].Own.Slots[SlotCustomer] = whose
	}
	if g.several && !g.linked {
		g.facts[i].Own.Slots[SlotConversation] = "with " + whose
	}
	self := g.facts[i].Span
	reported := false
	for range 1 + g.IntN(3) {
		at := self
		if g.IntN(4) == 0 { // a step around
			step := g.add(Fact{Role: RolePlain}, self)
			at = g.facts[step].Span
			defer func() { g.facts[step].End = g.now }()
		}
		v, r := g.call(at, whose)
		sum, reported = sum.plus(v), reported || r
		if g.IntN(2) == 0 {
			w, r := g.tool(at, whose, depth)
			sum, reported = sum.plus(w), reported || r
		}
	}
	g.close(i)
	if g.sums && reported { // a sum stands for silent calls only where it is the only carrier: that is a trap of its own
		g.report(i, sum)
	}
	return sum
}

// report writes a vector as most instrumentations do: everything in input and output.
func (g *generator) report(i int, v Vector) {
	u := &g.facts[i].Usage
	u.set(FieldInput, v.input())
	u.set(FieldOutput, v.output())
	if v[BucketCacheRead] > 0 {
		u.set(FieldCacheRead, v[BucketCacheRead])
	}
	if v[BucketReasoning] > 0 {
		u.set(FieldReasoning, v[BucketReasoning])
	}
	g.facts[i].Traits |= TraitServed
}

func (g *generator) vector() (v Vector) {
	g.served++
	v[BucketIn], v[BucketOut] = 1000+13*g.served, 100+7*g.served
	if g.IntN(2) == 0 {
		v[BucketCacheRead] = 300 + g.served
	}
	if g.IntN(4) == 0 {
		v[BucketReasoning] = 50 + g.served
	}
	return v
}

// call is one call as one of the ways to see it.
func (g *generator) call(parent SpanID, whose string) (v Vector, reported bool) {
	v = g.vector()
	model := []string{"gpt-4o", "claude-sonnet-4-5"}[g.IntN(2)]
	outer := Fact{Role: RoleCall, Model: model, Traits: TraitServed}
	began := g.now
	if g.several {
		outer.ResponseID = "chatcmpl-1" // a local server's, the same for all
	}
	inner := outer
	inner.Emitter, inner.Rank = "sdk", 80
	if g.IntN(5) == 0 { // attempts before that were refused
		for range 1 + g.IntN(2) {
			i := g.add(Fact{Role: RoleCall, Requested: model, Traits: TraitError | TraitRefused}, parent)
			g.close(i)
		}
	}
	seen := g.IntN(6)
	switch seen {
	case 0: // seen once
		i := g.add(outer, parent)
		g.close(i)
		g.report(i, v)
	case 1: // the provider's SDK inside the framework's span; sometimes only one of them knows
		i := g.add(outer, parent)
		j := g.add(inner, g.facts[i].Span)
		g.close(j)
		g.close(i)
		g.know(i, j, v)
	case 2: // beside it, on the root of the trace, because the callback activated nothing
		i := g.add(outer, parent)
		inner.Start = g.facts[i].Start + 1
		j := g.add(inner, g.root)
		g.close(i)
		g.facts[j].End = g.facts[i].End - 1
		g.know(i, j, v)
	case 3: // a wrapper around the only call
		i := g.add(Fact{Role: RoleWrapper, Model: model}, parent)
		j := g.add(outer, g.facts[i].Span)
		g.close(j)
		g.close(i)
		g.report(i, v)
		g.report(j, v)
	case 4: // a stream that nobody counts
		i := g.add(outer, parent)
		g.close(i)
		g.happened.calls = append(g.happened.calls, servedCall{customer: whose, silent: true})
		return Vector{}, false
	case 5: // two call-like spans of one instrumentation, the inner one knows
		i := g.add(outer, parent)
		j := g.add(outer, g.facts[i].Span)
		g.close(j)
		g.close(i)
		g.report(j, v)
	}
	g.happened.calls = append(g.happened.calls, servedCall{customer: whose, vector: v})
	g.here = g.here || g.trace == TraceID{9}
	if g.several && !g.sums && seen != 3 && g.IntN(2) == 0 {
		g.gateway(outer, began, v)
	}
	return v, true
}

// gateway tells of the last call in a trace of its own.
func (g *generator) gateway(f Fact, began usage.Micros, v Vector) {
	defer g.elsewhere()()
	f.Emitter, f.Rank, f.Start = "gateway", 40, began+(g.now-began)/2
	i := g.add(f, SpanID{})
	g.facts[i].End = g.now - 1
	g.report(i, v)
}

// elsewhere begins a trace, and gives what ends it.
func (g *generator) elsewhere() (end func()) {
	trace, root := g.trace, g.root
	g.traces++
	g.trace = TraceID{9, g.traces}
	return func() { g.trace, g.root = trace, root }
}

// remote is an agent that a tool runs in a trace of its own: a link or the conversation says for whom.
func (g *generator) remote(tool int, whose string, depth int) {
	from := g.facts[tool].Place
	defer g.elsewhere()()
	root := g.add(Fact{Role: RolePlain}, SpanID{})
	g.root = g.facts[root].Span
	defer func(linked bool) { g.linked = linked }(g.linked)
	if g.linked = g.IntN(2) == 0; g.linked {
		g.facts[root].Links = []Place{from}
	}
	g.agent(g.root, whose, whose, depth)
	g.close(root)
}

// know lets one or both of two spans of a call report it.
func (g *generator) know(i, j int, v Vector) {
	switch g.IntN(3) {
	case 0:
		g.report(i, v)
	case 1:
		g.report(j, v)
	default:
		g.report(i, v)
		g.report(j, v)
		if g.IntN(2) == 0 { // one is blind to how input and output split
			blind := &g.facts[[]int{i, j}[g.IntN(2)]].Usage
			blind.Has &^= 1<<FieldCacheRead | 1<<FieldReasoning
			blind.N[FieldCacheRead], blind.N[FieldReasoning] = 0, 0
		}
	}
}

func (g *generator) tool(parent SpanID, whose string, depth int) (sum Vector, reported bool) {
	g.happened.tools++
	name := []string{"search", "lookup"}[g.IntN(2)]
	f := Fact{Role: RoleTool}
	f.Own.Slots[SlotTool] = name
	if g.IntN(2) == 0 {
		f.CallID = "call_" + string(rune('a'+g.happened.tools))
	}
	i := g.add(f, parent)
	at := g.facts[i].Span
	switch {
	case g.IntN(3) == 0: // its server's side
		f.Emitter, f.CallID = "server", ""
		j := g.add(f, at)
		g.close(j)
	case g.several && depth < 2 && g.IntN(2) == 0: // it runs one elsewhere
		g.remote(i, whose, depth+1)
	case depth < 2 && g.IntN(2) == 0: // it runs an agent
		before := len(g.happened.calls)
		sum = g.agent(at, whose, whose, depth+1)
		for _, c := range g.happened.calls[before:] {
			reported = reported || !c.silent
		}
	}
	g.close(i)
	return sum, reported
}

// together is what the facts of all traces mean.
func together(facts []Fact) Decision { return togetherBut(facts, 0) }

func togetherBut(facts []Fact, rules Rules) (all Decision) {
	w := NewWorld(facts)
	w.rules = rules
	for _, d := range w.Decide() {
		all.Events = append(all.Events, d.Events...)
		all.Spans = append(all.Spans, d.Spans...)
	}
	slices.SortFunc(all.Events, func(a, b Planned) int { return strings.Compare(a.Event.ID, b.Event.ID) })
	return all
}

// shuffled is the facts in another order, some of them twice.
func (g *generator) shuffled() []Fact {
	facts := slices.Clone(g.facts)
	for range g.IntN(len(facts) + 1) {
		facts = append(facts, facts[g.IntN(len(facts))])
	}
	g.Shuffle(len(facts), func(i, j int) { facts[i], facts[j] = facts[j], facts[i] })
	return facts
}
