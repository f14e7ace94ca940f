package catalog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// settleRates have a rate of each kind of which parts don't add up to the whole, at %d.
const settleRates = `
catalog: 1
builtin: false
rates:
  - id: long
    book: cost
    match: {model: m}
    per: million
    prices:
      llm_tokens_in: {tiers: {mode: volume, over: context, steps: [{up_to: 1000, price: %[1]d}, {price: 1%[1]d}]}}
      llm_tokens_out: {tiers: {mode: volume, over: context, steps: [{up_to: 1000, price: 5%[1]d}, {price: 6%[1]d}]}}
      llm_tokens_reasoning: 0.0000%[1]d
  - {id: job, book: cost, match: {meter: gpu_seconds}, tiers: {mode: package, over: event, size: 60, steps: [{price: 0.%[1]d}]}, minimum: 0.5}
  - {id: graduated, book: cost, match: {meter: units}, tiers: {mode: graduated, over: event, steps: [{up_to: 10, price: %[1]d}, {price: 0.%[1]d}]}}
  - {id: markup, book: price, markup: 1.%[1]d3}
`

func versionsIn(t testing.TB, dir string, rates ...string) (all []*Catalog, v *Versions) {
	for _, text := range rates {
		c, err := Parse("c.yaml", []byte(text))
		require.NoError(t, err)
		require.NoError(t, c.Keep(dir))
		all = append(all, c)
	}
	return all, &Versions{Directory: dir, Broken: func(version string, err error) { t.Errorf("%s: %v", version, err) }}
}

// add adds a correction to what is left of its target, as the ledger does.
func add(target, correction *usage.Event) {
	for _, l := range correction.Lines {
		to := target.Line(l.Meter)
		to.Quantity += l.Quantity
		for _, c := range [...]struct{ own, its *usage.Charge }{{&l.Cost, &to.Cost}, {&l.Price, &to.Price}} {
			if c.own.Known() {
				*c.its = usage.Charge{Amount: c.its.Amount + c.own.Amount, Currency: c.own.Currency, Rate: c.own.Rate}
			}
		}
	}
}

var settleMeters = []string{"llm_tokens_in", "llm_tokens_out", "llm_tokens_reasoning", "gpu_seconds", "units"}

// Whatever corrections come, in whatever order, and whatever catalogue prices them on their way: an event comes to what one with the quantities that are left of it
// costs at the rates that it had.
func TestACorrectedEventCostsWhatIsLeftOfItAtItsOwnRates(t *testing.T) {
	all, v := versionsIn(t, t.TempDir(), fmt.Sprintf(settleRates, 1), fmt.Sprintf(settleRates, 2))
	rapid.Check(t, func(t *rapid.T) {
		e := &usage.Event{ID: "e", Customer: "c", Model: "m", Timestamp: 1_700_000_000_000_000}
		for _, meter := range settleMeters {
			e.Lines = append(e.Lines, usage.Line{Meter: meter, Quantity: usage.Quantity(rapid.Int64Range(0, 3_000_000_000).Draw(t, meter))})
		}
		e.Normalize()
		own := all[rapid.IntRange(0, 1).Draw(t, "version")]
		own.Price(e, nil)
		for range rapid.IntRange(1, 5).Draw(t, "corrections") {
			c := &usage.Event{ID: "x", Kind: usage.KindCorrection, Corrects: "e", Customer: "c", Model: "m", Timestamp: e.Timestamp + 5}
			for _, l := range e.Lines {
				if rapid.Bool().Draw(t, "corrected") {
					c.Lines = append(c.Lines, usage.Line{Meter: l.Meter, Quantity: usage.Quantity(rapid.OneOf(rapid.Int64Range(-int64(l.Quantity), 2_000_000_000), rapid.Just(-int64(l.Quantity))).Draw(t, "difference"))})
				}
			}
			c.Normalize()
			all[rapid.IntRange(0, 1).Draw(t, "in force")].Price(c, nil)
			v.Settle(e, c)
			if slices.Contains(c.Flags, usage.FlagUnpriced) {
				t.Fatalf("%+v is unpriced", c)
			}
			add(e, c)
			whole := *e
			whole.Lines = slices.Clone(e.Lines)
			own.Price(&whole, nil)
			if fmt.Sprint(whole.Lines) != fmt.Sprint(e.Lines) {
				t.Fatalf("it comes to %v, and would cost %v", e.Lines, whole.Lines)
			}
		}
	})
}

func TestWhatACorrectionCantBePricedByLeavesItUnpriced(t *testing.T) {
	dir := t.TempDir()
	all, v := versionsIn(t, dir, fmt.Sprintf(settleRates, 1), fmt.Sprintf(settleRates, 2))
	event := func(model string, kind usage.Kind, by *Catalog, quantity int64) *usage.Event {
		e := &usage.Event{ID: "e", Kind: kind, Customer: "c", Model: model, Timestamp: 1_700_000_000_000_000, Lines: []usage.Line{{Meter: "llm_tokens_reasoning", Quantity: usage.Units(quantity)}}}
		e.Normalize()
		by.Price(e, nil)
		return e
	}
	flags := func(e *usage.Event) string { return strings.Join(e.Flags, " ") }
	unknown := event("other", usage.KindUsage, all[0], 5)
	c := event("m", usage.KindCorrection, all[1], -1)
	require.True(t, c.Lines[0].Cost.Known())
	v.Settle(unknown, c)
	require.Equal(t, []any{usage.Charge{}, usage.Charge{}, "unpriced"}, []any{c.Lines[0].Cost, c.Lines[0].Price, flags(c)}, "what it corrects has no amount")

	gone := &Versions{Directory: t.TempDir()}
	target := event("m", usage.KindUsage, all[0], 5)
	c = event("m", usage.KindCorrection, all[1], -1)
	gone.Settle(target, c)
	require.Equal(t, []any{usage.Charge{}, usage.Charge{}, "unpriced"}, []any{c.Lines[0].Cost, c.Lines[0].Price, flags(c)}, "it was priced by other rates")
	c = event("m", usage.KindCorrection, all[0], -1)
	before := c.Lines[0]
	gone.Settle(target, c)
	require.Equal(t, []any{before, ""}, []any{c.Lines[0], flags(c)}, "it has the rate that its target has")

	target.Lines[0].Cost.Rate = "../../etc/passwd/x"
	c = event("m", usage.KindCorrection, all[0], -1)
	v.Settle(target, c)
	require.Equal(t, "unpriced", flags(c))

	require.NoError(t, os.WriteFile(filepath.Join(dir, all[1].Version+".json.gz"), []byte("half"), 0o600))
	var broken error
	v = &Versions{Directory: dir, Broken: func(_ string, err error) { broken = errors.Join(broken, err) }}
	c = event("m", usage.KindCorrection, all[0], -1)
	v.Settle(event("m", usage.KindUsage, all[1], 5), c)
	require.Equal(t, "unpriced", flags(c))
	require.Error(t, broken)
}
