package attribution

import (
	"encoding/binary"
	"slices"
	"strings"

	"github.com/zeebo/xxh3"

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
	Of     SpanID  // of a double: the span that is counted
	In     TraceID // where that is, if it is another trace
	Reason string
}

// Planned is an event that a trace means, and the spans that it stands for.
type Planned struct {
	Event   usage.Event
	Start   usage.Micros
	Members []SpanID // the first is the event's own
	Reading *Reading // of calls
	origins [numSlots]Origin
}

// Origin says where the value of a dimension of identity came from, by its name in SlotNames.
func (p *Planned) Origin(name string) Origin { return p.origins[SlotNames[name]] }

// Judged is a span of a decision.
type Judged struct {
	Fact    *Fact
	Depth   int
	Verdict Verdict
}

// Decision is what a trace means.
type Decision struct {
	Spans  []Judged // in preorder
	Events []Planned
	Tally  Tally

	owner *owner
	told  []telling
}

// Decide works out what the facts of one trace mean. It depends on the set of facts alone, not on their order or copies.
// near tells of other traces; nil knows none.
func Decide(facts []Fact, near Others) Decision { return decide(facts, near, 0) }

func decide(facts []Fact, near Others, rules Rules) Decision {
	if len(facts) == 0 {
		return Decision{}
	}
	t := newTree(facts, rules)
	c := newCalls(t)
	o := newOwner(t, near)
	tools := c.tools()
	d := &decider{calls: c, abroad: newElsewhere(c, o), Decision: Decision{owner: o}}
	d.Events = make([]Planned, 0, len(c.groups)+len(c.sums)+c.others())
	d.Tally.Calls = map[string]int{}
	for _, g := range c.groups {
		d.abroad.call(g)
	}
	toolMembers := tools.members()
	for _, i := range tools.first {
		d.abroad.tool(toolMembers[i])
	}
	d.abroad.look()
	o.doubles = d.abroad.doubles
	for _, g := range c.groups {
		d.call(g)
	}
	for _, i := range c.sums {
		d.sum(i)
	}
	d.counted(tools, VerdictTool, usage.MeterToolCalls)
	d.counted(c.once(RoleRetrieval, func(*Fact, *Fact) bool { return true }), VerdictRetrieval, usage.MeterRetrievals)
	d.counted(c.once(RoleMemory, func(f, g *Fact) bool { return f.Operation == g.Operation }), VerdictMemory, usage.MeterMemoryOps)
	d.agents(c.agents())
	d.Tally.WrapperExcess = c.excess
	return d.finish()
}

// Identify resolves who a span of a trace is for and which run it belongs to, for another trace that links to it.
func Identify(facts []Fact, span SpanID, near Others) (Linked, bool) {
	if len(facts) == 0 {
		return Linked{}, false
	}
	t := newTree(facts, 0)
	i, ok := t.index[span]
	if !ok {
		return Linked{}, false
	}
	return newOwner(t, near).shown(i), true
}

// shown is what another trace can see of a span.
func (o *owner) shown(i int) Linked {
	members := []int{i}
	r := o.resolve(members)
	l := Linked{Run: r.run, Fact: o.nodes[i].Fact}
	for _, s := range [...]Slot{SlotCustomer, SlotUser, SlotSession, SlotConversation, SlotFeature} {
		l.Identity.Slots[s] = r.values[s]
		if v, origin := o.said(members, s); origin != FromResource {
			l.Said.Slots[s] = v
		}
	}
	l.Identity.Extra = r.extra
	for _, key := range keysOf(o.extraAt) {
		if v := o.extraSaid(members, key); v != "" {
			l.Said.Extra = append(l.Said.Extra, usage.Dimension{Key: key, Value: v})
		}
	}
	return l
}

// digest is of all that another trace can see of a span.
func (l *Linked) digest() uint64 {
	return xxh3.Hash(l.Said.append(l.Identity.append(appendText(nil, l.Run))))
}

// Shown is a digest of what other traces can see of this one's spans, by links.
func (d *Decision) Shown() uint64 {
	if d.owner == nil {
		return 0
	}
	var b []byte
	for i := range d.owner.nodes {
		l := d.owner.shown(i)
		b = binary.LittleEndian.AppendUint64(append(b, d.owner.nodes[i].Span[:]...), l.digest())
	}
	return xxh3.Hash(b) | 1
}

// Notes are what this trace tells others, in their order.
func (d *Decision) Notes() []Note {
	if d.owner == nil {
		return nil
	}
	notes := d.owner.conversationNotes()
	for i := range d.told {
		n := &d.told[i]
		var seen uint64
		if n.known {
			l := d.owner.shown(n.node)
			seen = l.digest()
		}
		n.Value = n.encode(seen)
		notes = append(notes, n.Note)
	}
	slices.SortFunc(notes, func(a, b Note) int { return a.Compare(&b) })
	return notes
}

type decider struct {
	*calls
	abroad *elsewhere
	silent []int // by preorder: calls without tokens before
	Decision
}

// others are spans that are counted and no calls, doubles included.
func (c *calls) others() (n int) {
	for i := range c.nodes {
		switch c.nodes[i].Role {
		case RoleTool, RoleRetrieval, RoleMemory, RoleAgent:
			n++
		}
	}
	return n
}

func (d *decider) node(i int) *node { return &d.nodes[i] }

func (d *decider) event(members []int, counts string, lines ...usage.Line) *Planned {
	f := d.node(members[0]).Fact
	r := d.owner.resolve(members)
	p := Planned{Start: f.Start, origins: r.origins, Members: make([]SpanID, 0, len(members))}
	for _, m := range members {
		p.Members = append(p.Members, d.node(m).Span)
	}
	trace, span := d.traceOf(members[0]), f.Span.String()
	p.Event = usage.Event{
		ID: usage.SpanEventID(trace, span, counts), Kind: usage.KindUsage, Timestamp: max(0, f.End),
		Customer: r.values[SlotCustomer], UserID: r.values[SlotUser], SessionID: r.values[SlotSession], ConversationID: r.values[SlotConversation],
		Feature: r.values[SlotFeature], Step: r.values[SlotStep], Agent: r.values[SlotAgent],
		TraceID: trace, SpanID: span, RunID: r.run,
		Operation: operation(f), Provider: d.provider(members), Model: d.model(members), Source: usage.SourceSpan, Service: f.Service, Lines: lines,
		Dimensions: r.extra,
	}
	if f.Trace == (TraceID{}) {
		p.Event.TraceID = ""
	}
	if f.is(TraitLog) {
		p.Event.Source = SourceLog
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
		if f.Refused != "" && !slices.ContainsFunc(e.Dimensions, func(d usage.Dimension) bool { return d.Key == usage.DimensionRefused }) {
			e.AddFlag(usage.FlagRefusedNumbers)
			e.Dimensions = append(e.Dimensions, usage.Dimension{Key: usage.DimensionRefused, Value: f.Refused})
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
	if d.elsewhere(g.members) {
		return
	}
	d.join(g)
	p := d.event(g.members, usage.MeterLLMRequests, tokenLines(g.reading.Vector, usage.Line{Meter: usage.MeterLLMRequests, Quantity: usage.Units(1)})...)
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

// elsewhere says whether spans, which are one thing, are counted in another trace.
func (d *decider) elsewhere(members []int) bool {
	place, ok := d.abroad.counted[members[0]]
	if !ok {
		return false
	}
	for _, m := range members {
		d.verdict[m] = Verdict{Kind: VerdictDouble, Of: place.Span, In: place.Trace, Reason: "the same, told in trace " + place.Trace.String() + ", where it is counted"}
	}
	d.Tally.Doubles += len(members)
	return true
}

// join takes the split of a call's numbers from its doubles in other traces, where this one has none.
func (d *decider) join(g *group) {
	for _, place := range d.abroad.doubles[g.members[0]] {
		if l := d.owner.neighbour(place); l != nil && l.Fact.reports() && !d.rules.off(RuleRicher) {
			g.reading.enrich(l.Fact.read(d.rules))
		}
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
		if d.elsewhere(members[i]) {
			continue
		}
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
	if len(o.first) == 0 {
		return nil
	}
	members := make(map[int][]int, len(o.first))
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

func tokenLines(v Vector, others ...usage.Line) (lines []usage.Line) {
	lines = append(make([]usage.Line, 0, len(others)+4), others...)
	for b, n := range v {
		if n > 0 {
			lines = append(lines, usage.Line{Meter: bucketMeters[b], Quantity: usage.Units(min(n, maxTokens))})
		}
	}
	return lines
}

func (d *decider) finish() Decision {
	d.Spans = make([]Judged, 0, len(d.pre))
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
	d.told = d.abroad.notes
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
