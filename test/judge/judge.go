package judge

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// Finding is one thing that is wrong.
type Finding struct {
	Kind string // missed, double, phantom, tokens, customer, feature, tool, flag, below, model
	Text string
}

// Verdict is what the judge found out about one recording. No findings means that it is exact.
type Verdict struct {
	Capture       string
	Counted       int // required calls that have an event
	Expected      int
	Tokens, Known Vector // in the ledger, and knowable
	Findings      []Finding
}

// Exact says whether nothing is wrong.
func (v Verdict) Exact() bool { return len(v.Findings) == 0 }

func (v Verdict) String() string {
	if v.Exact() {
		return fmt.Sprintf("%s: exact, %d calls", v.Capture, v.Counted)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d of %d calls, tokens %v of %v", v.Capture, v.Counted, v.Expected, v.Tokens, v.Known)
	for _, f := range v.Findings {
		fmt.Fprintf(&b, "\n    %s: %s", f.Kind, f.Text)
	}
	return b.String()
}

type unitState struct {
	*Unit
	got []*counted
}

type toolState struct {
	*Tool
	got []*counted
}

type state struct {
	expect                *Expectation
	units                 []*unitState
	tools                 []*toolState
	phantom, phantomTools []*counted
}

// Judge compares a ledger's rows with the truths, strictly: a model that isn't the call's, a feature that isn't the
// application's, or a number below what a payload tells are wrong too. foreign names the events that belong to no recording.
func Judge(rows []Row, expect ...*Expectation) (verdicts []Verdict, foreign []string) {
	states := make([]*state, len(expect))
	ofTrace := map[string]*state{}
	unitAt := map[Span]*unitState{}
	toolAt := map[Span]*toolState{}
	for i, x := range expect {
		s := &state{expect: x}
		states[i] = s
		for _, t := range x.Traces {
			ofTrace[t] = s
		}
		for j := range x.Units {
			u := &unitState{Unit: &x.Units[j]}
			s.units = append(s.units, u)
			for _, span := range slices.Concat(u.Spans, u.Parts) {
				unitAt[span] = u
			}
		}
		for j := range x.Tools {
			if !x.Tools[j].Visible {
				continue
			}
			t := &toolState{Tool: &x.Tools[j]}
			s.tools = append(s.tools, t)
			for _, span := range t.Spans {
				toolAt[span] = t
			}
		}
	}

	events := net(rows)
	var looseCalls, looseTools []*counted
	for i := range events {
		e := &events[i]
		at := Span{e.trace, e.span}
		if e.isCall() {
			if u := unitAt[at]; u != nil {
				u.got = append(u.got, e)
			} else {
				looseCalls = append(looseCalls, e)
			}
		}
		if e.tools != 0 {
			if t := toolAt[at]; t != nil {
				t.got = append(t.got, e)
			} else {
				looseTools = append(looseTools, e)
			}
		}
		if !e.isCall() && e.tools == 0 && e.trace != "" && ofTrace[e.trace] == nil {
			foreign = append(foreign, e.id)
		}
	}
	for _, e := range looseCalls {
		own := ofTrace[e.trace]
		pool := states
		if own != nil {
			pool = []*state{own}
		}
		switch u := closest(e, pool); {
		case u != nil:
			u.got = append(u.got, e)
		case own != nil:
			own.phantom = append(own.phantom, e)
		default:
			foreign = append(foreign, e.id)
		}
	}
	for _, e := range looseTools {
		own := ofTrace[e.trace]
		if own == nil {
			foreign = append(foreign, e.id)
			continue
		}
		if t := own.openTool(e); t != nil {
			t.got = append(t.got, e)
		} else {
			own.phantomTools = append(own.phantomTools, e)
		}
	}
	for _, s := range states {
		verdicts = append(verdicts, s.judge())
	}
	return verdicts, foreign
}

// closest is the call that an event means which names no span of a known call: one that has no event yet, the same
// tokens, and the nearest end. A wrapper's span with the tokens of its only call is that call.
func closest(e *counted, pool []*state) *unitState {
	var best *unitState
	bestCost := time.Duration(1<<63 - 1)
	for _, s := range pool {
		for _, u := range s.units {
			if len(u.got) > 0 || slices.Contains(u.Events, 0) || !u.accepts(e.tokens) || e.span != "" && e.tokens.zero() {
				continue
			}
			gap := e.at.Sub(u.End).Abs()
			if e.trace == "" {
				if !slices.Contains(u.ModelAccept, e.shares[0].model) || gap > 2*time.Second {
					continue
				}
			} else if !slices.ContainsFunc(u.Spans, func(s Span) bool { return s.TraceID == e.trace }) {
				continue
			}
			if !slices.Contains(u.ModelAccept, e.shares[0].model) {
				gap += 1e6 * time.Second
			}
			if gap < bestCost {
				best, bestCost = u, gap
			}
		}
	}
	return best
}

func (s *state) openTool(e *counted) *toolState {
	if slices.Contains(s.expect.Phantoms, Span{e.trace, e.span}) {
		return nil
	}
	for _, t := range s.tools {
		if len(t.got) == 0 && t.Required && slices.ContainsFunc(t.Spans, func(s Span) bool { return s.TraceID == e.trace }) {
			return t
		}
	}
	return nil
}

func (u *Unit) accepts(v Vector) bool {
	return slices.ContainsFunc(u.Accept, func(a struct {
		V Vector `json:"v"`
	},
	) bool {
		return a.V == v
	})
}

var severity = []string{"missed", "double", "phantom", "tokens", "customer", "feature", "tool", "flag", "below", "model"}

func (s *state) judge() Verdict {
	v := Verdict{Capture: s.expect.Capture}
	note := func(kind, format string, args ...any) {
		v.Findings = append(v.Findings, Finding{kind, fmt.Sprintf(format, args...)})
	}
	for _, u := range s.units {
		s.judgeCall(u, &v, note)
	}
	for _, e := range s.phantom {
		v.Tokens = v.Tokens.plus(e.tokens)
		note("phantom", "event %s of %s with %v belongs to no call", e.id, e.shares[0].model, e.tokens)
	}
	for _, t := range s.tools {
		if len(t.got) == 0 {
			if t.Required {
				note("tool", "%s: no tool_calls event", t.Name)
			}
			continue
		}
		var calls usage.Quantity
		for _, e := range t.got {
			calls += e.tools
			judgeOwner(e, t.Customer, t.Feature, "tool "+t.Name, note)
		}
		if len(t.got) > 1 || calls > usage.Units(1) {
			note("tool", "%s: counted %s times", t.Name, calls)
		}
	}
	for _, e := range s.phantomTools {
		note("tool", "event %s for no tool that ran", e.id)
	}
	sort.SliceStable(v.Findings, func(i, j int) bool {
		return slices.Index(severity, v.Findings[i].Kind) < slices.Index(severity, v.Findings[j].Kind)
	})
	return v
}

func (s *state) judgeCall(u *unitState, v *Verdict, note func(kind, format string, args ...any)) {
	label := fmt.Sprintf("call %v %s %s", u.Seqs, u.Kind, u.Model)
	required := !slices.Contains(u.Events, 0)
	if required {
		v.Expected++
	}
	if u.Best != nil {
		v.Known = v.Known.plus(*u.Best)
	}
	if len(u.got) == 0 {
		if required {
			note("missed", "%s: no event (%s)", label, u.Class)
		}
		return
	}
	if required {
		v.Counted++
	}
	var tokens Vector
	var requests, others usage.Quantity
	missing := false
	for _, e := range u.got {
		tokens = tokens.plus(e.tokens)
		requests += e.requests
		others += e.otherTokens
		for _, share := range e.shares {
			missing = missing || slices.Contains(share.flags, usage.FlagUsageMissing)
		}
	}
	v.Tokens = v.Tokens.plus(tokens)

	twice := !slices.Contains(u.Events, len(u.got)) || requests > 0 && !slices.Contains(u.Requests, int64(requests/usage.Units(1)))
	exact := u.accepts(tokens)
	switch {
	case twice:
		note("double", "%s: %d events, llm_requests %s, tokens %v", label, len(u.got), requests, tokens)
	case requests <= 0:
		note("tokens", "%s: llm_requests %s", label, requests)
	case !exact:
		note("tokens", "%s: %v, accepted is %v (%s)", label, tokens, u.Accept, u.Class)
	}
	if others != 0 {
		note("tokens", "%s: a token meter that no span of the recordings reports", label)
	}
	if exact && u.Best != nil && tokens != *u.Best && (u.Truth == nil || tokens != *u.Truth) {
		note("below", "%s: %v, a payload has %v", label, tokens, *u.Best)
	}
	if !twice && (u.Class == "visible_without_usage" && !missing || u.Class == "counted" && missing) {
		note("flag", "%s: %s is %t", label, usage.FlagUsageMissing, missing)
	}
	for _, e := range u.got {
		judgeOwner(e, u.Customer, u.Feature, label, note)
		for _, share := range e.shares {
			if !slices.Contains(u.ModelAccept, share.model) {
				note("model", "%s: model %s", label, share.model)
			}
		}
	}
}

func judgeOwner(e *counted, customer, feature Named, label string, note func(kind, format string, args ...any)) {
	for _, share := range e.shares {
		if !slices.Contains(customer.Accept, share.customer) {
			note("customer", "%s: customer %q, accepted is %q", label, share.customer, customer.Accept)
		}
		if len(feature.Accept) > 0 && !slices.Contains(feature.Accept, share.feature) {
			note("feature", "%s: feature %q, the application said %q", label, share.feature, feature.Accept)
		}
	}
}
