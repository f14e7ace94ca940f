package catalog

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// Unreachable names the rates of the catalogue itself that price nothing, whatever comes: for all that they name and at every time others go
// before them, or no event can be so. What it names is certain; it doesn't find all.
func (c *Catalog) Unreachable() []Problem {
	type found struct {
		reasons []string
		reached bool
	}
	all := map[*Rate]*found{}
	for i := range c.books {
		for _, g := range c.books[i].groups {
			for k, shapes := range g.byKind {
				for _, s := range shapes {
					for text, rates := range s.rates {
						for _, r := range rates {
							if r.Builtin {
								continue
							}
							if all[r] == nil {
								all[r] = &found{}
							}
							covers, covered := c.covers(&c.books[i], s, kind(k), text, r)
							all[r].reached = all[r].reached || !covered
							for _, cover := range covers {
								if !slices.Contains(all[r].reasons, cover.reason) {
									all[r].reasons = append(all[r].reasons, cover.reason)
								}
							}
						}
					}
				}
			}
		}
	}
	var out []Problem
	for r, f := range all {
		if !f.reached {
			slices.Sort(f.reasons)
			out = append(out, Problem{r.At, fmt.Sprintf("rate %q is never reached: %s", r.ID, strings.Join(f.reasons, "; "))})
		}
	}
	slices.SortFunc(out, func(a, b Problem) int { return strings.Compare(a.String(), b.String()) })
	return out
}

// cover is a time in which a rate isn't reached, and why.
type cover struct {
	span   span
	reason string
}

// covers are what goes before a rate under one of its keys, and whether that is always.
func (c *Catalog) covers(b *book, s *shape, k kind, text string, r *Rate) (covers []cover, always bool) {
	values, dims := s.values(text)
	plan := ""
	if s.has(fCustomer) {
		for _, p := range c.plans[values[fCustomer]] {
			if s.has(fPlan) && p.plan != values[fPlan] {
				covers = append(covers, cover{p.span, fmt.Sprintf("customer %q is on the plan %q, by %s", values[fCustomer], p.plan, p.at)})
			}
			if !s.has(fPlan) && p.span.from <= r.span.from && p.span.until >= r.span.until {
				plan = p.plan
			}
		}
	}
	for i := range b.groups {
		g := &b.groups[i]
		if first := g.any(); first.layer != s.layer {
			continue
		}
		for other, shapes := range g.byKind {
			for _, o := range shapes {
				model, before := c.goesBefore(o, kind(other), s, k, values, plan)
				if !before {
					continue
				}
				v := values
				v[fModel], v[fPlan] = model, cmp.Or(values[fPlan], plan)
				key, ok := o.key(&v, dims)
				if !ok {
					continue
				}
				for _, x := range o.rates[key] {
					if x != r && (x.Unit == "" || x.Unit == r.Unit) && x.span.overlaps(&r.span) {
						covers = append(covers, cover{x.span, fmt.Sprintf("rate %q at %s goes before it", x.ID, x.At)})
					}
				}
			}
		}
	}
	return covers, covered(&r.span, covers)
}

// goesBefore says whether every event that a key of s fits has, at each time, the rates of o before those of s, and which model these name.
// plan is the plan that all those events are on, when that is known and s names none.
func (c *Catalog) goesBefore(o *shape, otherKind kind, s *shape, k kind, values [fieldCount]string, plan string) (model string, before bool) {
	names := s.fields
	if plan != "" {
		names |= 1 << fPlan
	}
	if o.fields&^names != 0 {
		return "", false
	}
	model = values[fModel]
	sameModel := o.has(fModel) == s.has(fModel) && otherKind == k
	if o.has(fCustomer) == s.has(fCustomer) && o.has(fPlan) && !s.has(fPlan) { // by the customer's plan
		return model, sameModel || !o.has(fModel)
	}
	if o.has(fCustomer) != s.has(fCustomer) || o.has(fPlan) != s.has(fPlan) {
		return "", false
	}
	if k == byPattern && otherKind == named { // a model that all those names are known as
		model = c.names.knownAs(values[fProvider], model)
		return model, model != ""
	}
	return model, sameModel && o.fields == s.fields && slices.Equal(o.dims, s.dims) && o.daily && !s.daily
}

// knownAs is the model that all names of a pattern are known as, by a pattern of the model, or empty.
func (n *names) knownAs(provider, pattern string) string {
	for _, scope := range [...]*models{n.models[provider], n.models[""]} {
		if scope == nil {
			continue
		}
		for i, p := range scope.patterns.texts {
			if contains(p, pattern) {
				return scope.patternOf[i]
			}
			if intersect(p, pattern) {
				break
			}
		}
	}
	return ""
}

// values are the fields and dimensions that a key of s names.
func (s *shape) values(key string) (values [fieldCount]string, dims map[string]string) {
	parts := strings.Split(key, "\x00")
	for f := range fieldCount {
		if s.has(f) {
			values[f], parts = parts[0], parts[1:]
		}
	}
	dims = make(map[string]string, len(s.dims))
	for i, d := range s.dims {
		dims[d] = parts[i]
	}
	return values, dims
}

// key is what a look-up in s finds rates by; ok is false when s names a dimension that isn't known.
func (s *shape) key(values *[fieldCount]string, dims map[string]string) (text string, ok bool) {
	var b strings.Builder
	for f := range fieldCount {
		if s.has(f) {
			b.WriteString(values[f] + "\x00")
		}
	}
	for _, d := range s.dims {
		v, known := dims[d]
		if !known {
			return "", false
		}
		b.WriteString(v + "\x00")
	}
	return b.String(), true
}

// covered says whether covers leave no time of a span.
func covered(s *span, covers []cover) bool {
	edges := []usage.Micros{s.from, s.until}
	for i := range covers {
		for _, edge := range [...]usage.Micros{covers[i].span.from, covers[i].span.until} {
			if edge > s.from && edge < s.until {
				edges = append(edges, edge)
			}
		}
	}
	slices.Sort(edges)
	for i := 1; i < len(edges); i++ {
		if edges[i-1] < edges[i] && !coveredDaily(s, edges[i-1], covers) {
			return false
		}
	}
	return true
}

// coveredDaily says the same of every day from a time on, until something changes.
func coveredDaily(s *span, from usage.Micros, covers []cover) bool {
	hours := []usage.Micros{0, microsPerDay}
	if s.daily() {
		hours = append(hours, s.hourFrom, s.hourUntil)
	}
	for i := range covers {
		if c := &covers[i].span; c.daily() {
			hours = append(hours, c.hourFrom, c.hourUntil)
		}
	}
	slices.Sort(hours)
	for _, at := range hours[:len(hours)-1] {
		day := *s
		day.from, day.until = math.MinInt64, math.MaxInt64
		if at == microsPerDay || !day.contains(at) {
			continue
		}
		if !slices.ContainsFunc(covers, func(c cover) bool {
			if from < c.span.from || from >= c.span.until {
				return false
			}
			c.span.from, c.span.until = math.MinInt64, math.MaxInt64
			return c.span.contains(at)
		}) {
			return false
		}
	}
	return true
}
