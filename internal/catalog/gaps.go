package catalog

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Gaps are times between two rates of the catalogue itself that name the same, in which neither holds, and between two plans of a customer.
func (c *Catalog) Gaps() []Problem {
	var out []Problem
	seen := map[[2]*Rate]bool{}
	for i := range c.books {
		for _, g := range c.books[i].groups {
			for _, shapes := range g.byKind {
				for _, s := range shapes {
					for _, rates := range s.rates {
						out = gaps(out, rates, seen)
					}
				}
			}
		}
	}
	for customer, plans := range c.plans {
		plans = slices.SortedFunc(slices.Values(plans), func(a, b planned) int { return cmp.Compare(a.span.from, b.span.from) })
		for n := 1; n < len(plans); n++ {
			if a, b := &plans[n-1], &plans[n]; a.span.until < b.span.from {
				out = append(out, Problem{b.at, fmt.Sprintf("customer %q is on no plan of this catalogue between %s and %s", customer, untilText(&a.span), fromText(&b.span))})
			}
		}
	}
	slices.SortFunc(out, func(a, b Problem) int { return strings.Compare(a.String(), b.String()) })
	return out
}

// gaps are those between rates of one key, which are in the order in which they begin.
func gaps(out []Problem, rates []*Rate, seen map[[2]*Rate]bool) []Problem {
	last := map[string]*Rate{} // by unit: until when there is one
	for _, b := range rates {
		a := last[b.Unit]
		if a == nil || b.span.until > a.span.until {
			last[b.Unit] = b
		}
		if a == nil || a.Builtin || a.span.until >= b.span.from || seen[[2]*Rate{a, b}] {
			continue
		}
		seen[[2]*Rate{a, b}] = true
		out = append(out, Problem{b.At, fmt.Sprintf("between the end of rate %q, %s, and the start of rate %q, %s, neither holds: lines of that time have a rate that names less, or none",
			a.ID, untilText(&a.span), b.ID, fromText(&b.span))})
	}
	return out
}

const momentFormat = "2006-01-02T15:04:05.999999Z07:00"

func fromText(s *span) string { return s.from.Time().Format(momentFormat) }

func untilText(s *span) string { return s.until.Time().Format(momentFormat) }
