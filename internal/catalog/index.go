package catalog

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// index puts a rate under all keys that it stands for.
func (b *builder) index(r *Rate) {
	m := r.Entry.Match
	dims := sortedKeys(m.Dimensions)
	keys := []indexKey{{}}
	for f := range fieldCount {
		values := m.Fields[MatchFields[f]]
		if f == fMeter {
			values = nil
			if r.Meter != "" {
				values = []string{r.Meter}
			}
		}
		if keys = b.extend(keys, f, values); len(keys) > maxExpanded {
			b.problems.add(r.At, "stands for more than %d combinations", maxExpanded)
			return
		}
	}
	for _, d := range dims {
		var next []indexKey
		for _, k := range keys {
			for _, v := range m.Dimensions[d] {
				n := k
				n.text += v + "\x00"
				n.dims = append(slices.Clip(k.dims), v)
				next = append(next, n)
			}
		}
		if keys = next; len(keys) > maxExpanded {
			b.problems.add(r.At, "stands for more than %d combinations", maxExpanded)
			return
		}
	}
	for _, k := range keys {
		b.put(r, k, dims)
	}
}

// indexKey is a key as far as it is made.
type indexKey struct {
	fields          uint32
	pattern         bool
	text            string // what a look-up finds it by
	rest            string // the fields but the model
	provider, model string
	dims            []string // values of the shape's dims
}

func (b *builder) extend(keys []indexKey, f field, values []string) []indexKey {
	if len(values) == 0 {
		return keys
	}
	next := make([]indexKey, 0, len(keys)*len(values))
	for _, k := range keys {
		for _, v := range values {
			n := k
			n.fields |= 1 << f
			switch f {
			case fModel:
				v = strings.ToLower(v)
				n.model, n.pattern = v, isPattern(v)
			case fProvider:
				v = b.c.names.provider(strings.ToLower(v), "")
				n.provider = v
			}
			n.text += v + "\x00"
			if f != fModel {
				n.rest += v + "\x00"
			}
			next = append(next, n)
		}
	}
	return next
}

func (b *builder) put(r *Rate, k indexKey, dims []string) {
	signature := fmt.Sprintf("%s %d %d %t %q %t", r.Book, b.layer, k.fields, k.pattern, dims, r.span.daily())
	s := b.shapes[signature]
	if s == nil {
		s = &shape{layer: b.layer, fields: k.fields, pattern: k.pattern, dims: dims, daily: r.span.daily(), rates: map[string][]*Rate{}}
		b.shapes[signature] = s
		bk := b.c.book(r.Book)
		bk.present = true
		bk.add(s)
	}
	if k.model != "" && !k.pattern {
		b.c.names.know(k.provider, k.model)
	}
	if k.pattern && !b.seen[k.model] {
		b.seen[k.model] = true
		b.c.patterns.add(k.model)
	}
	s.rates[k.text] = append(s.rates[k.text], r)
	b.entries[s] = append(b.entries[s], indexed{rate: r, key: k})
}

func (c *Catalog) book(name string) *book {
	if name == BookCost {
		return &c.books[0]
	}
	return &c.books[1]
}

func (b *book) add(s *shape) {
	var k kind
	switch {
	case s.pattern:
		k = byPattern
	case !s.has(fModel):
		k = anyModel
	}
	for i := range b.groups {
		g := &b.groups[i]
		if first := g.any(); first.layer == s.layer && first.has(fCustomer) == s.has(fCustomer) && first.has(fPlan) == s.has(fPlan) {
			g.byKind[k] = append(g.byKind[k], s)
			return
		}
	}
	b.groups = append(b.groups, group{})
	b.groups[len(b.groups)-1].byKind[k] = []*shape{s}
}

func (g *group) any() *shape {
	for _, shapes := range g.byKind {
		if len(shapes) > 0 {
			return shapes[0]
		}
	}
	return nil
}

// compareShapes orders shapes of one group and kind: what counts more first. 0: they are equal.
func compareShapes(x, y *shape) int {
	for f := fProvider; f < fieldCount; f++ {
		if x.has(f) != y.has(f) {
			if x.has(f) {
				return -1
			}
			return 1
		}
	}
	if len(x.dims) != len(y.dims) {
		return len(y.dims) - len(x.dims)
	}
	if x.daily != y.daily {
		if x.daily {
			return -1
		}
		return 1
	}
	return 0
}

// finish puts everything in the order in which it is looked at.
func (b *builder) finish() {
	for i := range b.c.books {
		bk := &b.c.books[i]
		slices.SortStableFunc(bk.groups, func(x, y group) int {
			a, o := x.any(), y.any()
			return cmp.Or(a.layer-o.layer, first(a.has(fCustomer), o.has(fCustomer)), first(a.has(fPlan), o.has(fPlan)))
		})
		for g := range bk.groups {
			for k := range bk.groups[g].byKind {
				slices.SortStableFunc(bk.groups[g].byKind[k], func(x, y *shape) int {
					return cmp.Or(compareShapes(x, y), slices.Compare(x.dims, y.dims))
				})
			}
		}
	}
	for _, s := range b.shapes {
		for _, rates := range s.rates {
			slices.SortStableFunc(rates, func(x, y *Rate) int { return cmp.Compare(x.span.from, y.span.from) })
		}
	}
}

func first(x, y bool) int {
	switch {
	case x == y:
		return 0
	case x:
		return -1
	}
	return 1
}
