package attribution

import (
	"slices"
	"strings"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// VerdictKind is what a span turned out to be.
type VerdictKind string

const (
	VerdictPlain     VerdictKind = "plain"
	VerdictCall      VerdictKind = "call"      // counted: a model call
	VerdictDouble    VerdictKind = "double"    // the same thing as another span
	VerdictWrapper   VerdictKind = "wrapper"   // a sum of what is counted elsewhere
	VerdictAggregate VerdictKind = "aggregate" // counted: a sum that is the only carrier
	VerdictFailed    VerdictKind = "failed"    // an attempt that was not served
	VerdictTool      VerdictKind = "tool"      // counted
	VerdictAgent     VerdictKind = "agent"     // counted
	VerdictRetrieval VerdictKind = "retrieval" // counted
	VerdictMemory    VerdictKind = "memory"    // counted
	VerdictNever     VerdictKind = "never"     // looks like usage and is none
)

// Verdict says what a span is and why.
type Verdict struct {
	Kind   VerdictKind
	Of     SpanID // of a double: the span that is counted
	Reason string
}

// Planned is an event that a trace means, and the spans that it stands for.
type Planned struct {
	Event   usage.Event
	Start   usage.Micros
	Members []SpanID // the first is the event's own
	Reading *Reading // of calls
	Origins map[string]Origin
}

// Judged is a span of a decision.
type Judged struct {
	Fact    *Fact
	Depth   int
	Verdict Verdict
}

// Tally is what a decision adds to metrics.
type Tally struct {
	Calls         map[string]int // by dialect
	Doubles       int
	Wrappers      int
	Aggregates    int
	UsageMissing  int
	Unattributed  int
	Unknown       int
	Sampled       int
	Invalid       int
	Failed        int
	WrapperExcess int64 // tokens by which wrappers and the calls below them disagree
}

// Decision is what a trace means.
type Decision struct {
	Spans  []Judged // in preorder
	Events []Planned
	Tally  Tally
}

// Decide works out what the facts of one trace mean. It depends on the set of facts alone, not on their order or copies.
func Decide(facts []Fact, near Neighbours) Decision { return decide(facts, near, 0) }

func decide(facts []Fact, near Neighbours, rules Rules) Decision {
	if len(facts) == 0 {
		return Decision{}
	}
	t := newTree(facts, rules)
	c := newCalls(t)
	o := newOwner(t, near)
	d := &decider{calls: c, owner: o}
	d.Tally.Calls = map[string]int{}
	for _, g := range c.groups {
		d.call(g)
	}
	for _, i := range c.sums {
		d.sum(i)
	}
	d.counted(c.tools(), VerdictTool, usage.MeterToolCalls)
	d.counted(c.once(RoleRetrieval, func(*Fact, *Fact) bool { return true }), VerdictRetrieval, usage.MeterRetrievals)
	d.counted(c.once(RoleMemory, func(f, g *Fact) bool { return f.Operation == g.Operation }), VerdictMemory, usage.MeterMemoryOps)
	d.agents(c.agents())
	d.Tally.WrapperExcess = c.excess
	return d.finish()
}

// Identify resolves who a span of a trace is for and which run it belongs to, for another trace that links to it.
func Identify(facts []Fact, span SpanID, near Neighbours) (Linked, bool) {
	if len(facts) == 0 {
		return Linked{}, false
	}
	t := newTree(facts, 0)
	i, ok := t.index[span]
	if !ok {
		return Linked{}, false
	}
	r := newOwner(t, near).resolve([]int{i})
	l := Linked{Run: r.run}
	for _, s := range [...]Slot{SlotCustomer, SlotUser, SlotSession, SlotConversation, SlotFeature} {
		l.Identity.Slots[s] = r.values[s]
	}
	l.Identity.Extra = r.extra
	return l, true
}

type decider struct {
	*calls
	owner  *owner
	silent []int // by preorder: calls without tokens before
	Decision
}

func (d *decider) node(i int) *node { return &d.nodes[i] }

func (d *decider) event(members []int, counts string, lines ...usage.Line) *Planned {
	f := d.node(members[0]).Fact
	r := d.owner.resolve(members)
	p := Planned{Start: f.Start, Origins: map[string]Origin{}}
	for _, m := range members {
		p.Members = append(p.Members, d.node(m).Span)
	}
	p.Event = usage.Event{
		ID: usage.SpanEventID(f.Trace.String(), f.Span.String(), counts), Kind: usage.KindUsage, Timestamp: max(0, f.End),
		Customer: r.values[SlotCustomer], UserID: r.values[SlotUser], SessionID: r.values[SlotSession], ConversationID: r.values[SlotConversation],
		Feature: r.values[SlotFeature], Step: r.values[SlotStep], Agent: r.values[SlotAgent],
		TraceID: f.Trace.String(), SpanID: f.Span.String(), RunID: r.run,
		Operation: operation(f), Provider: d.provider(members), Model: d.model(members), Source: usage.SourceSpan, Service: f.Service, Lines: lines,
		Dimensions: r.extra,
	}
	if f.Trace == (TraceID{}) {
		p.Event.TraceID = ""
	}
	if f.is(TraitLog) {
		p.Event.Source = SourceLog
	}
	for name, slot := range SlotNames {
		p.Origins[name] = r.origins[slot]
	}
	e := &p.Event
	for _, m := range members {
		f := d.node(m).Fact
		if f.is(TraitSampled) {
			e.AddFlag(usage.FlagSampled)
		}
		if f.ReportedCost != "" && !slices.ContainsFunc(e.Dimensions, func(d usage.Dimension) bool { return d.Key == "reported_cost" }) {
			e.AddFlag(usage.FlagReported)
			e.Dimensions = append(e.Dimensions, usage.Dimension{Key: "reported_cost", Value: f.ReportedCost}, usage.Dimension{Key: "reported_currency", Value: f.CostCurrency})
		}
	}
	e.Normalize()
	if e.Customer == usage.Unattributed {
		d.Tally.Unattributed++
	}
	if slices.Contains(e.Flags, usage.FlagSampled) {
		d.Tally.Sampled++
	}
	d.Events = append(d.Events, p)
	return &d.Events[len(d.Events)-1]
}

func (d *decider) call(g *group) {
	first := g.members[0]
	span := d.node(first).Span
	switch {
	case g.dropped != "":
		d.verdict[first] = Verdict{Kind: VerdictWrapper, Reason: g.dropped}
		d.Tally.Wrappers++
		return
	case g.failed:
		for _, m := range g.members {
			d.verdict[m] = Verdict{Kind: VerdictFailed, Reason: "refused, and nothing of a response is there"}
		}
		d.Tally.Failed++
		return
	}
	lines := []usage.Line{{Meter: usage.MeterLLMRequests, Quantity: usage.Units(1)}}
	p := d.event(g.members, usage.MeterLLMRequests, append(lines, tokenLines(g.reading.Vector)...)...)
	p.Reading = &g.reading
	e := &p.Event
	reason := "a model call that reports its tokens"
	switch {
	case g.adopted >= 0:
		e.AddFlag(usage.FlagAggregate)
		reason = "a model call whose tokens only a span around it reports"
		d.Tally.Aggregates++
	case !g.usage || g.reading.Vector.zero():
		e.AddFlag(usage.FlagUsageMissing)
		reason = "a model call whose tokens nobody reports"
		d.Tally.UsageMissing++
	}
	errors := true
	for _, m := range g.members {
		errors = errors && d.node(m).is(TraitError)
	}
	if errors {
		e.AddFlag(usage.FlagError)
	}
	if d.node(first).is(TraitUnknown) {
		e.AddFlag(usage.FlagUnknownDialect)
		d.Tally.Unknown++
	}
	d.Tally.Calls[d.node(first).Dialect]++
	d.verdict[first] = Verdict{Kind: VerdictCall, Reason: reason}
	for _, m := range g.members[1:] {
		d.verdict[m] = Verdict{Kind: VerdictDouble, Of: span, Reason: "the same call, seen by " + or(d.node(m).Emitter, "another instrumentation")}
		d.Tally.Doubles++
	}
}

// sum counts a wrapper that is the only carrier of its calls' tokens.
func (d *decider) sum(i int) {
	f := d.node(i).Fact
	reading := f.read(d.rules)
	lines := tokenLines(reading.Vector)
	if d.silentBelow(i) == 0 { // calls below count themselves, without tokens
		lines = append(lines, usage.Line{Meter: usage.MeterLLMRequests, Quantity: usage.Units(1)})
	}
	p := d.event([]int{i}, "aggregate", lines...)
	p.Reading = &reading
	p.Event.AddFlag(usage.FlagAggregate)
	p.Event.Operation = "chat"
	d.Tally.Aggregates++
}

// silentBelow is how many calls without tokens are in a subtree.
func (d *decider) silentBelow(i int) int {
	if d.silent == nil {
		d.silent = make([]int, len(d.pre)+1)
		for _, g := range d.groups {
			if !g.usage && !g.failed {
				d.silent[d.node(g.members[0]).order+1]++
			}
		}
		for k := range d.pre {
			d.silent[k+1] += d.silent[k]
		}
	}
	return d.silent[d.node(i).last+1] - d.silent[d.node(i).order]
}

func (d *decider) counted(c counts, kind VerdictKind, meter string) {
	members := c.members()
	for _, i := range c.first {
		p := d.event(members[i], meter, usage.Line{Meter: meter, Quantity: usage.Units(1)})
		f := d.node(i).Fact
		if kind == VerdictTool {
			for _, m := range members[i] {
				if name := d.node(m).Own.Slots[SlotTool]; name != "" && (p.Event.Step == "" || p.Event.Step == f.Name || d.node(m).Own.Slots[SlotTool] != d.node(m).Name) {
					p.Event.Step = name
					break
				}
			}
		}
		if f.is(TraitError) {
			p.Event.AddFlag(usage.FlagError)
		}
		d.settle(i, kind, members[i])
	}
}

func (d *decider) settle(i int, kind VerdictKind, members []int) {
	if d.verdict[i].Kind == "" || kind != VerdictAgent {
		d.verdict[i] = Verdict{Kind: kind, Reason: "counted once"}
	}
	for _, m := range members[1:] {
		if d.verdict[m].Kind == "" {
			d.verdict[m] = Verdict{Kind: VerdictDouble, Of: d.node(i).Span, Reason: "the same, seen by " + or(d.node(m).Emitter, "another span")}
		}
		d.Tally.Doubles++
	}
}

func (o *counts) members() map[int][]int {
	members := map[int][]int{}
	for _, i := range o.first {
		members[i] = []int{i}
	}
	doubles := make([]int, 0, len(o.of))
	for i := range o.of {
		doubles = append(doubles, i)
	}
	slices.Sort(doubles)
	for _, i := range doubles {
		root := o.root(i)
		members[root] = append(members[root], i)
	}
	return members
}

func (d *decider) agents(c counts) {
	members := c.members()
	for _, i := range c.first {
		f := d.node(i).Fact
		seconds := usage.Quantity(max(0, f.End-f.Start)) // microseconds are millionths of a second
		p := d.event(members[i], usage.MeterAgentRuns, usage.Line{Meter: usage.MeterAgentRuns, Quantity: usage.Units(1)}, usage.Line{Meter: usage.MeterAgentSeconds, Quantity: seconds})
		if seconds == 0 {
			p.Event.Lines = p.Event.Lines[:1]
		}
		p.Event.Operation = "invoke_agent"
		if f.is(TraitError) {
			p.Event.AddFlag(usage.FlagError)
		}
		above := d.node(i).parent
		if above >= 0 && d.owner.agent[above] >= 0 || p.Event.RunID != p.Event.TraceID {
			p.Event.AddFlag(usage.FlagSubAgent)
		}
		d.settle(i, VerdictAgent, members[i])
	}
}

func tokenLines(v Vector) (lines []usage.Line) {
	for b, n := range v {
		if n > 0 {
			lines = append(lines, usage.Line{Meter: bucketMeters[b], Quantity: usage.Units(min(n, maxTokens))})
		}
	}
	return lines
}

func (d *decider) finish() Decision {
	for _, i := range d.pre {
		v := d.verdict[i]
		if v.Kind == "" {
			v.Kind = VerdictPlain
			if d.node(i).Role == RoleNever {
				v = Verdict{Kind: VerdictNever, Reason: "the dialect " + d.node(i).Dialect + " says that this is no usage"}
			}
		}
		if v.Kind == VerdictWrapper {
			d.Tally.Wrappers++
		}
		if d.node(i).is(TraitInvalid) {
			d.Tally.Invalid++
		}
		d.Spans = append(d.Spans, Judged{Fact: d.node(i).Fact, Depth: d.node(i).depth, Verdict: v})
	}
	slices.SortFunc(d.Events, func(a, b Planned) int { return strings.Compare(a.Event.ID, b.Event.ID) })
	return d.Decision
}

// SourceLog is the source of events that only log records tell of.
const SourceLog = "log"

// operations are the conventions' names; others stand for one of them.
var operations = []string{"chat", "generate_content", "text_completion", "embeddings", "retrieval", "execute_tool", "invoke_agent"}

func operation(f *Fact) string {
	if slices.Contains(operations, f.Operation) || strings.HasSuffix(f.Operation, "_memory") || strings.HasSuffix(f.Operation, "_memory_store") {
		return f.Operation
	}
	switch f.Role {
	case RoleCall:
		return "chat"
	case RoleEmbedding:
		return "embeddings"
	case RoleTool:
		return "execute_tool"
	case RoleRetrieval:
		return "retrieval"
	case RoleAgent:
		return "invoke_agent"
	}
	return f.Operation
}

func (d *decider) model(members []int) string {
	byRank := slices.Clone(members)
	slices.SortStableFunc(byRank, func(a, b int) int { return int(d.node(b).Rank) - int(d.node(a).Rank) })
	for _, m := range byRank {
		if model := d.node(m).Model; model != "" {
			return model
		}
	}
	for _, m := range byRank {
		if model := d.node(m).Requested; model != "" {
			return model
		}
	}
	return ""
}

func (d *decider) provider(members []int) string {
	first := ""
	for _, m := range members {
		p := canonicalProvider(d.node(m).Provider)
		if slices.Contains(providers, p) {
			return p
		}
		if first == "" {
			first = p
		}
	}
	if model := d.model(members); model != "" && d.node(members[0]).Role != RoleTool {
		if p := providerOf(model); p != "" {
			return p
		}
	}
	return first
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
