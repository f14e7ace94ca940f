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
	at   Position
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
	b.c.plans[c.Customer] = append(b.c.plans[c.Customer], planned{c.Plan, s, c.at})
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
