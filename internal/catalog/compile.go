package catalog

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// Catalog is a compiled catalogue. It does not change and can be used from several goroutines.
type Catalog struct {
	// Version is the first 16 hexadecimal digits of the SHA-256 of the canonical form.
	Version string

	doc      *Document
	rates    []*Rate
	books    [2]book // cost, price
	names    names
	plans    map[string][]planned
	patterns patterns // that rates name models by
}

// Rate is one way from quantities to an amount.
type Rate struct {
	ID       string
	Book     string
	Currency string // empty for a mark-up
	At       Position
	Builtin  bool // of the catalogue below
	Models   []string
	Meter    string // empty: of any
	Unit     string // of the lines that it is for; empty: of any
	Terms    Terms
	Entry    *Entry

	ref   string // version/id
	span  span
	terms *terms
}

// Period says whether the rate's amounts depend on the total of a period.
func (r *Rate) Period() bool { return r.terms.period }

// Total is what a period's quantity of the rate comes to; ok is false when that has more than 18 digits.
func (r *Rate) Total(q usage.Quantity) (usage.Amount, bool) { return r.terms.total(int64(q)) }

// field is a field of match that a shape looks at.
type field uint8

const (
	fCustomer field = iota
	fPlan
	fModel
	fProvider
	fMeter
	fOperation
	fFeature
	fAgent
	fStep
	fService
	fUser
	fBatch
	fServiceTier
	fRegion
	fieldCount
)

// dimensionFields are fields of match that are read from an event's dimensions.
var dimensionFields = []string{"plan", "batch", "service_tier", "region"}

// shape is all rates of one book that name the same fields: one look into a map finds those that fit.
type shape struct {
	layer   int
	fields  uint32 // bit of each field
	pattern bool   // the model is a pattern
	dims    []string
	daily   bool
	rates   map[string][]*Rate // sorted by from
}

func (s *shape) has(f field) bool { return s.fields&(1<<f) != 0 }

// book is the shapes of one book in the order in which they count, those that are equal in layer, customer and plan together.
type book struct {
	present bool
	groups  []group
}

type group struct{ byKind [3][]*shape }

type planned struct {
	plan string
	span span
}

// maxExpanded bounds how many keys one entry may stand for.
const maxExpanded = 20_000

// compile checks what single fields can't say, and builds the indexes. The error is Problems.
func compile(doc *Document, version string) (*Catalog, error) {
	c := &Catalog{Version: version, doc: doc, plans: map[string][]planned{}}
	layers := []*Document{doc}
	if doc.Base != nil {
		layers = append(layers, doc.Base)
	}
	var problems Problems
	c.names = compileNames(layers, &problems)
	b := &builder{c: c, problems: &problems, shapes: map[string]*shape{}, ids: map[string]Position{}, seen: map[string]bool{}, entries: map[*shape][]indexed{}}
	for layer, doc := range layers {
		b.layer = layer
		for _, customer := range doc.Customers {
			b.customer(customer)
		}
		for i := range doc.Rates {
			b.entry(&doc.Rates[i])
		}
	}
	b.ties()
	if len(problems) > 0 {
		slices.SortStableFunc(problems, func(x, y Problem) int {
			return cmp.Or(strings.Compare(x.File, y.File), x.Line-y.Line, x.Column-y.Column)
		})
		return nil, problems
	}
	b.finish()
	return c, nil
}

type builder struct {
	c        *Catalog
	problems *Problems
	layer    int
	shapes   map[string]*shape
	ids      map[string]Position
	seen     map[string]bool // patterns
	entries  map[*shape][]indexed
}

// indexed is a rate under one of its keys.
type indexed struct {
	rate *Rate
	key  indexKey
}

func (b *builder) customer(c Customer) {
	s, err := c.Effective.parse()
	if err != nil {
		b.problems.add(c.at, "effective %v", err)
		return
	}
	for _, other := range b.c.plans[c.Customer] {
		if other.span.overlaps(&s) && b.layer == 0 {
			b.problems.add(c.at, "customer %q is on the plan %q at the same time", c.Customer, other.plan)
			return
		}
	}
	b.c.plans[c.Customer] = append(b.c.plans[c.Customer], planned{c.Plan, s})
}

// entry makes an entry's rates: one by meter.
func (b *builder) entry(e *Entry) {
	s, err := e.Effective.parse()
	if err != nil {
		b.problems.add(e.at, "effective %v", err)
		return
	}
	id := b.id(e)
	switch meters := e.Match.Fields["meter"]; {
	case e.Prices != nil:
		names := make([]string, 0, len(e.Prices))
		for meter := range e.Prices {
			names = append(names, meter)
		}
		slices.Sort(names)
		for _, meter := range names {
			t := e.Prices[meter]
			if t.Per == "" && (t.Tiers == nil || t.Tiers.Mode != "package") {
				t.Per = e.Per
			}
			b.rate(e, id+"/"+meter, meter, t, s)
		}
	case len(meters) == 0:
		b.rate(e, id, "", e.Terms, s)
	case len(meters) == 1:
		b.rate(e, id, meters[0], e.Terms, s)
	default:
		for _, meter := range meters {
			b.rate(e, id+"/"+meter, meter, e.Terms, s)
		}
	}
}

// id is an entry's own, or made of what it names; it is unique within the catalogue.
func (b *builder) id(e *Entry) string {
	id := e.ID
	if id != "" {
		if at, twice := b.ids[id]; twice {
			if b.layer == 0 {
				b.problems.add(e.at, "id %q is already that of the rate at %s", id, at)
			}
			id = ""
		}
	}
	if id == "" {
		parts := []string{e.Book}
		for _, name := range MatchFields {
			parts = append(parts, e.Match.Fields[name]...)
		}
		for _, key := range sortedKeys(e.Match.Dimensions) {
			parts = append(parts, e.Match.Dimensions[key]...)
		}
		if len(parts) > 4 {
			parts = parts[:4]
		}
		id = strings.Join(parts, "/")
		for n := 2; b.ids[id] != (Position{}); n++ {
			id = fmt.Sprintf("%s~%d", strings.Join(parts, "/"), n)
		}
	}
	b.ids[id] = e.at
	return id
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (b *builder) rate(e *Entry, id, meter string, t Terms, s span) {
	at := t.at
	if at.Line == 0 {
		at = e.at
	}
	unit := t.Unit
	if meter != "" {
		unit = unitOf(&t, meter)
	}
	if meter == "" && e.Markup == "" && t.Unit == "" {
		if t.Price != "0" {
			b.problems.add(at, "a rate for every meter is a mark-up, a price of 0, or names the unit that it is per")
			return
		}
	}
	compiled, err := compileTerms(&t, unit)
	if err != nil {
		b.problems.add(at, "%v", err)
		return
	}
	r := &Rate{
		ID: id, Book: e.Book, Currency: e.Currency, At: at, Builtin: b.layer > 0, Models: e.Match.Fields["model"], Meter: meter, Unit: unit,
		Terms: t, Entry: e, ref: b.c.Version + "/" + id, span: s, terms: compiled,
	}
	b.c.rates = append(b.c.rates, r)
	b.index(r)
}

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
