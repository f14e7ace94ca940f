package attribution

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// option says something of a span in a scenario.
type option func(*Fact)

// span is a span of a scenario: ids are small numbers, parent 0 is none, times are milliseconds.
func span(id, parent byte, role Role, from, to int64, options ...option) Fact {
	f := Fact{Place: Place{TraceID{1}, SpanID{id}}, Role: role, Start: usage.Micros(from * 1000), End: usage.Micros(to * 1000), Emitter: "framework", Rank: 50, Name: "s"}
	if parent != 0 {
		f.Parent = SpanID{parent}
	}
	if role.isCall() {
		f.Model, f.Traits = "gpt-4o", TraitServed
	}
	for _, o := range options {
		o(&f)
	}
	return f
}

func in(n int64) option        { return func(f *Fact) { f.Usage.set(FieldInput, n) } }
func out(n int64) option       { return func(f *Fact) { f.Usage.set(FieldOutput, n) } }
func total(n int64) option     { return func(f *Fact) { f.Usage.set(FieldTotal, n) } }
func read(n int64) option      { return func(f *Fact) { f.Usage.set(FieldCacheRead, n) } }
func reasoned(n int64) option  { return func(f *Fact) { f.Usage.set(FieldReasoning, n) } }
func trait(t Trait) option     { return func(f *Fact) { f.Traits |= t } }
func callID(id string) option  { return func(f *Fact) { f.CallID = id } }
func answer(id string) option  { return func(f *Fact) { f.ResponseID = id } }
func link(p Place) option      { return func(f *Fact) { f.Links = append(f.Links, p) } }
func tool(name string) option  { return own(SlotTool, name) }
func agent(name string) option { return own(SlotAgent, name) }

func spanName(n string) option { return func(f *Fact) { f.Name = n } }

func own(s Slot, v string) option { return func(f *Fact) { f.Own.Slots[s] = v } }

func emitter(name string, rank uint8) option {
	return func(f *Fact) { f.Emitter, f.Rank = name, rank }
}

var (
	sdk     = emitter("sdk", 80)
	refused = func(f *Fact) {
		f.Traits = f.Traits&^TraitServed | TraitError | TraitRefused
		f.Model, f.Requested = "", "gpt-4o"
	}
	customer = func(id string) option { return own(SlotCustomer, id) }
)

// inShort is the events of a decision in short, one a line.
func inShort(d Decision) string {
	var lines []string
	for _, p := range d.Events {
		e := &p.Event
		meters := map[string]string{}
		for _, l := range e.Lines {
			if l.Meter != usage.MeterAgentSeconds {
				meters[strings.TrimPrefix(strings.TrimPrefix(l.Meter, "llm_tokens_"), "llm_")] = l.Quantity.String()
			}
		}
		var parts []string
		for _, m := range slices.Sorted(maps.Keys(meters)) {
			parts = append(parts, m+"="+meters[m])
		}
		line := fmt.Sprintf("%d %s", p.Members[0][0], strings.Join(parts, " "))
		if !strings.HasPrefix(e.TraceID, "01") {
			line = e.TraceID[1:2] + "/" + line
		}
		if e.Customer != usage.Unattributed {
			line += " of " + e.Customer
		}
		if len(e.Flags) > 0 {
			line += " (" + strings.Join(e.Flags, " ") + ")"
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return strings.Join(lines, "; ")
}

// traps are those of the field: what a trace looks like, what it means, and the rule without which it would mean something else.
var traps = []struct {
	name  string
	rule  Rules
	facts []Fact
	want  string
}{
	{
		name: "an agent carries the sum of the calls below it", rule: RuleWrapper,
		facts: []Fact{
			span(1, 0, RoleWrapper, 0, 100, in(300), out(30)),
			span(2, 1, RoleCall, 10, 20, in(100), out(10)), span(3, 1, RoleCall, 30, 40, in(200), out(20)),
		},
		want: "2 in=100 out=10 requests=1; 3 in=200 out=20 requests=1",
	},
	{
		name: "the sum is the only carrier", rule: RuleAggregate,
		facts: []Fact{span(1, 0, RoleWrapper, 0, 100, in(300), out(30)), span(2, 1, RoleWrapper, 0, 100, in(300), out(30))},
		want:  "2 in=300 out=30 requests=1 (aggregate)",
	},
	{
		name: "the sum is wrong and its residual is not billed", rule: RuleWrapper,
		facts: []Fact{span(1, 0, RoleWrapper, 0, 100, in(9000), out(900)), span(2, 1, RoleCall, 10, 20, in(100), out(10))},
		want:  "2 in=100 out=10 requests=1",
	},
	{
		name: "a framework's span around the provider SDK's span of the same call", rule: RuleNested,
		facts: []Fact{
			span(1, 0, RoleCall, 0, 100, in(100), out(10)), span(2, 1, RoleCall, 10, 90, in(100), out(10), sdk),
			span(3, 0, RoleCall, 200, 300), span(4, 3, RoleCall, 210, 290, in(7), out(5), sdk),
		},
		want: "2 in=100 out=10 requests=1; 4 in=7 out=5 requests=1",
	},
	{
		name: "the outer span is blind to the cache: the richer vector is kept", rule: RuleRicher,
		facts: []Fact{span(1, 0, RoleCall, 0, 100, in(100), out(10), read(40)), span(2, 1, RoleCall, 10, 90, in(100), out(10), sdk)},
		want:  "2 cache_read=40 in=60 out=10 requests=1",
	},
	{
		name: "doubles beside each other, because callbacks activate no context", rule: RuleSiblings,
		facts: []Fact{
			span(1, 0, RolePlain, 0, 200), span(2, 1, RoleWrapper, 0, 100),
			span(3, 2, RoleCall, 10, 90, in(100), out(10)), span(4, 1, RoleCall, 12, 88, in(100), out(10), sdk),
		},
		want: "4 in=100 out=10 requests=1",
	},
	{
		name: "a double beside the call that knows no tokens", rule: RuleSiblings,
		facts: []Fact{span(1, 0, RolePlain, 0, 200), span(3, 1, RoleCall, 10, 90, in(100), out(10)), span(4, 1, RoleCall, 12, 88, sdk)},
		want:  "3 in=100 out=10 requests=1",
	},
	{
		name: "two calls of one instrumentation at the same time with the same tokens", rule: RuleEmitter,
		facts: []Fact{span(1, 0, RolePlain, 0, 200), span(3, 1, RoleCall, 10, 90, in(100), out(10)), span(4, 1, RoleCall, 12, 88, in(100), out(10))},
		want:  "3 in=100 out=10 requests=1; 4 in=100 out=10 requests=1",
	},
	{
		name: "two calls with the same tokens, one after the other, of two instrumentations", rule: RuleOverlap,
		facts: []Fact{span(1, 0, RolePlain, 0, 300), span(3, 1, RoleCall, 10, 90, in(100), out(10)), span(4, 1, RoleCall, 120, 188, in(100), out(10), sdk)},
		want:  "3 in=100 out=10 requests=1; 4 in=100 out=10 requests=1",
	},
	{
		name: "the spans of a call disagree: the provider SDK's number is kept", rule: RuleRank,
		facts: []Fact{span(1, 0, RoleCall, 0, 100, in(100), out(10), sdk), span(2, 1, RoleCall, 10, 90, in(100), out(11))},
		want:  "1 in=100 out=10 requests=1",
	},
	{
		name: "estimated tokens give way to reported ones", rule: RuleEstimated,
		facts: []Fact{span(1, 0, RoleCall, 0, 100, in(100), out(10)), span(2, 1, RoleCall, 10, 90, in(16), out(36), sdk, trait(TraitEstimated))},
		want:  "1 in=100 out=10 requests=1",
	},
	{
		name: "a response id of another call proves nothing",
		facts: []Fact{
			span(1, 0, RolePlain, 0, 300), span(3, 1, RoleCall, 10, 90, in(100), out(10), answer("r1")),
			span(4, 1, RoleCall, 20, 188, in(700), out(70), answer("r1"), sdk),
		},
		want: "3 in=100 out=10 requests=1; 4 in=700 out=70 requests=1",
	},
	{
		name: "usage decides, not status",
		facts: []Fact{
			span(1, 0, RolePlain, 0, 300), span(2, 1, RoleCall, 10, 90, in(100), out(10), trait(TraitError)),
			span(3, 1, RoleCall, 100, 110),
		},
		want: "2 in=100 out=10 requests=1 (error); 3 requests=1 (usage_missing)",
	},
	{
		name: "attempts that were refused count nothing, the one that was served counts", rule: RuleFailed,
		facts: []Fact{
			span(1, 0, RoleWrapper, 0, 300, in(100), out(10)), span(2, 1, RoleCall, 10, 20, refused),
			span(3, 1, RoleCall, 30, 40, refused), span(4, 1, RoleCall, 50, 90, in(100), out(10)),
		},
		want: "4 in=100 out=10 requests=1",
	},
	{
		name: "each attempt that has usage is a call",
		facts: []Fact{
			span(1, 0, RolePlain, 0, 300), span(2, 1, RoleCall, 10, 20, in(100), out(3), trait(TraitError)), span(3, 1, RoleCall, 30, 40, in(100), out(10)),
		},
		want: "2 in=100 out=3 requests=1 (error); 3 in=100 out=10 requests=1",
	},
	{
		name:  "a stream without usage is counted without tokens",
		facts: []Fact{span(1, 0, RolePlain, 0, 300), span(2, 1, RoleCall, 10, 20), span(3, 1, RoleCall, 30, 40, in(0), out(0))},
		want:  "2 requests=1 (usage_missing); 3 requests=1 (usage_missing)",
	},
	{
		name: "a call below a tool is not the call around it",
		facts: []Fact{
			span(1, 0, RoleCall, 0, 300, in(100), out(10)), span(2, 1, RoleTool, 10, 90, tool("research")),
			span(3, 2, RoleCall, 20, 80, in(500), out(50)),
		},
		want: "1 in=100 out=10 requests=1; 2 tool_calls=1; 3 in=500 out=50 requests=1",
	},
	{
		name: "a span that took in another call's numbers around calls of its own instrumentation", rule: RuleOwnAnswer,
		facts: []Fact{
			span(1, 0, RoleCall, 0, 300, in(150), out(15)), span(2, 1, RoleCall, 10, 20, in(100), out(10)), span(3, 1, RoleCall, 30, 40, in(200), out(20)),
		},
		want: "1 in=150 out=15 requests=1; 2 in=100 out=10 requests=1; 3 in=200 out=20 requests=1",
	},
	{
		name: "a total proves that the cache is outside", rule: RuleTotals,
		facts: []Fact{span(1, 0, RoleCall, 0, 9, in(100), out(10), read(40), total(150))},
		want:  "1 cache_read=40 in=100 out=10 requests=1",
	},
	{
		name: "more cache than input proves that it is outside", rule: RuleCacheBeyondInput,
		facts: []Fact{span(1, 0, RoleCall, 0, 9, in(100), out(10), read(400))},
		want:  "1 cache_read=400 in=100 out=10 requests=1",
	},
	{
		name: "nothing proves where the cache is: the dialect's rule", rule: RuleDialectInclusion,
		facts: []Fact{span(1, 0, RoleCall, 0, 9, in(100), out(10), read(40), trait(TraitCacheOutside))},
		want:  "1 cache_read=40 in=100 out=10 requests=1",
	},
	{
		name: "a total proves that reasoning is outside", rule: RuleTotals,
		facts: []Fact{span(1, 0, RoleCall, 0, 9, in(100), out(10), reasoned(7), total(117))},
		want:  "1 in=100 out=10 reasoning=7 requests=1",
	},
	{
		name: "a total proves that reasoning is inside, whatever the dialect says", rule: RuleTotals,
		facts: []Fact{span(1, 0, RoleCall, 0, 9, in(100), out(10), reasoned(7), total(110), trait(TraitThoughtOutside))},
		want:  "1 in=100 out=3 reasoning=7 requests=1",
	},
	{
		name: "one tool call under one call id, whoever tells of it", rule: RuleToolCallID,
		facts: []Fact{
			span(1, 0, RolePlain, 0, 300), span(2, 1, RoleTool, 10, 90, tool("a"), callID("c1")), span(3, 1, RoleTool, 100, 190, tool("b"), callID("c1"), sdk),
		},
		want: "2 tool_calls=1",
	},
	{
		name: "both ends of an MCP call, and a tool as two nested spans", rule: RuleNestedTool,
		facts: []Fact{
			span(1, 0, RolePlain, 0, 300), span(2, 1, RoleTool, 10, 90, tool("look")), span(3, 2, RoleTool, 20, 80, tool("look"), emitter("mcp server", 50)),
			span(4, 1, RoleTool, 100, 190, tool("look")), span(5, 4, RoleTool, 110, 180, tool("look")),
		},
		want: "2 tool_calls=1; 4 tool_calls=1",
	},
	{
		name: "a sub-agent's sum is not in its parent's", rule: 0,
		facts: []Fact{
			span(1, 0, RoleAgent, 0, 300, in(100), out(10), trait(TraitOwnSum), agent("boss")), span(2, 1, RoleTool, 10, 90, tool("delegate")),
			span(3, 2, RoleAgent, 20, 80, in(500), out(50), trait(TraitOwnSum), agent("worker")),
		},
		want: "1 agent_runs=1; 1 in=100 out=10 requests=1 (aggregate); 2 tool_calls=1; 3 agent_runs=1 (sub_agent); 3 in=500 out=50 requests=1 (aggregate)",
	},
	{
		name: "a call whose parent is missing may be in a sum that is there", rule: RuleOrphans,
		facts: []Fact{span(1, 0, RoleWrapper, 0, 100, in(300), out(30)), span(3, 9, RoleCall, 30, 40, in(200), out(20))},
		want:  "3 in=200 out=20 requests=1",
	},
	{
		name: "a sum beside the calls of another instrumentation that are in it", rule: RuleStrays,
		facts: []Fact{
			span(1, 0, RolePlain, 0, 300), span(2, 1, RoleAgent, 0, 100, in(300), out(30)),
			span(3, 1, RoleCall, 10, 40, in(100), out(10), sdk), span(4, 1, RoleCall, 50, 90, in(200), out(20), sdk),
		},
		want: "2 agent_runs=1; 3 in=100 out=10 requests=1; 4 in=200 out=20 requests=1",
	},
	{
		name: "a tool asks an agent, which has a tool; spans alone name them",
		facts: []Fact{
			span(1, 0, RoleTool, 0, 100, tool("delegate"), spanName("delegate")), span(2, 1, RolePlain, 0, 90), span(3, 2, RoleTool, 10, 20, tool("search"), spanName("search")),
		},
		want: "1 tool_calls=1; 3 tool_calls=1",
	},
	{
		name: "two callbacks tell of one call, the second begins and ends late",
		facts: []Fact{
			span(1, 0, RolePlain, 0, 500), span(2, 1, RoleCall, 100, 260), span(3, 1, RoleCall, 130, 271, sdk),
			span(4, 1, RoleTool, 300, 460, tool("t")), span(5, 1, RoleTool, 330, 471, tool("t"), sdk),
		},
		want: "3 requests=1 (usage_missing); 4 tool_calls=1",
	},
	{
		name: "two calls of two emitters overlap by half: they are two",
		facts: []Fact{
			span(1, 0, RolePlain, 0, 500), span(2, 1, RoleCall, 100, 200), span(3, 1, RoleCall, 150, 250, sdk),
			span(4, 1, RoleTool, 300, 400, tool("t")), span(5, 1, RoleTool, 350, 450, tool("t"), sdk),
		},
		want: "2 requests=1 (usage_missing); 3 requests=1 (usage_missing); 4 tool_calls=1; 5 tool_calls=1",
	},
	{
		name: "embeddings below an agent are not in the sum of its answers",
		facts: []Fact{
			span(1, 0, RoleAgent, 0, 300, in(300), out(30)), span(2, 1, RoleEmbedding, 10, 20, in(7)),
		},
		want: "1 agent_runs=1; 1 in=300 out=30 requests=1 (aggregate); 2 in=7 requests=1",
	},
	{
		name: "two customers in one trace: the nearest ancestor decides", rule: RuleAncestor,
		facts: []Fact{
			span(1, 0, RolePlain, 0, 300), span(2, 1, RolePlain, 0, 90, customer("acme")), span(3, 2, RoleCall, 10, 20, in(1), out(1)),
			span(4, 1, RolePlain, 100, 190, customer("globex")), span(5, 4, RoleCall, 110, 120, in(1), out(1)),
		},
		want: "3 in=1 out=1 requests=1 of acme; 5 in=1 out=1 requests=1 of globex",
	},
	{
		name: "the customer stands on a span beside the call only", rule: RuleTraceValue,
		facts: []Fact{span(1, 0, RolePlain, 0, 300), span(2, 1, RolePlain, 0, 90, customer("acme")), span(3, 1, RoleCall, 100, 120, in(1), out(1))},
		want:  "3 in=1 out=1 requests=1 of acme",
	},
	{
		name: "the customer stands in the trace that a queue links to", rule: RuleLink,
		facts: slices.Concat(
			elsewhereIn(2, span(7, 0, RolePlain, 0, 300, customer("acme"))),
			[]Fact{span(1, 0, RolePlain, 0, 300, link(Place{TraceID{2}, SpanID{7}})), span(3, 1, RoleCall, 100, 120, in(1), out(1))},
		),
		want: "3 in=1 out=1 requests=1 of acme",
	},
	{
		name: "a sub-agent in a trace of its own, without a link: the conversation says whose it is", rule: RuleConversation,
		facts: slices.Concat(
			elsewhereIn(2, span(1, 0, RolePlain, 0, 300, customer("acme"), talk("c1"))),
			[]Fact{span(1, 0, RoleAgent, 10, 90, talk("c1"), agent("worker")), span(2, 1, RoleCall, 20, 80, in(1), out(1))},
		),
		want: "1 agent_runs=1 of acme; 2 in=1 out=1 requests=1 of acme",
	},
	{
		name: "a conversation's id that two customers use decides nothing",
		facts: slices.Concat(
			elsewhereIn(2, span(1, 0, RolePlain, 0, 300, customer("acme"), talk("1"))), elsewhereIn(3, span(1, 0, RolePlain, 0, 300, customer("globex"), talk("1"))),
			[]Fact{span(1, 0, RoleCall, 10, 90, in(1), out(1), talk("1"))},
		),
		want: "1 in=1 out=1 requests=1",
	},
	{
		name: "what a resource says of a conversation gives way to what a span says", rule: RuleConversation,
		facts: slices.Concat(
			elsewhereIn(2, span(1, 0, RolePlain, 0, 300, deployed("shared"), talk("c1"))), elsewhereIn(3, span(1, 0, RolePlain, 0, 300, customer("acme"), talk("c1"))),
			[]Fact{span(1, 0, RoleCall, 10, 90, in(1), out(1), talk("c1"), deployed("shared"))},
		),
		want: "1 in=1 out=1 requests=1 of acme",
	},
	{
		name: "a conversation joins no runs", rule: 0,
		facts: slices.Concat(elsewhereIn(2, span(1, 0, RoleAgent, 0, 300, talk("c1"), agent("a"))), []Fact{span(1, 0, RoleAgent, 10, 90, talk("c1"), agent("b"))}),
		want:  "1 agent_runs=1; 2/1 agent_runs=1",
	},
	{
		name: "an SDK and a gateway tell of one call in two traces that nothing connects", rule: RuleElsewhere,
		facts: slices.Concat(
			elsewhereIn(2, span(1, 0, RoleCall, 20, 80, in(100), out(10), read(40), answer("r1"), customer("acme"), emitter("gateway", 40))),
			[]Fact{span(1, 0, RoleCall, 10, 90, in(100), out(10), answer("r1"), sdk)},
		),
		want: "1 cache_read=40 in=60 out=10 requests=1 of acme",
	},
	{
		name: "a local server gives one id to all its answers: other times, other calls", rule: RuleOverlap,
		facts: slices.Concat(
			elsewhereIn(2, span(1, 0, RoleCall, 120, 180, in(100), out(10), answer("r1"), emitter("gateway", 40))),
			[]Fact{span(1, 0, RoleCall, 10, 90, in(100), out(10), answer("r1"), sdk)},
		),
		want: "1 in=100 out=10 requests=1; 2/1 in=100 out=10 requests=1",
	},
	{
		name: "the same, at one time: other tokens, other calls",
		facts: slices.Concat(
			elsewhereIn(2, span(1, 0, RoleCall, 20, 80, in(100), out(11), answer("r1"), emitter("gateway", 40))),
			[]Fact{span(1, 0, RoleCall, 10, 90, in(100), out(10), answer("r1"), sdk)},
		),
		want: "1 in=100 out=10 requests=1; 2/1 in=100 out=11 requests=1",
	},
	{
		name: "the same, with the same tokens: one instrumentation's spans are two calls", rule: RuleEmitter,
		facts: slices.Concat(
			elsewhereIn(2, span(1, 0, RoleCall, 20, 80, in(100), out(10), answer("r1"), sdk)),
			[]Fact{span(1, 0, RoleCall, 10, 90, in(100), out(10), answer("r1"), sdk)},
		),
		want: "1 in=100 out=10 requests=1; 2/1 in=100 out=10 requests=1",
	},
	{
		name: "the same, of two instrumentations: another model, another call",
		facts: slices.Concat(
			elsewhereIn(2, span(1, 0, RoleCall, 20, 80, in(100), out(10), answer("r1"), emitter("gateway", 40), modelled("claude-sonnet-4-5"))),
			[]Fact{span(1, 0, RoleCall, 10, 90, in(100), out(10), answer("r1"), sdk)},
		),
		want: "1 in=100 out=10 requests=1; 2/1 in=100 out=10 requests=1",
	},
	{
		name: "two calls at one time that an SDK and a gateway tell of each", rule: RuleElsewhere,
		facts: slices.Concat(
			elsewhereIn(2, span(1, 0, RoleCall, 20, 80, in(100), out(10), answer("r1"), emitter("gateway", 40))),
			elsewhereIn(3, span(1, 0, RoleCall, 30, 95, in(100), out(10), answer("r1"), emitter("gateway", 40))),
			[]Fact{
				span(1, 0, RolePlain, 0, 300), span(2, 1, RoleCall, 10, 90, in(100), out(10), answer("r1"), sdk),
				span(3, 1, RoleCall, 25, 99, in(100), out(10), answer("r1"), sdk),
			},
		),
		want: "2 in=100 out=10 requests=1; 3 in=100 out=10 requests=1",
	},
	{
		name: "a service tells of its calls and tools on spans, and on log records without a trace", rule: RuleElsewhere,
		facts: slices.Concat(
			elsewhereIn(2, span(1, 0, RoleCall, 10, 92, in(100), out(10), service("cli"), logged)),
			elsewhereIn(3, span(1, 0, RoleTool, 100, 151, tool("Bash"), service("cli"), logged)),
			elsewhereIn(4, span(1, 0, RoleCall, 900, 990, in(7), out(7), service("cli"), logged)),
			[]Fact{
				span(1, 0, RolePlain, 0, 300), span(2, 1, RoleCall, 10, 90, in(100), out(10), service("cli")),
				span(3, 1, RoleTool, 100, 150, tool("Bash"), service("cli")),
			},
		),
		want: "2 in=100 out=10 requests=1; 3 tool_calls=1; 4/1 in=7 out=7 requests=1",
	},
	{
		name: "two services that look alike on spans and on log records are two",
		facts: slices.Concat(
			elsewhereIn(2, span(1, 0, RoleCall, 10, 92, in(100), out(10), service("other"), logged)),
			[]Fact{span(2, 0, RoleCall, 10, 90, in(100), out(10), service("cli"))},
		),
		want: "2 in=100 out=10 requests=1; 2/1 in=100 out=10 requests=1",
	},
}

// elsewhereIn is facts in another trace.
func elsewhereIn(trace byte, facts ...Fact) []Fact {
	for i := range facts {
		facts[i].Trace = TraceID{trace}
	}
	return facts
}

func talk(id string) option       { return own(SlotConversation, id) }
func service(name string) option  { return func(f *Fact) { f.Service = name } }
func modelled(name string) option { return func(f *Fact) { f.Model = name } }
func logged(f *Fact)              { f.Emitter, f.Rank, f.Traits = "scope (log)", 30, f.Traits|TraitLog }

func deployed(customer string) option {
	return func(f *Fact) { f.Resource.Slots[SlotCustomer] = customer }
}

func TestTraps(t *testing.T) {
	for _, trap := range traps {
		t.Run(trap.name, func(t *testing.T) {
			if got := inShort(together(trap.facts)); got != trap.want {
				t.Errorf("got  %s\nwant %s", got, trap.want)
			}
			backwards := slices.Clone(trap.facts)
			slices.Reverse(backwards)
			if got := inShort(together(append(backwards, trap.facts...))); got != trap.want {
				t.Errorf("backwards and twice: got  %s\nwant %s", got, trap.want)
			}
		})
	}
}

// Each rule that can be switched off is one without which a trap of the table snaps.
func TestEveryRuleIsNeededByATrap(t *testing.T) {
	needed := map[Rules]string{}
	for _, trap := range traps {
		if trap.rule == 0 {
			continue
		}
		if got := inShort(togetherBut(trap.facts, trap.rule)); got == trap.want {
			t.Errorf("%s: comes out right without the rule that it names", trap.name)
		}
		needed[trap.rule] = trap.name
	}
	for bit := range numRules {
		if needed[1<<bit] == "" {
			t.Errorf("no trap needs rule %d", bit)
		}
	}
}
