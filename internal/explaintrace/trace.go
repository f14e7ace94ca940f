package explaintrace

import (
	"bytes"
	"cmp"
	"maps"
	"slices"

	"github.com/usagebox/otelcol-usagebox/internal/attribution"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// Trace is a trace explained.
type Trace struct {
	TraceID  string            `json:"trace_id"`
	Complete bool              `json:"complete"` // root and every parent are there
	Spans    []Span            `json:"spans"`    // parents before children
	Events   []Event           `json:"events"`
	Totals   map[string]string `json:"totals"` // by meter, decimal
}

// Span is a span explained.
type Span struct {
	SpanID   string            `json:"span_id"`
	Parent   string            `json:"parent_span_id,omitempty"`
	Depth    int               `json:"depth"`
	Name     string            `json:"name,omitempty"`
	Emitter  string            `json:"scope,omitempty"`
	Dialect  string            `json:"dialect,omitempty"`
	Role     string            `json:"role"`
	Verdict  string            `json:"verdict"`
	Of       string            `json:"of,omitempty"`
	In       string            `json:"in,omitempty"` // the trace of that span, if it is another one
	Reason   string            `json:"reason,omitempty"`
	Model    string            `json:"model,omitempty"`
	Reported map[string]int64  `json:"reported,omitempty"` // as the span says it
	Read     *Vector           `json:"read,omitempty"`     // as it is understood
	Says     map[string]string `json:"says,omitempty"`     // what the span itself says of identity
}

// Vector is tokens in disjoint meters, and why they were read so.
type Vector struct {
	Meters  map[string]int64 `json:"meters"`
	Cache   string           `json:"cache"`
	Thought string           `json:"reasoning"`
}

// Event is an event that the trace makes.
type Event struct {
	ID       string              `json:"event_id"`
	Spans    []string            `json:"spans"` // the first is the event's own
	Meters   map[string]string   `json:"meters"`
	Model    string              `json:"model,omitempty"`
	Provider string              `json:"provider,omitempty"`
	Run      string              `json:"run_id"`
	Flags    []string            `json:"flags,omitempty"`
	Identity map[string]Identity `json:"identity"`
	Cache    string              `json:"cache,omitempty"`
	Thought  string              `json:"reasoning,omitempty"`
}

// Identity is a value and where it came from: span, ancestor, trace, double (the same call in another trace), link, conversation, resource.
type Identity struct {
	Value  string `json:"value"`
	Origin string `json:"from"`
}

func (r *recording) explain(reader *attribution.Reader) []Trace {
	traces := map[attribution.TraceID][]attribution.Fact{}
	all := r.facts(reader)
	for _, f := range all {
		traces[f.Trace] = append(traces[f.Trace], f)
	}
	decisions := attribution.NewWorld(all).Decide()
	var out []Trace
	for _, id := range slices.SortedFunc(maps.Keys(traces), func(a, b attribution.TraceID) int {
		return cmp.Or(cmp.Compare(firstStart(traces[a]), firstStart(traces[b])), bytes.Compare(a[:], b[:]))
	}) {
		decision := decisions[id]
		out = append(out, explain(id, traces[id], &decision))
	}
	return out
}

func firstStart(facts []attribution.Fact) usage.Micros {
	return slices.MinFunc(facts, func(a, b attribution.Fact) int { return cmp.Compare(a.Start, b.Start) }).Start
}

func explain(id attribution.TraceID, facts []attribution.Fact, d *attribution.Decision) Trace {
	t := Trace{TraceID: id.String(), Complete: attribution.Complete(facts), Spans: []Span{}, Events: []Event{}, Totals: map[string]string{}}
	for i := range d.Spans {
		t.Spans = append(t.Spans, spanOf(&d.Spans[i]))
	}
	totals := map[string]usage.Quantity{}
	for i := range d.Events {
		p := &d.Events[i]
		t.Events = append(t.Events, eventOf(p))
		for _, l := range p.Event.Lines {
			totals[l.Meter] += l.Quantity
		}
	}
	slices.SortStableFunc(t.Events, func(a, b Event) int { return cmp.Compare(t.place(a.Spans[0]), t.place(b.Spans[0])) })
	for meter, q := range totals {
		t.Totals[meter] = q.String()
	}
	return t
}

func (t *Trace) place(span string) int {
	return slices.IndexFunc(t.Spans, func(s Span) bool { return s.SpanID == span })
}

func spanOf(j *attribution.Judged) Span {
	f := j.Fact
	s := Span{
		SpanID: f.Span.String(), Depth: j.Depth, Name: f.Name, Emitter: f.Emitter, Dialect: f.Dialect, Role: f.Role.String(),
		Verdict: string(j.Verdict.Kind), Reason: j.Verdict.Reason, Model: f.Model, Reported: f.Usage.Named(),
	}
	if s.Model == "" {
		s.Model = f.Requested
	}
	if f.Parent != (attribution.SpanID{}) {
		s.Parent = f.Parent.String()
	}
	if j.Verdict.Of != (attribution.SpanID{}) {
		s.Of = j.Verdict.Of.String()
	}
	if j.Verdict.In != (attribution.TraceID{}) {
		s.In = j.Verdict.In.String()
	}
	if len(s.Reported) > 0 {
		r := f.Reading()
		s.Read = &Vector{Meters: r.Vector.Named(), Cache: r.Cache, Thought: r.Thought}
	}
	for name, slot := range attribution.SlotNames {
		if v := f.Own.Slots[slot]; v != "" {
			if s.Says == nil {
				s.Says = map[string]string{}
			}
			s.Says[name] = v
		}
	}
	return s
}

func eventOf(p *attribution.Planned) Event {
	e := Event{
		ID: p.Event.ID, Meters: map[string]string{}, Model: p.Event.Model, Provider: p.Event.Provider, Run: p.Event.RunID,
		Flags: p.Event.Flags, Identity: map[string]Identity{},
	}
	for _, m := range p.Members {
		e.Spans = append(e.Spans, m.String())
	}
	for _, l := range p.Event.Lines {
		e.Meters[l.Meter] = l.Quantity.String()
	}
	for name, value := range map[string]string{
		"customer": p.Event.Customer, "user_id": p.Event.UserID, "session_id": p.Event.SessionID, "conversation_id": p.Event.ConversationID,
		"feature": p.Event.Feature, "step": p.Event.Step, "agent": p.Event.Agent,
	} {
		if value != "" {
			e.Identity[name] = Identity{value, string(p.Origin(name))}
		}
	}
	for _, d := range p.Event.Dimensions {
		e.Identity[d.Key] = Identity{Value: d.Value}
	}
	if p.Reading != nil {
		e.Cache, e.Thought = p.Reading.Cache, p.Reading.Thought
	}
	return e
}
