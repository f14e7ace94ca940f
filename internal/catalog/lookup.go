package catalog

import (
	"slices"
	"sort"
	"strings"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// finder looks rates up for the lines of one event. Its buffers are used again for the next one.
type finder struct {
	c      *Catalog
	event  *usage.Event
	values [fieldCount]string // of the event; model and meter change
	*model
	models map[modelName]*model // of c, that came before
	buf    []byte
}

// modelName is how an event names its model.
type modelName struct{ provider, model string }

// model is what a catalogue makes of a model's name.
type model struct {
	provider string
	names    []candidate // named
	globs    []candidate // patterns of rates, the longest text first
}

// keptModels is how many a finder remembers.
const keptModels = 256

// begin reads what rates can name from an event.
func (f *finder) begin(c *Catalog, e *usage.Event) {
	if f.c != c || len(f.models) >= keptModels {
		f.c, f.models = c, make(map[modelName]*model)
	}
	f.event = e
	if f.model = f.models[modelName{e.Provider, e.Model}]; f.model == nil {
		f.model = c.model(e.Provider, e.Model)
		f.models[modelName{strings.Clone(e.Provider), strings.Clone(e.Model)}] = f.model
	}
	f.values = [fieldCount]string{
		fCustomer: e.Customer, fProvider: f.provider, fOperation: e.Operation, fFeature: e.Feature, fAgent: e.Agent, fStep: e.Step,
		fService: e.Service, fUser: e.UserID,
		fPlan: dimension(e, "plan"), fBatch: dimension(e, "batch"), fServiceTier: dimension(e, "service_tier"), fRegion: dimension(e, "region"),
	}
	if plans, ok := c.plans[e.Customer]; ok {
		for i := range plans {
			if plans[i].span.contains(e.Timestamp) {
				f.values[fPlan] = plans[i].plan
				break
			}
		}
	}
}

// model looks a model up by its name.
func (c *Catalog) model(provider, name string) *model {
	name, provider = strings.ToLower(strings.Clone(name)), strings.ToLower(strings.Clone(provider))
	provider, short := c.names.resolve(provider, name)
	m := &model{provider: provider, names: c.names.candidates(nil, provider, name)}
	if short != name {
		m.names = c.names.candidates(m.names, provider, short)
	}
	if len(c.patterns.texts) > 0 && name != "" {
		c.patterns.each(name, func(i int) { m.globs = append(m.globs, candidate{byPattern, c.patterns.texts[i]}) })
		slices.SortStableFunc(m.globs, func(a, b candidate) int { return literal(b.text) - literal(a.text) })
	}
	return m
}

func dimension(e *usage.Event, key string) string {
	i, found := slices.BinarySearchFunc(e.Dimensions, key, func(d usage.Dimension, key string) int { return strings.Compare(d.Key, key) })
	if !found {
		return ""
	}
	return e.Dimensions[i].Value
}

// partOf is the meter that a meter is a part of, or empty.
func partOf(meter string) string {
	switch {
	case !strings.HasPrefix(meter, "llm_tokens_"):
		return ""
	case meter == usage.MeterTokensReasoning, strings.HasPrefix(meter, usage.MeterTokensOut+"_"):
		return usage.MeterTokensOut
	case meter != usage.MeterTokensIn && usage.GivenTokens(meter):
		return usage.MeterTokensIn
	}
	return ""
}

// rate is the one that fits a line best, or nil.
func (f *finder) rate(b *book, l *usage.Line) *Rate {
	own, name := f.search(b, l.Meter, l.Unit)
	if own != nil && own.Meter != "" && name == 0 {
		return own
	}
	whole := partOf(l.Meter)
	if whole == "" {
		return own
	}
	other, otherName := f.search(b, whole, l.Unit)
	if own == nil || own.Meter == "" || other != nil && other.Meter != "" && otherName < name {
		return other
	}
	return own
}

var noModel = []candidate{{anyModel, ""}}

// search is the first rate for a meter, and how good the name is by which it names the model: 0 is the best.
func (f *finder) search(b *book, meter, unit string) (r *Rate, name int) {
	f.values[fMeter] = meter
	for i := range b.groups {
		g := &b.groups[i]
		name = 0
		for k, candidates := range [...][]candidate{f.names, f.globs, noModel} {
			for _, c := range candidates {
				f.values[fModel] = c.text
				for _, s := range g.byKind[k] {
					if r := f.look(s, unit); r != nil {
						return r, name
					}
				}
				name++
			}
		}
	}
	return nil, 0
}

// look finds the rate of a shape that the event's values and time name.
func (f *finder) look(s *shape, unit string) *Rate {
	f.buf = f.buf[:0]
	for at := range fieldCount {
		if !s.has(at) {
			continue
		}
		if f.values[at] == "" {
			return nil
		}
		f.buf = append(append(f.buf, f.values[at]...), 0)
	}
	for _, d := range s.dims {
		v := dimension(f.event, d)
		if v == "" {
			return nil
		}
		f.buf = append(append(f.buf, v...), 0)
	}
	rates := s.rates[string(f.buf)]
	at := f.event.Timestamp
	n := len(rates)
	if n > 1 {
		n = sort.Search(n, func(i int) bool { return rates[i].span.from > at })
	}
	for n--; n >= 0; n-- {
		if r := rates[n]; r.span.contains(at) && (r.Unit == "" || r.Unit == unit) {
			return r
		}
	}
	return nil
}
