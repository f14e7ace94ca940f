package catalog

import (
	"errors"
	"fmt"
	"math/big"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// terms are compiled Terms.
type terms struct {
	flat    ratio  // price or markup, when there are no steps
	steps   []step // of tiers
	den     uint64 // of all steps
	mode    string
	over    string
	size    int64 // of a package, in millionths
	minimum usage.Amount
	// period says that an event alone has no amount.
	period   bool
	included int64 // millionths
	markup   bool
}

// step is a price up to a quantity in millionths: num over the den that all steps share.
type step struct {
	upTo int64
	num  uint64
}

func compileTerms(t *Terms, unit string) (*terms, error) {
	c := &terms{markup: t.Markup != ""}
	if c.markup {
		r, err := parseDecimal(t.Markup)
		if err != nil {
			return nil, fmt.Errorf("markup %w", err)
		}
		c.flat, err = newRatio(r)
		return c, err
	}
	per, ok := perUnits(t.Per, unit)
	if !ok {
		return nil, fmt.Errorf("a price per %s is for seconds, minutes or hours, not for the unit %q", t.Per, unit)
	}
	if err := c.amounts(t); err != nil {
		return nil, err
	}
	if t.Tiers == nil {
		r, err := priceRatio(t.Price, per)
		if err != nil {
			return nil, err
		}
		c.flat, err = newRatio(r)
		if err != nil {
			return nil, fmt.Errorf("price %w", err)
		}
		return c, nil
	}
	return c, c.tiers(t.Tiers, per)
}

// amounts reads minimum and included.
func (c *terms) amounts(t *Terms) error {
	if t.Minimum != "" {
		r, err := parseDecimal(t.Minimum)
		if err != nil {
			return fmt.Errorf("minimum %w", err)
		}
		v, err := toFixed(r, usage.AmountScale)
		if err != nil {
			return fmt.Errorf("minimum %w", err)
		}
		c.minimum = usage.Amount(v)
	}
	if t.Included != "" {
		v, err := quantityOf(t.Included)
		if err != nil {
			return fmt.Errorf("included %w", err)
		}
		c.included, c.period = v, true
	}
	return nil
}

func quantityOf(text string) (int64, error) {
	r, err := parseDecimal(text)
	if err != nil {
		return 0, err
	}
	return toFixed(r, usage.QuantityScale)
}

// priceRatio is trillionths per millionth of a unit.
func priceRatio(price string, per int64) (*big.Rat, error) {
	r, err := parseDecimal(price)
	if err != nil {
		return nil, fmt.Errorf("price %w", err)
	}
	r.Quo(r, new(big.Rat).SetInt64(per))
	return r.Mul(r, pow10(usage.AmountScale-usage.QuantityScale)), nil
}

func (c *terms) tiers(t *Tiers, per int64) error {
	c.mode, c.over = t.Mode, t.Over
	c.period = c.period || t.Over == "period"
	den := big.NewInt(1)
	ratios := make([]*big.Rat, len(t.Steps))
	for i, s := range t.Steps {
		r, err := priceRatio(s.Price, per)
		if err != nil {
			return err
		}
		if t.Mode == "package" { // per package: trillionths
			r.Mul(r, pow10(usage.QuantityScale))
		}
		ratios[i] = r
		common := new(big.Int).GCD(nil, nil, den, r.Denom())
		den.Mul(den, new(big.Int).Quo(r.Denom(), common))
	}
	if t.Mode == "package" {
		size, err := quantityOf(t.Size)
		if err != nil {
			return fmt.Errorf("size %w", err)
		}
		if size == 0 {
			return errors.New("size is zero")
		}
		c.size = size
	}
	if !den.IsInt64() {
		return errors.New("prices of the steps have too many digits to be added exactly in 128 bits")
	}
	c.den = den.Uint64()
	for i, s := range t.Steps {
		num := new(big.Int).Mul(ratios[i].Num(), new(big.Int).Quo(den, ratios[i].Denom()))
		if !num.IsInt64() {
			return errors.New("prices of the steps have too many digits to be computed exactly in 128 bits")
		}
		upTo := int64(endless)
		if s.UpTo != "" {
			var err error
			if upTo, err = quantityOf(s.UpTo); err != nil {
				return fmt.Errorf("up_to %w", err)
			}
		}
		c.steps = append(c.steps, step{upTo, num.Uint64()})
	}
	return nil
}

// linear says whether the amounts of parts add up to the amount of the whole, but for rounding: so that a correction's can be known.
func (c *terms) linear() bool { return c.minimum == 0 && (c.steps == nil || c.over == "context") }

// amount is what a quantity costs. context is the size of the call, in millionths of a token; it matters for tiers over the context.
// ok is false when the amount has more than 18 digits.
func (c *terms) amount(q, context int64) (usage.Amount, bool) {
	a, ok := c.tiered(q, context)
	if ok && q > 0 && a < c.minimum {
		a = c.minimum
	}
	return a, ok
}

func (c *terms) tiered(q, context int64) (usage.Amount, bool) {
	if c.steps == nil {
		return c.flat.apply(q)
	}
	if c.over == "context" {
		return ratio{c.stepOf(context).num, c.den}.apply(q)
	}
	switch c.mode {
	case "volume":
		return ratio{c.stepOf(q).num, c.den}.apply(q)
	case "package":
		packages := q / c.size
		if q%c.size > 0 {
			packages++
		}
		return ratio{c.stepOf(q).num, c.den}.apply(packages)
	}
	var sum sum128
	below := int64(0)
	for _, s := range c.steps {
		if q <= below {
			break
		}
		sum.addProduct(uint64(min(q, s.upTo)-below), s.num)
		below = s.upTo
	}
	v, ok := sum.divide(c.den)
	return usage.Amount(v), ok
}

func (c *terms) stepOf(q int64) step {
	for _, s := range c.steps {
		if q <= s.upTo {
			return s
		}
	}
	return c.steps[len(c.steps)-1]
}

// total is the amount of a period's quantity: what is included goes first.
func (c *terms) total(q int64) (usage.Amount, bool) {
	return c.amount(max(q-c.included, 0), 0)
}
