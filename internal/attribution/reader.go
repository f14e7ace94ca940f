package attribution

import (
	"crypto/sha256"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

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

	limits [NumLimits]atomic.Int64

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
	return r.Append(nil, td, received)
}

// Append does what Read does, and adds the facts to others.
func (r *Reader) Append(facts []Fact, td ptrace.Traces, received usage.Micros) []Fact {
	facts = slices.Grow(facts, td.SpanCount())
	a := r.scratch.Get().(*attributes)
	defer r.scratch.Put(a)
	for _, rs := range td.ResourceSpans().All() {
		resource, service := r.resource(a, rs.Resource())
		for _, ss := range rs.ScopeSpans().All() {
			scope := ss.Scope().Name()
			rules := r.scope(scope)
			var scoped Identity
			if ss.Scope().Attributes().Len() > 0 {
				a.fill(r, ss.Scope().Attributes())
				r.readIdentity(a, &scoped)
				a.clear()
			}
			for _, s := range ss.Spans().All() {
				facts = append(facts, Fact{})
				f := &facts[len(facts)-1]
				f.Resource, f.Service, f.Emitter = resource, service, scope
				a.fill(r, s.Attributes())
				r.span(a, rules, s, f)
				f.Own.inherit(&scoped)
				a.clear()
				r.reach(LimitIDs, f.name())
				r.reach(LimitClock, f.clamp(received, r.maxAhead))
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
			id.Slots[slot] = r.cut(t)
		}
	}
	for _, e := range r.extra {
		if t := a.text(e.sources); t != "" {
			id.Extra = append(id.Extra, usage.Dimension{Key: e.name, Value: r.cut(t)})
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

// name gives a span without ids some that are a function of what it says: sent again it is the same span.
func (f *Fact) name() (named bool) {
	if f.Span != (SpanID{}) && f.Trace != (TraceID{}) {
		return false
	}
	sum := sha256.Sum256(f.AppendBinary(nil))
	if f.Span == (SpanID{}) {
		f.Span = SpanID(sum[16:24])
	}
	if f.Trace == (TraceID{}) {
		f.Trace = TraceID(sum[:16])
	}
	return true
}

// clamp keeps a clock that runs ahead from putting usage into an hour to come. What says no time is of when it came.
func (f *Fact) clamp(received, ahead usage.Micros) (clamped bool) {
	if f.Start <= 0 && f.End <= 0 {
		f.Start, f.End, clamped = received, received, true
	}
	if f.End < f.Start {
		f.End = f.Start
	}
	if limit := received + ahead; f.End > limit {
		f.Start, f.End, clamped = max(0, f.Start-(f.End-limit)), limit, true
	}
	return clamped
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
