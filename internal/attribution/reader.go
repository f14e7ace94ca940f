package attribution

import (
	"fmt"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/usagebox/otelcol-usagebox/internal/decimal"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// Config says how spans are read.
type Config struct {
	Dimensions    map[string][]string // attributes that go before the defaults; other names than those of SlotNames are kept as dimensions of the event
	Dialects      []string            // files of further dialects, which go before the built-in ones
	MaxValueBytes int                 // what a value of identity is cut to; 0 is DefaultMaxValueBytes
	MaxAhead      usage.Micros        // how far after its arrival a span may end; 0 is ten minutes
}

// DefaultMaxValueBytes is the default of Config.MaxValueBytes.
const DefaultMaxValueBytes = 256

const (
	defaultMaxAhead = usage.MicrosPerHour / 6
	maxLinks        = 256
	maxTokens       = 1e12 - 1
	maxScopes       = 4096 // scopes whose dialects are remembered
)

// Reader turns spans into facts. It is safe for concurrent use.
type Reader struct {
	keys      map[string]key
	dialects  []*dialect
	roles     []rule // common
	ranks     []rankRule
	identity  [numSlots][]source
	extra     []extraSource
	streaming []key
	errors    []key // where an HTTP status or an error's class stands
	maxValue  int
	maxAhead  usage.Micros

	scratch sync.Pool
	mu      sync.RWMutex
	scopes  map[string]*scopeRules
}

type extraSource struct {
	name    string
	sources []source
}

// scopeRules are the dialects that spans of a scope can have.
type scopeRules struct {
	dialects []*dialect
	logs     []*dialect // of log records
	rank     int        // 0: the dialect's
}

// NewReader compiles the table of dialects. The error names file, field and accepted values.
func NewReader(cfg Config) (*Reader, error) {
	builtin, err := parseTable("built-in dialects", builtinDialects)
	if err != nil {
		return nil, err
	}
	c := &compiler{keys: map[string]key{}}
	r := &Reader{
		roles: c.rules(builtin.Common.Roles), ranks: builtin.Common.Ranks,
		maxValue: cfg.MaxValueBytes, maxAhead: cfg.MaxAhead, scopes: map[string]*scopeRules{},
	}
	if r.maxValue <= 0 {
		r.maxValue = DefaultMaxValueBytes
	}
	if r.maxAhead <= 0 {
		r.maxAhead = defaultMaxAhead
	}
	for _, file := range cfg.Dialects {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("dialects: %w", err)
		}
		own, err := parseTable(file, text)
		if err != nil {
			return nil, fmt.Errorf("dialects: %w", err)
		}
		for _, d := range own.Dialects {
			r.dialects = append(r.dialects, c.dialect(d, &builtin.Common))
		}
	}
	for _, d := range builtin.Dialects {
		r.dialects = append(r.dialects, c.dialect(d, &builtin.Common))
	}
	for slot, names := range defaultIdentity() {
		r.identity[slot] = c.sources(names)
	}
	for _, name := range keysOf(cfg.Dimensions) {
		if slot, ok := SlotNames[name]; ok {
			r.identity[slot] = append(c.sources(cfg.Dimensions[name]), r.identity[slot]...)
		} else {
			r.extra = append(r.extra, extraSource{name, c.sources(cfg.Dimensions[name])})
		}
	}
	r.streaming = c.all([]string{"llm.is_streaming", "gen_ai.is_streaming", "llm.request.streaming", "gen_ai.request.is_stream", "gen_ai.request.stream"})
	r.errors = c.all([]string{"error.type", "http.response.status_code", "http.status_code", "langfuse.observation.status_message", "exception.message"})
	r.keys = c.keys
	r.scratch.New = func() any {
		return &attributes{values: make([]pcommon.Value, len(r.keys)), has: make([]bool, len(r.keys))}
	}
	return r, nil
}

// attributes are those of one span that the table knows, by key.
type attributes struct {
	values []pcommon.Value
	has    []bool
	used   []key
}

func (a *attributes) fill(r *Reader, m pcommon.Map) {
	for name, value := range m.All() {
		if k, ok := r.keys[name]; ok && !a.has[k] {
			a.values[k], a.has[k] = value, true
			a.used = append(a.used, k)
		}
	}
}

func (a *attributes) clear() {
	for _, k := range a.used {
		a.values[k], a.has[k] = pcommon.Value{}, false
	}
	a.used = a.used[:0]
}

// text is the text at the first source that has one.
func (a *attributes) text(sources []source) string {
	for _, s := range sources {
		if !a.has[s.key] {
			continue
		}
		if t := textAt(a.values[s.key], s.path); t != "" {
			return t
		}
	}
	return ""
}

func textAt(v pcommon.Value, path []string) string {
	if len(path) > 0 {
		if v.Type() == pcommon.ValueTypeStr {
			found, ok := findJSON(v.Str(), path)
			if !ok {
				return ""
			}
			t, _ := jsonText(found)
			return t
		}
		var ok bool
		if v, ok = findValue(v, path); !ok {
			return ""
		}
	}
	switch v.Type() {
	case pcommon.ValueTypeStr:
		return v.Str()
	case pcommon.ValueTypeInt:
		return strconv.FormatInt(v.Int(), 10)
	case pcommon.ValueTypeBool:
		return strconv.FormatBool(v.Bool())
	case pcommon.ValueTypeDouble:
		return strconv.FormatFloat(v.Double(), 'f', -1, 64) // the shortest text that means this double
	}
	return ""
}

// number is a count of tokens. present without ok is one that can't be: negative, fractional, not a number.
func numberAt(v pcommon.Value, path []string) (n int64, present, ok bool) {
	var t string
	if len(path) > 0 && v.Type() == pcommon.ValueTypeStr {
		found, exists := findJSON(v.Str(), path)
		if !exists || found.Kind() == 'n' {
			return 0, false, false
		}
		if t, ok = jsonText(found); !ok {
			return 0, true, false
		}
	} else {
		if v, ok = findValue(v, path); !ok {
			return 0, false, false
		}
		switch v.Type() {
		case pcommon.ValueTypeEmpty:
			return 0, false, false
		case pcommon.ValueTypeInt:
			n = v.Int()
			return n, true, n >= 0 && n <= maxTokens
		case pcommon.ValueTypeDouble:
			f := v.Double()
			return int64(f), true, f == math.Trunc(f) && f >= 0 && f <= maxTokens
		case pcommon.ValueTypeStr:
			t = v.Str()
		default:
			return 0, true, false
		}
	}
	if t == "" {
		return 0, false, false
	}
	n, err := decimal.Parse(t, 0, 12)
	return n, true, err == nil && n >= 0
}

// Read turns spans into facts, one each. received is when they came: a span's end is never far after it.
func (r *Reader) Read(td ptrace.Traces, received usage.Micros) []Fact {
	facts := make([]Fact, 0, td.SpanCount())
	a := r.scratch.Get().(*attributes)
	defer r.scratch.Put(a)
	for _, rs := range td.ResourceSpans().All() {
		resource, service := r.resource(a, rs.Resource())
		for _, ss := range rs.ScopeSpans().All() {
			rules := r.scope(ss.Scope().Name())
			var scoped Identity
			if ss.Scope().Attributes().Len() > 0 {
				a.fill(r, ss.Scope().Attributes())
				r.readIdentity(a, &scoped)
				a.clear()
			}
			for _, s := range ss.Spans().All() {
				facts = append(facts, Fact{Resource: resource, Service: service, Emitter: ss.Scope().Name()})
				f := &facts[len(facts)-1]
				a.fill(r, s.Attributes())
				r.span(a, rules, s, f)
				f.Own.inherit(&scoped)
				a.clear()
				f.clamp(received, r.maxAhead)
			}
		}
	}
	return facts
}

func (r *Reader) resource(a *attributes, res pcommon.Resource) (id Identity, service string) {
	a.fill(r, res.Attributes())
	r.readIdentity(a, &id)
	a.clear()
	if v, ok := res.Attributes().Get("service.name"); ok {
		service = cut(v.AsString(), usage.MaxValueBytes)
	}
	return id, service
}

func (r *Reader) readIdentity(a *attributes, id *Identity) {
	if len(a.used) == 0 {
		return
	}
	for slot, sources := range r.identity {
		if t := a.text(sources); t != "" {
			id.Slots[slot] = cut(t, r.maxValue)
		}
	}
	for _, e := range r.extra {
		if t := a.text(e.sources); t != "" {
			id.Extra = append(id.Extra, usage.Dimension{Key: e.name, Value: cut(t, r.maxValue)})
		}
	}
}

func (id *Identity) inherit(from *Identity) {
	for i := range id.Slots {
		if id.Slots[i] == "" {
			id.Slots[i] = from.Slots[i]
		}
	}
	for _, d := range from.Extra {
		if id.extra(d.Key) == "" {
			id.Extra = append(slices.Clip(id.Extra), d)
		}
	}
}

// clamp keeps a clock that runs ahead from putting usage into an hour to come.
func (f *Fact) clamp(received, ahead usage.Micros) {
	if f.End < f.Start {
		f.End = f.Start
	}
	if limit := received + ahead; f.End > limit {
		f.Start, f.End = max(0, f.Start-(f.End-limit)), limit
	}
}

func (r *Reader) scope(name string) *scopeRules {
	r.mu.RLock()
	rules := r.scopes[name]
	r.mu.RUnlock()
	if rules != nil {
		return rules
	}
	rules = &scopeRules{}
	for _, d := range r.dialects {
		if len(d.Match.Scopes) == 0 || globs(d.Match.Scopes, name) {
			if d.Signal == signalLog {
				rules.logs = append(rules.logs, d)
			} else {
				rules.dialects = append(rules.dialects, d)
			}
		}
	}
	for _, rank := range r.ranks {
		if globs(rank.Scopes, name) {
			rules.rank = rank.Rank
			break
		}
	}
	r.mu.Lock()
	if len(r.scopes) < maxScopes {
		r.scopes[strings.Clone(name)] = rules
	}
	r.mu.Unlock()
	return rules
}

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
		f.Own.Slots[SlotNode] = cut(a.text(d.texts[textNode]), r.maxValue)
		f.Own.Slots[SlotAgent] = cut(a.text(d.texts[textAgent]), r.maxValue)
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
		f.Own.Slots[SlotTool] = cut(named(a.text(d.texts[textTool]), name, "execute_tool ", "running tool: "), r.maxValue)
	case RoleAgent:
		f.Own.Slots[SlotAgent] = cut(named(f.Own.Slots[SlotAgent], name, "invoke_agent "), r.maxValue)
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
	if !readTokens(a, d, &f.Usage, contents) {
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
	if d.EstimatesStreams && slices.ContainsFunc(r.streaming, func(k key) bool { return a.has[k] && a.values[k].AsString() == "true" }) {
		f.Traits |= TraitEstimated
	}
}

// readTokens reads every number; ok is false when one of them can't be a count.
func readTokens(a *attributes, d *dialect, u *Reported, contents bool) (ok bool) {
	ok = true
	for field := range numFields {
		for _, s := range d.tokens[field] {
			if !a.has[s.key] || s.path != nil && !contents {
				continue
			}
			n, present, valid := numberAt(a.values[s.key], s.path)
			if !present {
				continue
			}
			if !valid {
				ok = false
				continue
			}
			u.set(field, n)
			break
		}
	}
	return ok
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
