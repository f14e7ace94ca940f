package catalog

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.yaml.in/yaml/v3"

	"github.com/usagebox/otelcol-usagebox/usage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const everything = `# yaml-language-server: $schema=catalog.schema.json
catalog: 1
builtin: false
currency: EUR
sources:
  - {id: list, url: "https://example.com/prices", version: "1", date: 2026-05-01, licence: MIT}
providers:
  - {name: openai, aliases: [oai, "open ai"], models: ["gpt-*"], fallback: [other]}
models:
  - {provider: openai, model: gpt-9, aliases: [nine], patterns: ["gpt-9-####-*"]}
customers:
  - {customer: acme, plan: pro, effective: {from: 2026-01-01, until: 2027-01-01T00:00:00+02:00}}
rates:
  - id: nine
    book: cost
    match: {provider: openai, model: [nine, "gpt-9*"], service_tier: flex, dimensions: {gpu_type: [h100, a100]}}
    effective: {from: 2026-01-01, hours: {from: "22:00", until: "06:00"}}
    source: list
    per: million
    prices:
      llm_tokens_in: 2.50
      llm_tokens_out: {tiers: {mode: volume, over: context, steps: [{up_to: 200000, price: "1e1"}, {price: 20}]}}
      gpu_seconds: {price: 3.6, per: hour, minimum: 0.01}
  - {book: price, match: {plan: pro}, markup: 1.2}
  - {book: price, match: {meter: [tool_calls, retrievals], customer: acme}, currency: USD, tiers: {mode: package, size: 1000, steps: [{price: 5}]}}
  - {book: price, match: {meter: agent_runs}, price: 0.5, included: 100, unit: run}
`

func TestVersionIsOfTheMeaningNotOfTheText(t *testing.T) {
	c, err := Parse("a.yaml", []byte(everything))
	require.NoError(t, err)
	for name, text := range map[string]string{
		"comments":       "# another\n" + everything,
		"other decimals": strings.NewReplacer("2.50", `"2.5"`, `"1e1"`, "10.0").Replace(everything),
		"other zone":     strings.Replace(everything, "2027-01-01T00:00:00+02:00", "2026-12-31T22:00:00Z", 1),
		"one or a list":  strings.Replace(everything, `models: ["gpt-*"]`, `models: gpt-*`, 1),
	} {
		other, err := Parse("b.yaml", []byte(text))
		require.NoError(t, err, name)
		require.Equal(t, c.Version, other.Version, name)
	}
	other, err := Parse("b.yaml", []byte(strings.Replace(everything, "2.50", "2.51", 1)))
	require.NoError(t, err)
	require.NotEqual(t, c.Version, other.Version)

	kept := t.TempDir()
	require.NoError(t, c.Keep(kept))
	again, err := Load(filepath.Join(kept, c.Version+".json.gz"))
	require.NoError(t, err)
	require.Equal(t, c.Version, again.Version)
	require.NoError(t, c.Keep(kept), "what is there stays")

	var out bytes.Buffer
	require.NoError(t, WriteYAML(&out, c.Document()))
	written, err := Parse("written.yaml", out.Bytes())
	require.NoError(t, err, out.String())
	require.Equal(t, c.Version, written.Version, out.String())
}

func TestFolderIsOneCatalogue(t *testing.T) {
	dir := t.TempDir()
	head, rates, _ := strings.Cut(everything, "rates:\n")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a.yaml"), []byte(head), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "b.yml"), []byte("catalog: 1\ncurrency: EUR\nrates:\n"+rates), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "notes.txt"), []byte("not a part"), 0o600))
	c, err := Load(dir)
	require.NoError(t, err)
	whole, err := Parse("a.yaml", []byte(everything))
	require.NoError(t, err)
	require.Equal(t, whole.Version, c.Version)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "c.json"), []byte(`{"catalog": 1, "rates": [{"book": "price", "match": {"plan": "pro"}, "markup": "2"}]}`), 0o600))
	_, err = Load(dir)
	require.ErrorContains(t, err, "ties")
	require.ErrorContains(t, err, "c.json:1:")
	require.ErrorContains(t, err, "b.yml:")
}

// wrong are catalogues that can't be used, by what their error says. schema tells whether an editor sees it too.
var wrong = []struct {
	text, want string
	schema     bool
}{
	{"rates: []", "has no catalog: 1", true},
	{"catalog: 2", "this program reads version 1", true},
	{"catalog: 1\nrate: []", "a.yaml:2:1: a catalogue has no field \"rate\"", true},
	{"catalog: 1\nrates: {}", "a.yaml:2:8: rates is not a list", true},
	{"catalog: 1\nrates: [{price: 1, match: {meter: m}}]", "a.yaml:2:9: a rate has no book", true},
	{"catalog: 1\nrates: [{book: cost, match: {meter: m}, price: -1}]", "price \"-1\" is not a decimal number", true},
	{"catalog: 1\nrates: [{book: cost, match: {meter: m}, price: 0x10}]", "not a decimal number", false},
	{"catalog: 1\nrates: [{book: cost, match: {meter: m}, price: .inf}]", "not a decimal number", true},
	{"catalog: 1\nrates: [{book: cost, match: {meter: m}, price: [1]}]", "not a single value", true},
	{"catalog: 1\nrates: [{book: cost, match: {meter: m}, price: 1, price: 2}]", "has price twice", false},
	{"catalog: 1\nrates: [{book: cost, match: {meter: m}}]", "one of price, tiers, markup", false},
	{"catalog: 1\nrates: [{book: cost, match: {meter: m}, price: 1, markup: 2}]", "one of price, tiers, markup", false},
	{"catalog: 1\nrates: [{book: cost, markup: 2}]", "for the book price", false},
	{"catalog: 1\nrates: [{book: cost, match: {meter: m}, price: 1, per: dozen}]", "per is \"dozen\"", true},
	{"catalog: 1\nrates: [{book: cost, match: {meter: tool_calls}, price: 1, per: hour}]", "not for the unit \"call\"", false},
	{"catalog: 1\nrates: [{book: cost, match: {meter: m}, price: 1, effective: {from: 2026-02-01, until: 2026-01-01}}]", "until is not after from", false},
	{"catalog: 1\nrates: [{book: cost, match: {meter: m}, price: 1, effective: {from: yesterday}}]", "it is a date", true},
	{"catalog: 1\nrates: [{book: cost, match: {meter: m}, price: 1, effective: {from: 2026-01-01T00:00:00.0000001Z}}]", "finer than a microsecond", false},
	{"catalog: 1\nrates: [{book: cost, match: {meter: m}, price: 0.0000000000000000000000000000001}]", "too many digits", false},
	{"catalog: 1\nrates: [{book: cost, match: {meter: m}, tiers: {mode: volume, steps: [{up_to: 5, price: 1}, {up_to: 5, price: 2}, {price: 3}]}}]", "does not come after", false},
	{"catalog: 1\nrates: [{book: cost, match: {meter: m}, tiers: {mode: volume, steps: [{up_to: 5, price: 1}]}}]", "every step but the last", false},
	{"catalog: 1\nrates: [{book: cost, match: {meter: m}, tiers: {mode: graduated, over: context, steps: [{price: 1}]}}]", "of the mode volume", false},
	{"catalog: 1\nrates: [{book: cost, price: 1}]", "a rate for every meter", false},
	{"catalog: 1\nrates: [{book: cost, match: {meter: &a m}, price: 1}, {book: price, match: {meter: *a}, price: 1}]", "a YAML alias", false},
	{"catalog: 1\nrates: [{id: a, book: cost, match: {meter: m}, price: 1}, {id: a, book: cost, match: {meter: n}, price: 1}]", "id \"a\" is already", false},
	{"catalog: 1\nrates: [{book: cost, match: {dimensions: {region: eu}, meter: m}, price: 1}]", "is a field of match itself", false},
	{"catalog: 1\nmodels: [{model: a, aliases: [x]}, {model: b, aliases: [x]}]", "already a name of a model", false},
	{"catalog: 1\ncustomers: [{customer: a, plan: x}, {customer: a, plan: y}]", "at the same time", false},
	{"catalog: 1\n---\ncatalog: 1", "another document", false},
	{"catalog: [", "a.yaml:2", false},
	{"", "is empty", false},
}

func schemaOf(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema))
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	require.NoError(t, compiler.AddResource("schema.json", doc))
	schema, err := compiler.Compile("schema.json")
	require.NoError(t, err)
	return schema
}

// plainValue is YAML as an editor gives it to a schema: dates are text there.
func plainValue(t *testing.T, text string) any {
	t.Helper()
	var root yaml.Node
	require.NoError(t, yaml.Unmarshal([]byte(text), &root))
	var walk func(n *yaml.Node)
	walk = func(n *yaml.Node) {
		if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!timestamp" {
			n.SetString(n.Value)
		}
		for _, c := range n.Content {
			walk(c)
		}
	}
	walk(&root)
	var v any
	require.NoError(t, root.Decode(&v))
	return v
}

func TestErrorsNameTheirPlaceAndTheSchemaAgrees(t *testing.T) {
	schema := schemaOf(t)
	require.NoError(t, schema.Validate(plainValue(t, everything)))
	for _, x := range wrong {
		_, err := Parse("a.yaml", []byte(x.text))
		require.ErrorContains(t, err, x.want, x.text)
		var problems Problems
		require.ErrorAs(t, err, &problems)
		require.Equal(t, "a.yaml", problems[0].File)
		if x.schema {
			require.Error(t, schema.Validate(plainValue(t, x.text)), x.text)
		}
	}
}

func TestBuiltInCatalogueFitsItsSchema(t *testing.T) {
	require.NoError(t, schemaOf(t).Validate(plainValue(t, string(builtinText))))
	c, err := Builtin()
	require.NoError(t, err)
	require.Greater(t, len(c.Rates()), 3000)
	sources := map[string]Source{}
	for _, s := range c.doc.Base.Sources {
		require.NotEmpty(t, s.Licence)
		require.NotEmpty(t, s.Date)
		require.NotEmpty(t, s.URL)
		sources[s.ID] = s
	}
	for _, r := range c.Rates() {
		require.Contains(t, sources, r.Entry.Source, r.ID)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(everything))
	for _, x := range wrong {
		f.Add([]byte(x.text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := Parse("fuzz.yaml", append([]byte("builtin: false\n"), text...))
		if err != nil {
			if err.Error() == "" {
				t.Fatal("an error without a word")
			}
			return
		}
		kept, err := c.Canonical()
		if err != nil {
			t.Fatal(err)
		}
		_ = kept
		var out bytes.Buffer
		if err := WriteYAML(&out, c.Document()); err != nil {
			t.Fatal(err)
		}
		again, err := Parse("again.yaml", out.Bytes())
		if err != nil {
			t.Fatalf("what was written can't be read: %v\n%s", err, out.String())
		}
		if again.Version != c.Version {
			t.Fatalf("what was written is another catalogue:\n%s", out.String())
		}
		e := event("gpt-9", line("llm_tokens_in", "10"), line("tool_calls", "1"))
		c.Price(e, nil)
		before := fmt.Sprint(e)
		again.Price(e, nil)
		if fmt.Sprint(e) != before {
			t.Fatalf("the same catalogue prices otherwise: %s, %v", before, e)
		}
	})
}

// large is a catalogue of n rates for n models.
func large(tb testing.TB, n int) *Catalog {
	tb.Helper()
	var b strings.Builder
	b.WriteString("rates:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - {book: cost, match: {provider: openai, model: model-%d}, per: million, prices: {llm_tokens_in: 2.5, llm_tokens_out: 10}}\n", i)
	}
	b.WriteString("  - {book: price, match: {plan: pro}, markup: 1.1}\n  - {book: price, markup: 1.2}\n")
	return mustParse(tb, b.String())
}

func BenchmarkPrice(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		b.Run(fmt.Sprintf("%d rates", n), func(b *testing.B) {
			c := large(b, n)
			e := event(fmt.Sprintf("model-%d", n/2), line("llm_requests", "1"), line("llm_tokens_in", "12450"), line("llm_tokens_out", "611"), line("llm_tokens_cache_read", "9000"))
			var missing []Missing
			b.ReportAllocs()
			for b.Loop() {
				missing = c.Price(e, missing[:0])
			}
			if len(missing) > 0 {
				b.Fatal(missing)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

func TestPricingAllocatesNothing(t *testing.T) {
	c := large(t, 100)
	e := event("model-5", line("llm_tokens_in", "12450"), line("llm_tokens_reasoning", "611"))
	f := &finder{}
	require.Empty(t, c.price(f, e, nil))
	require.Zero(t, testing.AllocsPerRun(100, func() { c.price(f, e, nil) }))
	require.Equal(t, usage.Amount(37_350_000_000), e.Line("llm_tokens_in").Price.Amount)
}
