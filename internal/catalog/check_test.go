package catalog

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// checks are the warnings of catalogues, those of gaps before those of unreachable rates.
var checks = map[string]struct {
	text string
	want []string
}{
	"all is well": {`
customers: [{customer: acme, plan: team, effective: {until: 2026-06-01}}, {customer: acme, plan: enterprise, effective: {from: 2026-06-01}}]
rates:
  - {id: a, book: cost, match: {meter: m}, price: 1, effective: {until: 2026-06-01}}
  - {id: b, book: cost, match: {meter: m}, price: 2, effective: {from: 2026-06-01}}
  - {id: c, book: cost, match: {meter: m, customer: acme, plan: [team, enterprise]}, price: 2}
  - {id: d, book: price, match: {meter: m, plan: gold}, price: 2}
  - {id: e, book: price, match: {meter: m}, price: 2}
  - {id: f, book: price, match: {meter: m, customer: acme}, price: 2}
  - {id: night, book: price, match: {meter: m}, price: 1, effective: {hours: {from: "20:00", until: "08:00"}}}
`, nil},
	"a gap": {`
rates:
  - {id: a, book: cost, match: {meter: m}, price: 1, effective: {until: 2026-06-01}}
  - {id: b, book: cost, match: {meter: m}, price: 2, effective: {from: 2026-06-01T00:00:00.000001Z}}
`, []string{`a.yaml:5:5: between the end of rate "a", 2026-06-01T00:00:00Z, and the start of rate "b", 2026-06-01T00:00:00.000001Z, neither holds: lines of that time have a rate that names less, or none`}},
	"a gap beside a rate for another unit": {`
rates:
  - {id: a, book: cost, match: {meter: m}, price: 1, effective: {until: 2026-06-01}}
  - {id: u, book: cost, match: {meter: m}, unit: page, price: 1, effective: {from: 2026-05-01}}
  - {id: b, book: cost, match: {meter: m}, price: 2, effective: {from: 2026-07-01}}
`, []string{`a.yaml:6:5: between the end of rate "a", 2026-06-01T00:00:00Z, and the start of rate "b", 2026-07-01T00:00:00Z, neither holds: lines of that time have a rate that names less, or none`}},
	"a customer without a plan": {`
customers: [{customer: acme, plan: team, effective: {until: 2026-06-01}}, {customer: acme, plan: team, effective: {from: 2026-07-01}}]
`, []string{`a.yaml:3:75: customer "acme" is on no plan of this catalogue between 2026-06-01T00:00:00Z and 2026-07-01T00:00:00Z`}},
	"a plan that the customer isn't on": {`
customers: [{customer: acme, plan: enterprise}]
rates:
  - {id: a, book: price, match: {meter: m, customer: acme, plan: team}, price: 1}
`, []string{`a.yaml:5:5: rate "a" is never reached: customer "acme" is on the plan "enterprise", by a.yaml:3:13`}},
	"a plan that the customer isn't on yet": {`
customers: [{customer: acme, plan: team, effective: {until: 2026-06-01}}, {customer: acme, plan: enterprise, effective: {from: 2026-06-01}}]
rates:
  - {id: a, book: price, match: {meter: m, customer: acme, plan: team}, price: 1, effective: {from: 2026-06-01}}
  - {id: b, book: price, match: {meter: m, customer: acme, plan: team}, price: 1, effective: {from: 2026-05-31, until: 2026-06-01}}
`, []string{`a.yaml:5:5: rate "a" is never reached: customer "acme" is on the plan "enterprise", by a.yaml:3:75`}},
	"the customer's plan has a rate for the same": {`
customers: [{customer: acme, plan: enterprise}]
rates:
  - {id: a, book: price, match: {meter: m, customer: acme, model: x}, price: 1}
  - {id: b, book: price, match: {meter: m, customer: acme, plan: enterprise}, price: 1}
  - {id: c, book: price, match: {customer: [acme, other]}, markup: 1}
`, []string{`a.yaml:5:5: rate "a" is never reached: rate "b" at a.yaml:6:5 goes before it`}},
	"hours that fill the day": {`
rates:
  - {id: all, book: cost, match: {meter: m}, price: 1, effective: {from: 2026-01-01, until: 2027-01-01}}
  - {id: day, book: cost, match: {meter: m}, price: 2, effective: {hours: {from: "08:00", until: "20:00"}}}
  - {id: night, book: cost, match: {meter: m}, price: 3, effective: {hours: {from: "20:00", until: "08:00"}}}
`, []string{`a.yaml:4:5: rate "all" is never reached: rate "day" at a.yaml:5:5 goes before it; rate "night" at a.yaml:6:5 goes before it`}},
	"hours that fill the day, but not all days": {`
rates:
  - {id: all, book: cost, match: {meter: m}, price: 1, effective: {from: 2026-01-01, until: 2027-01-01}}
  - {id: day, book: cost, match: {meter: m}, price: 2, effective: {hours: {from: "08:00", until: "20:00"}, until: 2026-12-31T08:00:00Z}}
  - {id: night, book: cost, match: {meter: m}, price: 3, effective: {hours: {from: "20:00", until: "08:00"}}}
`, nil},
	"a pattern of names that are a model's": {`
models: [{provider: p, model: x, patterns: ["x-*"]}]
rates:
  - {id: named, book: cost, match: {provider: p, model: x, meter: m}, price: 1}
  - {id: pattern, book: cost, match: {provider: p, model: "x-mini-*", meter: m, region: eu}, price: 1}
  - {id: wider, book: cost, match: {provider: p, model: "x*", meter: m}, price: 1}
  - {id: anyone's, book: cost, match: {model: "x-mini-*", meter: m}, price: 1}
`, []string{`a.yaml:6:5: rate "pattern" is never reached: rate "named" at a.yaml:5:5 goes before it`}},
}

func TestCheckNamesGapsAndRatesThatAreNeverReached(t *testing.T) {
	for name, x := range checks {
		c, err := Parse("a.yaml", []byte("catalog: 1\nbuiltin: false"+x.text))
		require.NoError(t, err, name)
		var got []string
		for _, p := range append(c.Gaps(), c.Unreachable()...) {
			got = append(got, p.String())
		}
		require.Equal(t, x.want, got, name)
	}
}

func TestTheBuiltInCatalogueHasNothingToWarnOf(t *testing.T) {
	c, err := Builtin()
	require.NoError(t, err)
	own, err := New(c.Document().Base) // its rates as a catalogue's own
	require.NoError(t, err)
	require.Empty(t, own.Gaps())
	require.Empty(t, own.Unreachable())
}

func TestWhatIsNeverReachedPricesNothing(t *testing.T) {
	pick := func(t *rapid.T, what string, values ...string) string { return rapid.SampledFrom(values).Draw(t, what) }
	rapid.Check(t, func(t *rapid.T) {
		text := "catalog: 1\nbuiltin: false\nmodels: [{model: x, patterns: ['x-*']}]\ncustomers: [{customer: acme, plan: team" +
			pick(t, "plan", "", ", effective: {until: 2026-06-01}") + "}]\nrates:\n"
		for range rapid.IntRange(1, 6).Draw(t, "rates") {
			text += "  - {book: cost, price: 1, match: {meter: m" + pick(t, "customer", "", ", customer: acme", ", customer: [acme, other]") + pick(t, "plan", "", ", plan: team", ", plan: gold") +
				pick(t, "model", "", ", model: x", ", model: 'x-*'", ", model: 'x-y*'", ", model: x-yz") + pick(t, "region", "", ", region: eu") + "}" +
				pick(t, "time", "", ", effective: {until: 2026-06-01}", ", effective: {from: 2026-06-01}", `, effective: {hours: {from: "08:00", until: "20:00"}}`, `, effective: {hours: {from: "20:00", until: "08:00"}}`) + "}\n"
		}
		c, err := Parse("a.yaml", []byte(text))
		if err != nil {
			t.Skip("ties")
		}
		used := map[Position]bool{}
		for _, customer := range []string{"acme", "other"} {
			for _, plan := range []string{"", "team", "gold"} {
				for _, model := range []string{"", "x", "x-y", "x-yz", "x-w"} {
					for _, region := range []string{"", "eu"} {
						for _, time := range []string{"2026-05-01T09:00:00Z", "2026-05-01T21:00:00Z", "2026-07-01T09:00:00Z", "2026-07-01T21:00:00Z"} {
							e := event(model, line("m", "1"))
							e.Customer = customer
							e.Timestamp = at(time)
							for key, value := range map[string]string{"plan": plan, "region": region} {
								if value != "" {
									e.Dimensions = append(e.Dimensions, usage.Dimension{Key: key, Value: value})
								}
							}
							e.Normalize()
							for _, x := range c.Explain(e) {
								if x.Rate != nil {
									used[x.Rate.At] = true
								}
							}
						}
					}
				}
			}
		}
		for _, p := range c.Unreachable() {
			if used[p.Position] {
				t.Fatalf("%s, but it is\n%s", p, text)
			}
		}
	})
}
