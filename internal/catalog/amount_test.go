package catalog

import (
	"fmt"
	"math/big"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// exactly is what an amount of trillionths has to be: half to even, or false beyond 18 digits.
func exactly(r *big.Rat) (usage.Amount, bool) {
	r = new(big.Rat).Mul(r, new(big.Rat).SetInt64(1_000_000_000_000))
	twice := new(big.Int).Mul(r.Num(), big.NewInt(2))
	q, m := new(big.Int).DivMod(new(big.Int).Add(twice, r.Denom()), new(big.Int).Mul(r.Denom(), big.NewInt(2)), new(big.Int))
	if m.Sign() == 0 && q.Bit(0) == 1 { // exactly between: the even one
		q.Sub(q, big.NewInt(1))
	}
	if !q.IsInt64() || q.Int64() > most || q.Int64() < -most {
		return 0, false
	}
	return usage.Amount(q.Int64()), true
}

func rat(text string) *big.Rat {
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		panic(text)
	}
	return r
}

// price is the text of a price with up to nine digits before and nine after the point.
var price = rapid.Custom(func(t *rapid.T) string {
	whole := rapid.OneOf(rapid.Int64Range(0, 20), rapid.Int64Range(0, 999_999_999)).Draw(t, "whole")
	return fmt.Sprintf("%d.%0*d", whole, rapid.IntRange(1, 9).Draw(t, "places"), rapid.Int64Range(0, 9).Draw(t, "fraction"))
})

var quantity = rapid.OneOf(rapid.Int64Range(-most, most), rapid.Int64Range(-100, 100), rapid.Map(rapid.Int64Range(0, 1_000_000), func(n int64) int64 { return n * 1_000_000 }))

func compileOrSkip(t *rapid.T, written Terms) *terms {
	c, err := compileTerms(&written, "second")
	if err != nil {
		t.Skip(err)
	}
	return c
}

func perOf(per string) *big.Rat {
	n, _ := perUnits(per, "second")
	return new(big.Rat).SetInt64(n)
}

func TestAmountIsQuantityTimesPriceRoundedOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, q := price.Draw(t, "price"), quantity.Draw(t, "quantity")
		per := rapid.SampledFrom([]string{"unit", "thousand", "million", "minute", "hour"}).Draw(t, "per")
		c := compileOrSkip(t, Terms{Price: p, Per: per})
		want := new(big.Rat).Mul(rat(p), big.NewRat(q, 1_000_000))
		wantAmount, fits := exactly(want.Quo(want, perOf(per)))
		got, ok := c.amount(q, 0)
		if ok != fits || ok && got != wantAmount {
			t.Fatalf("%d × %s per %s is %d %t, not %d %t", q, p, per, got, ok, wantAmount, fits)
		}
		negative, _ := c.amount(-q, 0)
		if ok && negative != -got {
			t.Fatal("a difference is not the negative of its opposite")
		}
	})
}

func TestPartsCostTheWholeButForRounding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := compileOrSkip(t, Terms{Price: price.Draw(t, "price"), Per: "million"})
		parts := rapid.SliceOfN(rapid.Int64Range(-1_000_000_000_000, 1_000_000_000_000), 1, 20).Draw(t, "parts")
		var sum int64
		var amounts usage.Amount
		for _, q := range parts {
			a, ok := c.amount(q, 0)
			if !ok {
				t.Skip("more than 18 digits")
			}
			sum += q
			amounts += a
		}
		whole, ok := c.amount(sum, 0)
		if !ok {
			t.Skip("more than 18 digits")
		}
		// Each rounding moves an amount by half a trillionth at most.
		if d := 2 * (whole - amounts); d > usage.Amount(len(parts)+1) || -d > usage.Amount(len(parts)+1) {
			t.Fatalf("the parts cost %s, the whole %s", amounts, whole)
		}
	})
}

func tiersOf(t *rapid.T, mode, over string) Terms {
	edges := rapid.SliceOfNDistinct(rapid.Int64Range(1, 1_000_000), 1, 4, rapid.ID).Draw(t, "edges")
	tiers := &Tiers{Mode: mode, Over: over}
	sortInts(edges)
	for _, e := range edges {
		tiers.Steps = append(tiers.Steps, Step{UpTo: fmt.Sprint(e), Price: price.Draw(t, "price")})
	}
	tiers.Steps = append(tiers.Steps, Step{Price: price.Draw(t, "price")})
	if mode == "package" {
		tiers.Size = fmt.Sprint(rapid.Int64Range(1, 5000).Draw(t, "size"))
		return Terms{Tiers: tiers}
	}
	return Terms{Tiers: tiers, Per: "thousand"}
}

func sortInts(v []int64) {
	for i := range v {
		for j := i; j > 0 && v[j-1] > v[j]; j-- {
			v[j-1], v[j] = v[j], v[j-1]
		}
	}
}

// tierAmount computes tiers over q millionths with math/big.
func tierAmount(t *Tiers, q int64, per *big.Rat) *big.Rat {
	units := big.NewRat(q, 1_000_000)
	sum, below := new(big.Rat), new(big.Rat)
	for _, s := range t.Steps {
		last := s.UpTo == "" || units.Cmp(rat(s.UpTo)) <= 0
		switch t.Mode {
		case "graduated":
			upper := units
			if !last {
				upper = rat(s.UpTo)
			}
			part := new(big.Rat).Sub(upper, below)
			sum.Add(sum, part.Mul(part, rat(s.Price)))
			below = upper
		case "volume":
			sum.Mul(units, rat(s.Price))
		case "package":
			n := new(big.Rat).Quo(units, rat(t.Size))
			whole := new(big.Int).Div(n.Num(), n.Denom())
			if !n.IsInt() {
				whole.Add(whole, big.NewInt(1))
			}
			sum.Mul(new(big.Rat).SetInt(whole), rat(s.Price))
		}
		if last {
			break
		}
	}
	return sum.Quo(sum, per)
}

func TestTiersAreExactAtAndAroundTheirEdges(t *testing.T) {
	for _, mode := range []string{"graduated", "volume", "package"} {
		t.Run(mode, rapid.MakeCheck(func(t *rapid.T) {
			terms := tiersOf(t, mode, "event")
			c := compileOrSkip(t, terms)
			per := big.NewRat(1, 1)
			if mode != "package" {
				per = big.NewRat(1000, 1)
			}
			edge := rapid.SampledFrom(terms.Tiers.Steps).Draw(t, "edge")
			q := rapid.Int64Range(0, 2_000_000_000_000).Draw(t, "quantity")
			if edge.UpTo != "" {
				q = rat(edge.UpTo).Num().Int64()*1_000_000 + rapid.Int64Range(-2, 2).Draw(t, "beside")
			}
			want, fits := exactly(tierAmount(terms.Tiers, q, per))
			got, ok := c.amount(q, 0)
			if ok != fits || ok && got != want {
				t.Fatalf("%s of %d is %d %t, not %d %t (%v)", mode, q, got, ok, want, fits, terms.Tiers)
			}
		}))
	}
}

func TestContextDecidesThePriceOfTheWholeCall(t *testing.T) {
	c := mustParse(t, `
rates:
  - id: long
    book: cost
    match: {model: m}
    per: million
    prices:
      llm_tokens_in: {tiers: {mode: volume, over: context, steps: [{up_to: 200000, price: 1}, {price: 2}]}}
      llm_tokens_out: {tiers: {mode: volume, over: context, steps: [{up_to: 200000, price: 10}, {price: 20}]}}
`)
	for in, want := range map[string]string{"199999": "0.001", "200000": "0.001", "200000.000001": "0.002"} {
		e := event("m", line("llm_tokens_in", "1"), line("llm_tokens_out", "100"))
		cached := rat(in)
		cached.Sub(cached, big.NewRat(1, 1))
		e.Lines = append(e.Lines, line("llm_tokens_cache_read", cached.FloatString(6)))
		e.Normalize()
		require.Empty(t, c.Price(e, nil))
		require.Equal(t, want, e.Line("llm_tokens_out").Cost.Amount.String(), in)
	}

	correction := event("m", line("llm_tokens_in", "-10"))
	correction.Kind, correction.Corrects = usage.KindCorrection, "other"
	require.Equal(t, "none: correction", priced(c, correction), "a difference doesn't tell the size of the call")
	correction.Dimensions = []usage.Dimension{{Key: usage.DimensionContext, Value: "300000"}}
	require.Equal(t, "long/llm_tokens_in", priced(c, correction))
	require.Equal(t, "-0.00002", correction.Lines[0].Cost.Amount.String())
	// It takes ten tokens away: what the call came to before must be in the same tier.
	for context, want := range map[string]string{
		"199990": "long/llm_tokens_in", "199991": "none: correction", "200000": "none: correction", "200001": "long/llm_tokens_in",
		"-1": "none: correction", "many": "none: correction",
	} {
		correction.Dimensions[0].Value = context
		require.Equal(t, want, priced(c, correction), context)
	}
}

func TestMarkupIsOfTheCostAsStored(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, m, q := price.Draw(t, "price"), price.Draw(t, "markup"), quantity.Draw(t, "quantity")
		c, err := Parse("c.yaml", fmt.Appendf(nil, "catalog: 1\nbuiltin: false\nrates:\n  - {book: cost, match: {meter: x}, price: %q}\n  - {book: price, markup: %q}\n", p, m))
		if err != nil {
			t.Skip(err)
		}
		e := &usage.Event{ID: "e", Kind: usage.KindCorrection, Lines: []usage.Line{{Meter: "x", Unit: "unit", Quantity: usage.Quantity(q)}}}
		c.Price(e, nil)
		cost, costFits := exactly(new(big.Rat).Mul(rat(p), big.NewRat(q, 1_000_000)))
		l := e.Lines[0]
		if costFits != l.Cost.Known() || costFits && l.Cost.Amount != cost {
			t.Fatalf("cost %v, not %d", l.Cost, cost)
		}
		want, fits := exactly(new(big.Rat).Mul(rat(m), big.NewRat(int64(cost), 1_000_000_000_000)))
		if known := costFits && fits; known != l.Price.Known() || known && l.Price.Amount != want {
			t.Fatalf("price %v, not %d", l.Price, want)
		}
		if known := l.Cost.Known() && l.Price.Known(); known == e.HasFlag(usage.FlagUnpriced) {
			t.Fatal("the flag doesn't tell")
		}
	})
}

func TestOverflowLeavesTheEventUnpriced(t *testing.T) {
	c := mustParse(t, "rates:\n  - {book: cost, match: {meter: x}, price: 999999}\n")
	e := event("", line("x", "1"))
	require.Empty(t, c.Price(e, nil))
	e = event("", line("x", "2"))
	require.Equal(t, []Missing{{0, BookCost, Overflow}}, c.Price(e, nil))
	require.Equal(t, usage.Charge{}, e.Lines[0].Cost)
	require.Equal(t, []string{usage.FlagUnpriced}, e.Flags)
}

func TestMinimumAndIncluded(t *testing.T) {
	c := mustParse(t, `
rates:
  - {id: least, book: cost, match: {meter: x}, price: 0.1, minimum: 0.25}
  - {id: free, book: price, match: {meter: x}, price: 2, included: 100}
`)
	e := event("", line("x", "1"))
	require.Equal(t, []Missing{{0, BookPrice, OfPeriod}}, c.Price(e, nil))
	require.Equal(t, "0.25", e.Lines[0].Cost.Amount.String())
	require.Equal(t, []string{FlagPeriod}, e.Flags)
	e = event("", line("x", "0"))
	c.Price(e, nil)
	require.Equal(t, "0", e.Lines[0].Cost.Amount.String(), "nothing costs nothing")
	total, ok := c.rates[1].Total(usage.Units(150))
	require.True(t, ok)
	require.Equal(t, "100", total.String())
}

func TestRetractionIsLeftToTheLedger(t *testing.T) {
	c := mustParse(t, "rates:\n  - {book: cost, match: {meter: x}, price: 1}\n")
	e := &usage.Event{ID: "r", Kind: usage.KindRetraction, Corrects: "e"}
	require.Empty(t, c.Price(e, nil))
	require.Empty(t, e.Flags)
}
