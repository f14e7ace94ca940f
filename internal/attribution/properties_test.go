package attribution

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// cases are the numbers of the generated traces that are looked at: ATTRIBUTION_CASES of them, or 100,000, from ATTRIBUTION_FIRST on, or 0.
func cases() (first, end uint64) {
	n, err := strconv.ParseUint(os.Getenv("ATTRIBUTION_CASES"), 10, 64)
	if err != nil {
		n = 100_000
	}
	if testing.Short() || raceEnabled {
		n /= 20
	}
	if f, err := strconv.ParseUint(os.Getenv("ATTRIBUTION_FIRST"), 10, 64); err == nil {
		first = f
	}
	return first, first + n
}

const seed = 20261124

// tally is what events add up to, in a form that compares.
func tally(events []usage.Event) (calls []servedCall, tools int) {
	for i := range events {
		e := &events[i]
		if e.Line(usage.MeterToolCalls) != nil {
			tools++
		}
		if e.Line(usage.MeterLLMRequests) == nil {
			continue
		}
		c := servedCall{customer: e.Customer, silent: true}
		for b, meter := range bucketMeters {
			if l := e.Line(meter); l != nil {
				c.vector[b] = int64(l.Quantity / usage.Units(1))
				c.silent = false
			}
		}
		calls = append(calls, c)
	}
	return calls, tools
}

func sorted(calls []servedCall) []servedCall {
	calls = slices.Clone(calls)
	slices.SortFunc(calls, func(a, b servedCall) int {
		return cmp.Or(cmp.Compare(a.customer, b.customer), slices.Compare(a.vector[:], b.vector[:]))
	})
	return calls
}

func eventsOf(d Decision) (events []usage.Event) {
	for i := range d.Events {
		events = append(events, d.Events[i].Event)
	}
	return events
}

func payloads(d Decision) string {
	var s []byte
	for i := range d.Events {
		p := d.Events[i].Event.Payload()
		s = append(s, p[:]...)
		s = append(s, d.Events[i].Event.ID...)
		s = fmt.Append(s, d.Events[i].Event.Flags)
	}
	return string(s)
}

func wrong(g *generator, d Decision) string {
	calls, tools := tally(eventsOf(d))
	if want := sorted(g.happened.calls); !slices.Equal(sorted(calls), want) {
		return fmt.Sprintf("calls\ngot  %v\nwant %v", sorted(calls), want)
	}
	if tools != g.happened.tools {
		return fmt.Sprintf("tools: got %d, want %d", tools, g.happened.tools)
	}
	return ""
}

// Every generated trace is decided as it happened, and one further property of each is looked at in turn.
func TestGeneratedTracesAreDecidedAsTheyHappened(t *testing.T) {
	properties := []func(*testing.T, *generator, Decision) string{
		orderAndCopiesDoNotMatter, anUnrelatedSpanChangesNothing, aWrapperChangesNothing, aPartIsNeverMoreThanTheWhole, whatComesLateIsCorrected, factsSurviveStorage,
	}
	const workers = 2
	first, end := cases()
	for w := range uint64(workers) {
		t.Run(strconv.FormatUint(w, 10), func(t *testing.T) {
			t.Parallel()
			for i := first + w; i < end; i += workers {
				checkCase(t, i, properties[i/workers%uint64(len(properties))])
			}
		})
	}
}

// The generator makes what the rules across traces are for: without each of them some of its traces come out wrong.
func TestGeneratedTracesNeedTheRulesAcrossTraces(t *testing.T) {
	for name, rule := range map[string]Rules{"conversation": RuleConversation, "link": RuleLink, "elsewhere": RuleElsewhere} {
		failed := 0
		for i := range uint64(300) {
			if g := generate(seed, i); wrong(g, togetherBut(g.facts, rule)) != "" {
				failed++
			}
		}
		if failed == 0 {
			t.Errorf("%s: nothing needs it", name)
		}
	}
}

func checkCase(t *testing.T, i uint64, property func(*testing.T, *generator, Decision) string) {
	t.Helper()
	g := generate(seed, i)
	d := together(g.facts)
	failed := wrong(g, d)
	if failed == "" {
		failed = property(t, g, d)
	}
	if failed != "" {
		t.Fatalf("case %d of seed %d: %s\n%s", i, seed, failed, g.draw())
	}
}

func orderAndCopiesDoNotMatter(_ *testing.T, g *generator, d Decision) string {
	if payloads(together(g.shuffled())) != payloads(d) {
		return "another order, with copies, makes other events"
	}
	return ""
}

func anUnrelatedSpanChangesNothing(_ *testing.T, g *generator, d Decision) string {
	f := g.facts[g.IntN(len(g.facts))]
	f.Parent, f.Span = f.Span, SpanID{255, 1, 2}
	f.Role, f.Usage, f.Own, f.Emitter, f.Model, f.Traits, f.CallID = RolePlain, Reported{}, Identity{}, "http", "", TraitClient, ""
	if payloads(together(append(slices.Clone(g.facts), f))) != payloads(d) {
		return "a plain span changes events"
	}
	return ""
}

// aWrapperChangesNothing puts a workflow with the sum of everything around all that is below the root.
func aWrapperChangesNothing(_ *testing.T, g *generator, d Decision) string {
	facts := slices.Clone(g.facts)
	w := facts[0]
	w.Parent, w.Span, w.Role, w.Emitter, w.Own = facts[0].Span, SpanID{254, 1, 2}, RoleWrapper, "workflow", Identity{}
	var sum Vector
	for _, c := range g.happened.calls {
		sum = sum.plus(c.vector)
	}
	if !g.here {
		return ""
	}
	w.Usage = Reported{}
	w.Usage.set(FieldInput, sum.input())
	w.Usage.set(FieldOutput, sum.output())
	for i := range facts {
		if facts[i].Parent == w.Parent {
			facts[i].Parent = w.Span
		}
	}
	if payloads(together(append(facts, w))) != payloads(d) {
		return "a wrapper changes events"
	}
	return ""
}

func aPartIsNeverMoreThanTheWhole(_ *testing.T, g *generator, _ Decision) string {
	facts := slices.DeleteFunc(g.shuffled(), func(f Fact) bool { return f.Span[0]%3 == byte(g.served%3) || f.Span[3]%5 == 0 })
	d := together(facts)
	calls, tools := tally(eventsOf(d))
	var got, all Vector
	for _, c := range calls {
		got = got.plus(c.vector)
	}
	for _, c := range g.happened.calls {
		all = all.plus(c.vector)
	}
	if got.input() > all.input() || got.output() > all.output() {
		return fmt.Sprintf("%d of the facts add up to %v, all to %v", len(facts), got, all)
	}
	_ = tools
	return ""
}

// whatComesLateIsCorrected settles after every few facts; in the end the sum of all that was emitted is what happened.
func whatComesLateIsCorrected(t *testing.T, g *generator, _ Decision) string {
	facts := g.shuffled()
	s := told{*newBook(t), map[TraceID][]byte{}}
	for at := 0; at < len(facts); {
		at = min(len(facts), at+1+g.IntN(len(facts)))
		s.settle(facts[:at])
	}
	net := map[string]map[string]usage.Quantity{}
	for i := range s.events {
		e := &s.events[i]
		if net[e.Customer] == nil {
			net[e.Customer] = map[string]usage.Quantity{}
		}
		for _, l := range e.Lines {
			net[e.Customer][l.Meter] += l.Quantity
		}
	}
	want := map[string]map[string]usage.Quantity{}
	add := func(customer, meter string, n int64) {
		if want[customer] == nil {
			want[customer] = map[string]usage.Quantity{}
		}
		want[customer][meter] += usage.Units(n)
	}
	for _, c := range g.happened.calls {
		add(c.customer, usage.MeterLLMRequests, 1)
		for b, n := range c.vector {
			add(c.customer, bucketMeters[b], n)
		}
	}
	for customer, meters := range want {
		for meter, q := range meters {
			if net[customer][meter] != q {
				return fmt.Sprintf("settled piece by piece: %s of %s is %s, want %s", meter, customer, net[customer][meter], q)
			}
		}
	}
	for customer, meters := range net {
		for meter, q := range meters {
			if want[customer][meter] != q && meter != usage.MeterToolCalls && meter != usage.MeterAgentRuns && meter != usage.MeterAgentSeconds {
				return fmt.Sprintf("settled piece by piece: %s of %s is %s, want %s", meter, customer, q, want[customer][meter])
			}
		}
	}
	return ""
}

func factsSurviveStorage(_ *testing.T, g *generator, d Decision) string {
	var b []byte
	for i := range g.facts {
		b = g.facts[i].AppendBinary(b)
	}
	var facts []Fact
	for len(b) > 0 {
		var f Fact
		var err error
		if b, err = DecodeFact(b, &f); err != nil {
			return err.Error()
		}
		facts = append(facts, f)
	}
	if payloads(together(facts)) != payloads(d) {
		return "stored facts make other events"
	}
	return ""
}

// draw shows a trace to who looks into a failure.
func (g *generator) draw() string {
	var s []byte
	for _, j := range together(g.facts).Spans {
		f := j.Fact
		s = fmt.Appendf(s, "%*s%s %s/%s %s %v %d-%d %s: %s\n", 2*j.Depth, "", f.Span, f.Role, f.Emitter, f.model(), f.Usage.Named(), f.Start/1000, f.End/1000, j.Verdict.Kind, j.Verdict.Reason)
	}
	return string(s)
}
