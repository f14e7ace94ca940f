package catalog

import (
	"strings"
	"sync"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// FlagPeriod is on events with a line whose amount is left to the period.
const FlagPeriod = "period_priced"

// Reason is why a line has no amount in a book.
type Reason uint8

// Reasons.
const (
	NoRate       Reason = iota // no rate fits
	Overflow                   // more than 18 digits
	NoCorrection               // a difference, at a rate of which amounts of parts don't add up
	NoCost                     // a mark-up on a cost that isn't known
	OfPeriod                   // the rate depends on the total of a period
)

func (r Reason) String() string {
	return [...]string{"rate", "overflow", "correction", "cost", "period"}[r]
}

// Missing is a line without an amount.
type Missing struct {
	Line   int
	Book   string
	Reason Reason
}

var finders = sync.Pool{New: func() any { return &finder{buf: make([]byte, 0, 256)} }}

// Price sets the cost and the price of every line of e, which must be normalized, and the flags that say what has none. It appends
// to dst what has none. What e had before is replaced.
//
// A retraction is left alone: the ledger gives it what its target was charged, negative. The lines of a correction are differences and are
// priced like usage, at e's own time; at a rate with a minimum or tiers they have no amount, except at tiers by context when e
// says its context (usage.DimensionContext) and doesn't take the call from one tier to another. Each book that has no rates at all is left empty and misses nothing.
func (c *Catalog) Price(e *usage.Event, dst []Missing) []Missing {
	if e.Kind == usage.KindRetraction {
		return dst
	}
	f := finders.Get().(*finder)
	dst = c.price(f, e, dst)
	f.event = nil
	finders.Put(f)
	return dst
}

func (c *Catalog) price(f *finder, e *usage.Event, dst []Missing) []Missing {
	f.begin(c, e)
	start := len(dst)
	for i := range e.Lines {
		e.Lines[i].Cost, e.Lines[i].Price = usage.Charge{}, usage.Charge{}
	}
	for n, book := range [...]string{BookCost, BookPrice} {
		if !c.books[n].present {
			continue
		}
		for i := range e.Lines {
			reason, missing := f.charge(&c.books[n], &e.Lines[i], chargeOf(&e.Lines[i], book))
			if missing && !paidByTokens(f, &c.books[n], book, e, i, reason) {
				dst = append(dst, Missing{i, book, reason})
			}
		}
	}
	setFlags(e, dst[start:])
	return dst
}

func chargeOf(l *usage.Line, book string) *usage.Charge {
	if book == BookCost {
		return &l.Cost
	}
	return &l.Price
}

// paidByTokens gives requests that have no rate of their own the charge zero, at the rate of the event's tokens: the catalogue says how the
// model is charged, and that it is by tokens. Requests of an event without tokens that have a charge stay without one.
func paidByTokens(f *finder, b *book, name string, e *usage.Event, line int, reason Reason) bool {
	requests := &e.Lines[line]
	if requests.Meter != usage.MeterLLMRequests || reason != NoRate && reason != NoCost {
		return false
	}
	for i := range e.Lines {
		l := &e.Lines[i]
		if !strings.HasPrefix(l.Meter, "llm_tokens_") {
			continue
		}
		var charge usage.Charge
		if _, missing := f.charge(b, l, &charge); !missing {
			*chargeOf(requests, name) = usage.Charge{Currency: charge.Currency, Rate: charge.Rate}
			return true
		}
	}
	return false
}

func setFlags(e *usage.Event, missing []Missing) {
	e.Flags = without(without(e.Flags, usage.FlagUnpriced), FlagPeriod)
	for _, m := range missing {
		if m.Reason == OfPeriod {
			e.AddFlag(FlagPeriod)
		} else {
			e.AddFlag(usage.FlagUnpriced)
		}
	}
}

func without(flags []string, flag string) []string {
	for i, f := range flags {
		if f == flag {
			return append(append([]string(nil), flags[:i]...), flags[i+1:]...)
		}
	}
	return flags
}

// charge computes a line's amount in a book.
func (f *finder) charge(b *book, l *usage.Line, into *usage.Charge) (Reason, bool) {
	r := f.rate(b, l)
	if r == nil {
		return NoRate, true
	}
	t := r.terms
	switch {
	case t.period:
		return OfPeriod, true
	case t.markup:
		if !l.Cost.Known() {
			return NoCost, true
		}
		v, ok := t.flat.apply(int64(l.Cost.Amount))
		if !ok {
			return Overflow, true
		}
		*into = usage.Charge{Amount: v, Currency: l.Cost.Currency, Rate: r.ref}
		return 0, false
	}
	correction := f.event.Kind != usage.KindUsage
	if correction && !t.linear() {
		return NoCorrection, true
	}
	var context int64
	if t.over == "context" {
		var known bool
		context, known = contextOf(f.event)
		if !known || correction && t.stepOf(context).num != t.stepOf(context-givenBy(f.event)).num {
			return NoCorrection, true
		}
	}
	v, ok := t.amount(int64(l.Quantity), context)
	if !ok {
		return Overflow, true
	}
	*into = usage.Charge{Amount: v, Currency: r.Currency, Rate: r.ref}
	return 0, false
}

// contextOf is the number of tokens that a call was given, in millionths: of a correction, what the call comes to with it, which only a dimension
// tells.
func contextOf(e *usage.Event) (sum int64, known bool) {
	if text := dimension(e, usage.DimensionContext); text != "" {
		q, err := usage.ParseQuantity(text)
		return int64(q), err == nil && q >= 0
	}
	if e.Kind != usage.KindUsage {
		return 0, false
	}
	return givenBy(e), true
}

// givenBy is the sum of an event's own given tokens, in millionths; a correction's is a difference.
func givenBy(e *usage.Event) (sum int64) {
	for i := range e.Lines {
		if usage.GivenTokens(e.Lines[i].Meter) {
			sum = min(most, max(-most, sum+int64(e.Lines[i].Quantity)))
		}
	}
	return sum
}
