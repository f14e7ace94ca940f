package catalog

import (
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/usagebox/otelcol-usagebox/usage"
)

func (d *decoder) document(n *yaml.Node, depth int) *Document {
	doc := &Document{Builtin: depth == 0}
	d.currency = "USD"
	if n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == "currency" {
				d.currencyField(&d.currency)(n.Content[i+1])
			}
		}
	}
	readers := map[string]func(*yaml.Node){
		"catalog": func(n *yaml.Node) {
			if n.Value != "1" {
				d.fail(n, "catalog is %.16q: this program reads version %d", n.Value, FormatVersion)
			}
			doc.Catalog = FormatVersion
		},
		"builtin": func(n *yaml.Node) {
			if n.ShortTag() != "!!bool" {
				d.fail(n, "builtin is true or false")
			}
			doc.Builtin = n.Value == "true"
		},
		"currency":  func(*yaml.Node) {},
		"sources":   d.list("sources", func(n *yaml.Node) { doc.Sources = append(doc.Sources, d.source(n)) }),
		"providers": d.list("providers", func(n *yaml.Node) { doc.Providers = append(doc.Providers, d.provider(n)) }),
		"models":    d.list("models", func(n *yaml.Node) { doc.Models = append(doc.Models, d.model(n)) }),
		"customers": d.list("customers", func(n *yaml.Node) { doc.Customers = append(doc.Customers, d.customer(n)) }),
		"rates":     d.list("rates", func(n *yaml.Node) { doc.Rates = append(doc.Rates, d.entry(n)) }),
	}
	if depth == 0 {
		readers["base"] = func(n *yaml.Node) {
			currency := d.currency
			doc.Base = d.document(n, depth+1)
			d.currency = currency
		}
	}
	d.fields(n, "a catalogue", readers)
	if doc.Catalog == 0 && n.Kind == yaml.MappingNode {
		d.fail(n, "has no catalog: 1, the version of its format")
	}
	if doc.Base != nil && doc.Builtin {
		d.fail(n, "has a base, so builtin must be false")
	}
	return doc
}

func (d *decoder) list(what string, read func(*yaml.Node)) func(*yaml.Node) {
	return func(n *yaml.Node) { d.items(n, what, read) }
}

func (d *decoder) source(n *yaml.Node) Source {
	s := Source{at: d.at(n)}
	d.fields(n, "a source", map[string]func(*yaml.Node){
		"id": d.scalar("id", &s.ID), "url": d.scalar("url", &s.URL), "version": d.scalar("version", &s.Version),
		"date": d.scalar("date", &s.Date), "licence": d.scalar("licence", &s.Licence),
	})
	d.required(n, "a source", "id", s.ID)
	return s
}

func (d *decoder) required(n *yaml.Node, what, field, value string) {
	if value == "" && n.Kind == yaml.MappingNode {
		d.fail(n, "%s has no %s", what, field)
	}
}

func (d *decoder) provider(n *yaml.Node) Provider {
	p := Provider{at: d.at(n)}
	d.fields(n, "a provider", map[string]func(*yaml.Node){
		"name": d.scalar("name", &p.Name), "aliases": d.names("aliases", &p.Aliases),
		"models": d.names("models", &p.Models), "fallback": d.names("fallback", &p.Fallback),
	})
	d.required(n, "a provider", "name", p.Name)
	return p
}

func (d *decoder) model(n *yaml.Node) Model {
	m := Model{at: d.at(n)}
	d.fields(n, "a model", map[string]func(*yaml.Node){
		"provider": d.scalar("provider", &m.Provider), "model": d.scalar("model", &m.Model),
		"aliases": d.names("aliases", &m.Aliases), "patterns": d.names("patterns", &m.Patterns),
	})
	d.required(n, "a model", "model", m.Model)
	return m
}

func (d *decoder) customer(n *yaml.Node) Customer {
	c := Customer{at: d.at(n)}
	d.fields(n, "a customer", map[string]func(*yaml.Node){
		"customer": d.scalar("customer", &c.Customer), "plan": d.scalar("plan", &c.Plan), "effective": d.effective(&c.Effective),
	})
	d.required(n, "a customer", "customer", c.Customer)
	d.required(n, "a customer", "plan", c.Plan)
	if c.Effective.Hours != nil {
		d.fail(n, "a plan has no hours")
	}
	return c
}

func (d *decoder) entry(n *yaml.Node) Entry {
	e := Entry{at: d.at(n)}
	readers := d.termReaders(&e.Terms)
	readers["id"] = d.scalar("id", &e.ID)
	readers["book"] = d.oneOf("book", &e.Book, BookCost, BookPrice)
	readers["match"] = func(n *yaml.Node) { d.match(n, &e.Match) }
	readers["currency"] = d.currencyField(&e.Currency)
	readers["effective"] = d.effective(&e.Effective)
	readers["source"] = d.scalar("source", &e.Source)
	readers["prices"] = func(n *yaml.Node) { d.prices(n, &e) }
	d.fields(n, "a rate", readers)
	d.required(n, "a rate", "book", e.Book)
	e.Terms.at = e.at
	if e.Prices != nil {
		if e.Price != "" || e.Markup != "" || e.Tiers != nil || e.Minimum != "" || e.Included != "" || e.Unit != "" {
			d.fail(n, "a rate has either prices, by meter, or terms of its own")
		}
		if e.Match.Fields["meter"] != nil {
			d.fail(n, "a rate with prices, by meter, names no meter in match")
		}
	} else {
		d.checkTerms(n, "a rate", &e.Terms)
	}
	if e.Currency == "" && e.Markup == "" {
		e.Currency = d.currency
	}
	if e.Book == BookCost && e.Markup != "" {
		d.fail(n, "a mark-up is of the cost, so it is for the book price")
	}
	if e.Markup != "" && e.Currency != "" {
		d.fail(n, "a mark-up has the currency of the cost: leave currency out")
	}
	return e
}

// MatchFields are the fields of an event that a rate can name, in the order in which they count, beside its dimensions.
var MatchFields = []string{
	"customer", "plan", "model", "provider", "meter", "operation", "feature", "agent", "step", "service", "user", "batch", "service_tier", "region",
}

func (d *decoder) match(n *yaml.Node, m *Match) {
	m.Fields = map[string][]string{}
	readers := map[string]func(*yaml.Node){
		"dimensions": func(n *yaml.Node) {
			if n.Kind != yaml.MappingNode || len(n.Content) == 0 {
				d.fail(n, "dimensions is not a mapping of names to values")
				return
			}
			m.Dimensions = map[string][]string{}
			for i := 0; i+1 < len(n.Content); i += 2 {
				var key string
				var values []string
				d.scalar("a dimension", &key)(n.Content[i])
				d.names("dimension "+key, &values)(n.Content[i+1])
				if _, twice := m.Dimensions[key]; twice {
					d.fail(n.Content[i], "dimensions has %.64q twice", key)
				}
				if slices.Contains(dimensionFields, key) {
					d.fail(n.Content[i], "%s is a field of match itself", key)
				}
				m.Dimensions[key] = values
			}
		},
	}
	for _, field := range MatchFields {
		readers[field] = func(n *yaml.Node) {
			var values []string
			d.names(field, &values)(n)
			m.Fields[field] = values
		}
	}
	d.fields(n, "match", readers)
}

func (d *decoder) prices(n *yaml.Node, e *Entry) {
	if n.Kind != yaml.MappingNode || len(n.Content) == 0 {
		d.fail(n, "prices is not a mapping of meters to prices")
		return
	}
	e.Prices = map[string]Terms{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		var meter string
		t := Terms{at: d.at(n.Content[i])}
		d.scalar("a meter", &meter)(n.Content[i])
		if _, twice := e.Prices[meter]; twice {
			d.fail(n.Content[i], "prices has %.64q twice", meter)
		}
		if value := n.Content[i+1]; value.Kind == yaml.MappingNode {
			d.fields(value, "a price", d.termReaders(&t))
			if t.Markup != "" {
				d.fail(value, "a mark-up is a rate of its own")
			}
			d.checkTerms(value, "a price", &t)
		} else {
			d.decimal("price", &t.Price)(value)
		}
		e.Prices[meter] = t
	}
}

func (d *decoder) termReaders(t *Terms) map[string]func(*yaml.Node) {
	return map[string]func(*yaml.Node){
		"price":    d.decimal("price", &t.Price),
		"per":      d.oneOf("per", &t.Per, "unit", "thousand", "million", "minute", "hour"),
		"unit":     d.scalar("unit", &t.Unit),
		"markup":   d.decimal("markup", &t.Markup),
		"minimum":  d.decimal("minimum", &t.Minimum),
		"included": d.decimal("included", &t.Included),
		"tiers": func(n *yaml.Node) {
			t.Tiers = &Tiers{Over: "period"}
			d.tiers(n, t.Tiers)
		},
	}
}

func (d *decoder) tiers(n *yaml.Node, t *Tiers) {
	d.fields(n, "tiers", map[string]func(*yaml.Node){
		"mode": d.oneOf("mode", &t.Mode, "graduated", "volume", "package"),
		"over": d.oneOf("over", &t.Over, "period", "event", "context"),
		"size": d.decimal("size", &t.Size),
		"steps": d.list("steps", func(n *yaml.Node) {
			var s Step
			d.fields(n, "a step", map[string]func(*yaml.Node){"up_to": d.decimal("up_to", &s.UpTo), "price": d.decimal("price", &s.Price)})
			d.required(n, "a step", "price", s.Price)
			t.Steps = append(t.Steps, s)
		}),
	})
	d.required(n, "tiers", "mode", t.Mode)
	if len(t.Steps) == 0 {
		d.fail(n, "tiers has no steps")
	}
	if (t.Mode == "package") != (t.Size != "") {
		d.fail(n, "size is for the mode package, which needs it")
	}
	if t.Over == "context" && t.Mode != "volume" {
		d.fail(n, "tiers over the context are of the mode volume: the whole call has the price of its step")
	}
	var last string
	for i, s := range t.Steps {
		if (s.UpTo == "") != (i == len(t.Steps)-1) {
			d.fail(n, "every step but the last has an up_to")
			return
		}
		if i > 0 && s.UpTo != "" && !less(last, s.UpTo) {
			d.fail(n, "up_to %s does not come after %s", s.UpTo, last)
		}
		last = s.UpTo
	}
}

// less compares decimals that parseDecimal has read.
func less(a, b string) bool {
	x, errX := parseDecimal(a)
	y, errY := parseDecimal(b)
	return errX == nil && errY == nil && x.Cmp(y) < 0
}

func (d *decoder) checkTerms(n *yaml.Node, what string, t *Terms) {
	ways := 0
	for _, set := range [...]bool{t.Price != "", t.Markup != "", t.Tiers != nil} {
		if set {
			ways++
		}
	}
	if ways != 1 && n.Kind == yaml.MappingNode {
		d.fail(n, "%s has one of price, tiers, markup or (a rate) prices", what)
	}
	if t.Markup != "" && (t.Per != "" || t.Minimum != "" || t.Included != "" || t.Unit != "") {
		d.fail(n, "a mark-up has no per, unit, minimum or included")
	}
	if t.Tiers != nil && t.Tiers.Over == "context" && t.Included != "" {
		d.fail(n, "included is of a period's total, tiers over the context are of a call")
	}
	if t.Tiers != nil && t.Tiers.Mode == "package" && t.Per != "" {
		d.fail(n, "a package's price is for its size: leave per out")
	}
}

// perUnits is how many of a meter's units a price is for.
func perUnits(per, unit string) (int64, bool) {
	switch per {
	case "", "unit":
		return 1, true
	case "thousand":
		return 1000, true
	case "million":
		return 1_000_000, true
	case "minute":
		switch unit {
		case "second":
			return 60, true
		case "minute":
			return 1, true
		}
	case "hour":
		switch unit {
		case "second":
			return 3600, true
		case "minute":
			return 60, true
		case "hour":
			return 1, true
		}
	}
	return 0, false
}

func unitOf(t *Terms, meter string) string {
	if t.Unit != "" {
		return t.Unit
	}
	return usage.UnitOf(meter)
}
