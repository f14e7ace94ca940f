package attribution

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/usagebox/otelcol-usagebox/usage"
)

func (r *Reader) span(a *attributes, rules *scopeRules, s ptrace.Span, f *Fact) {
	f.Trace, f.Span, f.Parent = TraceID(s.TraceID()), SpanID(s.SpanID()), SpanID(s.ParentSpanID())
	f.Start, f.End = micros(s.StartTimestamp()), micros(s.EndTimestamp())
	switch s.Kind() {
	case ptrace.SpanKindServer:
		f.Traits |= TraitServer
	case ptrace.SpanKindClient:
		f.Traits |= TraitClient
	}
	if sampled(s.TraceState().AsRaw()) {
		f.Traits |= TraitSampled
	}
	for i, l := range s.Links().All() {
		if i == maxLinks {
			r.reach(LimitLinks, true)
			break
		}
		f.Links = append(f.Links, Place{TraceID(l.TraceID()), SpanID(l.SpanID())})
	}
	if len(a.used) == 0 {
		f.Emitter = ""
		return
	}
	r.readIdentity(a, &f.Own)
	d := matching(a, rules.dialects, s.Name())
	if d == nil {
		f.Emitter = ""
		return
	}
	if r.meaning(a, d, rules, s.Name(), f) {
		r.outcome(a, s, f)
	}
}

// matching is the first dialect whose conditions all hold.
func matching(a *attributes, dialects []*dialect, name string) *dialect {
	for _, d := range dialects {
		if len(d.any) > 0 && !slices.ContainsFunc(d.any, func(k key) bool { return a.has[k] }) {
			continue
		}
		if len(d.Match.Names) > 0 && !globs(d.Match.Names, name) {
			continue
		}
		holds := true
		for k, values := range d.values {
			holds = holds && a.has[k] && globs(values, a.values[k].AsString())
		}
		if holds && (!d.isUnknown || callShaped(a, d)) {
			return d
		}
	}
	return nil
}

// callShaped says whether a span has what only model calls have: tokens in and out, and a model.
func callShaped(a *attributes, d *dialect) bool {
	var u Reported
	readTokens(a, d, &u, true)
	return u.has(FieldInput) && u.has(FieldOutput) && u.some() && (a.text(d.texts[textModel]) != "" || a.text(d.texts[textRequested]) != "")
}

// meaning reads what a dialect's span or log record says; ok is false for what is nothing to count.
func (r *Reader) meaning(a *attributes, d *dialect, rules *scopeRules, name string, f *Fact) (ok bool) {
	f.Role = r.role(a, d, name)
	f.Dialect = d.Name
	f.Rank = uint8(d.Rank)
	if rules.rank > 0 && !d.isUnknown {
		f.Rank = uint8(rules.rank)
	}
	if d.isUnknown {
		f.Traits |= TraitUnknown
	}
	if f.Role == RolePlain && d.unknownOp == RoleCall && a.text(d.texts[textOperation]) != "" && callShaped(a, d) && !r.hasRole(a, name) {
		f.Role = RoleCall
		f.Traits |= TraitUnknown
	}
	limit := usage.MaxValueBytes
	if f.Role != RoleNever {
		f.Own.Slots[SlotNode] = r.cut(a.text(d.texts[textNode]))
		f.Own.Slots[SlotAgent] = r.cut(a.text(d.texts[textAgent]))
	}
	if f.Role == RolePlain || f.Role == RoleNever {
		if f.Role == RolePlain {
			f.Emitter = ""
		}
		return false
	}
	f.Name = cut(name, limit)
	f.Operation = cut(a.text(d.texts[textOperation]), limit)
	f.Provider = cut(a.text(d.texts[textProvider]), limit)
	f.Model = cut(a.text(d.texts[textModel]), limit)
	f.Requested = cut(a.text(d.texts[textRequested]), limit)
	if _, after, ok := strings.Cut(f.Requested, d.ModelAfter); ok && d.ModelAfter != "" {
		f.Requested = after
	}
	f.ResponseID = cut(a.text(d.texts[textResponseID]), limit)
	f.CallID = cut(a.text(d.texts[textCallID]), limit)
	switch f.Role {
	case RoleTool:
		f.Own.Slots[SlotTool] = r.cut(named(a.text(d.texts[textTool]), name, "execute_tool ", "running tool: "))
	case RoleAgent:
		f.Own.Slots[SlotAgent] = r.cut(named(f.Own.Slots[SlotAgent], name, "invoke_agent "))
	}
	r.tokens(a, d, f)
	if f.Model != "" || f.ResponseID != "" || a.text(d.texts[textFinish]) != "" || f.Usage.some() {
		f.Traits |= TraitServed
	}
	if cost := a.text(d.texts[textCost]); cost != "" && f.Role.isCall() {
		if amount, err := usage.ParseAmount(cost); err == nil && amount > 0 { // zero: it knew no price
			f.ReportedCost, f.CostCurrency = amount.String(), "USD"
		}
	}
	return true
}

// named is what an attribute says, else the span's name without the words that every such span's name begins with.
func named(attribute, span string, prefixes ...string) string {
	if attribute != "" {
		return attribute
	}
	for _, p := range prefixes {
		span = strings.TrimPrefix(span, p)
	}
	return span
}

func (r *Reader) role(a *attributes, d *dialect, name string) Role {
	if role, ok := firstRole(a, d.roles, name); ok {
		return role
	}
	if d.hasDefault {
		return d.fallback
	}
	role, _ := firstRole(a, r.roles, name)
	return role
}

func (r *Reader) hasRole(a *attributes, name string) bool {
	_, ok := firstRole(a, r.roles, name)
	return ok
}

func firstRole(a *attributes, rules []rule, name string) (Role, bool) {
	for i := range rules {
		if rules[i].holds(a, name) {
			return rules[i].role, true
		}
	}
	return RolePlain, false
}

func (r *rule) holds(a *attributes, name string) bool {
	if r.hasKey && (!a.has[r.key] || len(r.values) > 0 && !globs(r.values, a.values[r.key].AsString())) {
		return false
	}
	if len(r.names) > 0 && !globs(r.names, name) {
		return false
	}
	return len(r.any) == 0 || slices.ContainsFunc(r.any, func(k key) bool { return a.has[k] })
}

func (r *Reader) tokens(a *attributes, d *dialect, f *Fact) {
	contents := len(d.ContentModels) == 0 || globs(d.ContentModels, strings.ToLower(f.model()))
	if f.Refused = readTokens(a, d, &f.Usage, contents); f.Refused != "" {
		f.Traits |= TraitInvalid
	}
	switch d.Cache {
	case "outside":
		f.Traits |= TraitCacheOutside
	case "outside_anthropic":
		if isAnthropic(f.Provider, f.model()) {
			f.Traits |= TraitCacheOutside
		}
	}
	if d.Sums == "own" && f.Role == RoleAgent {
		f.Traits |= TraitOwnSum
	}
	if d.Thought == "outside" {
		f.Traits |= TraitThoughtOutside
	}
	if d.Rest == "reasoning" {
		f.Usage.restIsReasoning()
	}
	if d.EstimatesStreams && slices.ContainsFunc(r.streaming, func(k key) bool { return a.has[k] && a.values[k].AsString() == "true" }) {
		f.Traits |= TraitEstimated
	}
}

// maxRefused bounds what is kept of a number that can't be a count.
const maxRefused = 32

// readTokens reads every number. refused says which of them can't be counts, and what they are.
func readTokens(a *attributes, d *dialect, u *Reported, contents bool) (refused string) {
	for field := range numFields {
		for i := range d.tokens[field] {
			n, present, valid := a.number(&d.tokens[field][i], contents)
			if !present {
				continue
			}
			if !valid {
				s := &d.tokens[field][i]
				value := ""
				if a.has[s.key] {
					value = textAt(a.values[s.key], s.path)
				}
				refused += fmt.Sprintf(", %s %q", fieldNames[field], strings.ToValidUTF8(value[:min(len(value), maxRefused)], ""))
				continue
			}
			u.set(field, n)
			break
		}
	}
	return strings.TrimPrefix(refused, ", ")
}

// number is the count at a source: where it has parts, the sum of those that are there.
func (a *attributes) number(s *source, contents bool) (n int64, present, ok bool) {
	if a.has[s.key] && (s.path == nil || contents) {
		n, present, ok = numberAt(a.values[s.key], s.path)
	}
	for i := range s.plus {
		part, there, valid := a.number(&s.plus[i], contents)
		if there {
			n, present, ok = n+part, true, valid && (ok || !present)
		}
	}
	return n, present, ok
}

// restIsReasoning sets reasoning, where it isn't reported, to what the total says beyond input and output.
func (r *Reported) restIsReasoning() {
	rest := r.N[FieldTotal] - r.N[FieldInput] - r.N[FieldOutput]
	if rest > 0 && r.has(FieldInput) && r.has(FieldOutput) && !r.has(FieldReasoning) {
		r.set(FieldReasoning, rest)
	}
}

func isAnthropic(provider, model string) bool {
	return strings.Contains(strings.ToLower(provider), "anthropic") || strings.Contains(strings.ToLower(model), "claude")
}

// refusal finds the number of an HTTP status, or a class of error that a server gives without serving.
var refusal = regexp.MustCompile(`(?:^|[ \t"'(=])[45][0-9]{2}\b|RateLimit|BadRequest|Authentication|PermissionDenied|NotFound|UnprocessableEntity|Overloaded|InternalServer|ServiceUnavailable|APIConnection|ConnectError|ECONNREFUSED`)

// refuses looks at the first line: what follows is a stack.
func refuses(message string) bool {
	message, _, _ = strings.Cut(message, "\n")
	return refusal.MatchString(message[:min(len(message), 256)])
}

func (r *Reader) outcome(a *attributes, s ptrace.Span, f *Fact) {
	status := s.Status()
	refused := refuses(status.Message())
	for _, k := range r.errors {
		refused = refused || a.has[k] && refuses(a.values[k].AsString())
	}
	if status.Code() == ptrace.StatusCodeError || refused {
		f.Traits |= TraitError
	}
	for _, e := range s.Events().All() {
		if v, ok := e.Attributes().Get("exception.message"); ok && e.Name() == "exception" {
			refused = refused || refuses(v.AsString())
		}
		if v, ok := e.Attributes().Get("exception.type"); ok && e.Name() == "exception" {
			refused = refused || refuses(v.AsString())
		}
	}
	if refused {
		f.Traits |= TraitRefused
	}
}

func micros(t pcommon.Timestamp) usage.Micros { return usage.Micros(t / 1000) }

// sampled reads the threshold of consistent probability sampling: ot=th:0 drops nothing.
func sampled(state string) bool {
	for member := range strings.SplitSeq(state, ",") {
		fields, ok := strings.CutPrefix(strings.TrimSpace(member), "ot=")
		if !ok {
			continue
		}
		for field := range strings.SplitSeq(fields, ";") {
			if th, ok := strings.CutPrefix(field, "th:"); ok && strings.Trim(th, "0") != "" {
				return true
			}
		}
	}
	return false
}
