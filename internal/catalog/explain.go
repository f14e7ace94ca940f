package catalog

import (
	"fmt"
	"strings"

	"github.com/usagebox/otelcol-usagebox/internal/decimal"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// Explanation is how a line came by its charge in a book, or why it has none.
type Explanation struct {
	Line       int
	Book       string
	Rate       *Rate // nil when none of its own fits
	Charge     usage.Charge
	Reason     Reason // when the charge is not known
	Arithmetic string // written out, when the charge is known
}

// Explain prices e as Price does, and says how. It has an Explanation for every line in every book that has rates.
func (c *Catalog) Explain(e *usage.Event) []Explanation {
	c.Price(e, nil)
	f := &finder{}
	f.begin(c, e)
	var out []Explanation
	for i := range e.Lines {
		l := &e.Lines[i]
		for n, book := range [...]string{BookCost, BookPrice} {
			if !c.books[n].present {
				continue
			}
			x := Explanation{Line: i, Book: book, Rate: f.rate(&c.books[n], l)}
			var missing bool
			x.Reason, missing = f.charge(&c.books[n], l, &x.Charge)
			switch priced := *chargeOf(l, book); {
			case missing && priced.Known():
				x.Charge, x.Arithmetic = priced, "paid for by its tokens = 0 "+priced.Currency
			case !missing:
				x.Arithmetic = f.arithmetic(x.Rate, l, x.Charge)
			}
			out = append(out, x)
		}
	}
	return out
}

// Has says whether a book has any rates.
func (c *Catalog) Has(book string) bool { return c.book(book).present }

func (f *finder) arithmetic(r *Rate, l *usage.Line, charge usage.Charge) string {
	t := &r.Terms
	result := fmt.Sprintf(" = %s %s", charge.Amount, charge.Currency)
	if t.Markup != "" {
		return fmt.Sprintf("cost %s × %s", l.Cost.Amount, t.Markup) + result
	}
	per, _ := perUnits(t.Per, r.Unit)
	product := func(q usage.Quantity, price string) string {
		if per == 1 {
			return fmt.Sprintf("%s × %s", q, price)
		}
		return fmt.Sprintf("%s × %s / %d", q, price, per)
	}
	var text string
	switch {
	case t.Tiers == nil:
		text = product(l.Quantity, t.Price)
	case t.Tiers.Over == "context":
		context, _ := contextOf(f.event)
		text = fmt.Sprintf("%s (of a call with %s tokens of input)", product(l.Quantity, stepPrice(t, context)), usage.Quantity(context))
	case t.Tiers.Mode == "volume":
		text = product(l.Quantity, stepPrice(t, int64(l.Quantity)))
	case t.Tiers.Mode == "package":
		packages := int64(l.Quantity) / r.terms.size
		if int64(l.Quantity)%r.terms.size > 0 {
			packages++
		}
		text = fmt.Sprintf("%d packages of %s × %s", packages, t.Tiers.Size, stepPrice(t, int64(l.Quantity)))
	default:
		var parts []string
		below := int64(0)
		for i, s := range r.terms.steps {
			if int64(l.Quantity) <= below {
				break
			}
			parts = append(parts, product(usage.Quantity(min(int64(l.Quantity), s.upTo)-below), t.Tiers.Steps[i].Price))
			below = s.upTo
		}
		text = strings.Join(parts, " + ")
	}
	if r.terms.minimum > 0 && charge.Amount == r.terms.minimum {
		text += fmt.Sprintf(", at least %s", t.Minimum)
	}
	return text + result
}

func stepPrice(t *Terms, q int64) string {
	for _, s := range t.Tiers.Steps {
		if s.UpTo == "" {
			return s.Price
		}
		if upTo, err := quantityOf(s.UpTo); err == nil && q <= upTo {
			return s.Price
		}
	}
	return ""
}

// MatchText is what a rate names, for people.
func (r *Rate) MatchText() string {
	m := r.Entry.Match
	if text := m.flow(); text != "" {
		return strings.Trim(text, "{}")
	}
	return "everything"
}

// TermsText is how a rate turns quantities into amounts, for people.
func (r *Rate) TermsText() string {
	t := &r.Terms
	per := t.Per
	if per == "" || per == "unit" {
		per = r.Unit
	}
	var text string
	switch {
	case t.Markup != "":
		return "cost × " + t.Markup
	case t.Tiers == nil:
		text = t.Price + " " + r.Currency
		if per != "" {
			text += " per " + per
		}
	default:
		var steps []string
		for _, s := range t.Tiers.Steps {
			step := s.Price
			if s.UpTo != "" {
				step += " to " + s.UpTo
			}
			steps = append(steps, step)
		}
		if t.Tiers.Size != "" {
			per = "package of " + t.Tiers.Size
		}
		text = fmt.Sprintf("%s over the %s: %s %s per %s", t.Tiers.Mode, t.Tiers.Over, strings.Join(steps, ", then "), r.Currency, per)
	}
	if t.Minimum != "" {
		text += ", at least " + t.Minimum
	}
	if t.Included != "" {
		text += ", " + t.Included + " included"
	}
	return text
}

// EffectiveText is when a rate holds, for people; empty when always.
func (r *Rate) EffectiveText() string {
	e := r.Entry.Effective
	var parts []string
	if e.From != "" {
		parts = append(parts, "from "+shortTime(e.From))
	}
	if e.Until != "" {
		parts = append(parts, "until "+shortTime(e.Until))
	}
	if e.Hours != nil {
		parts = append(parts, e.Hours.From+" to "+e.Hours.Until+" UTC")
	}
	return strings.Join(parts, " ")
}

func shortTime(text string) string { return strings.TrimSuffix(text, "T00:00:00Z") }

// Holds says whether the rate is in force at a time.
func (r *Rate) Holds(at usage.Micros) bool { return r.span.contains(at) }

// AmountText is the decimal text of a sum of amounts.
func AmountText(v decimal.Int128) string { return string(v.Append(nil, usage.AmountScale)) }

// Ended says whether the rate holds no more.
func (r *Rate) Ended(now usage.Micros) bool { return r.span.until <= now }
