package catalogcmd

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/usagebox/otelcol-usagebox/internal/catalog"
	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// run is a command's standard output and standard error.
func run(t *testing.T, in string, args ...string) (string, string, error) {
	t.Helper()
	var out, errOut bytes.Buffer
	cmd := NewCommand()
	cmd.SetArgs(args)
	cmd.SetIn(strings.NewReader(in))
	cmd.SetOut(&out)
	cmd.SetErr(&errOut)
	err := cmd.Execute()
	return out.String(), errOut.String(), err
}

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "catalog.yaml")
	require.NoError(t, os.WriteFile(path, []byte("catalog: 1\nbuiltin: false\n"+text), 0o600))
	return path
}

const tokens = `
rates:
  - {id: gpt, book: cost, match: {provider: openai, model: gpt-4o}, per: million, prices: {llm_tokens_in: 2.5, llm_tokens_out: 10}}
  - {id: markup, book: price, markup: 1.2}
  - {id: runs, book: price, match: {meter: agent_runs, customer: acme}, tiers: {mode: graduated, steps: [{up_to: 2, price: 1}, {price: 0.5}]}}
`

// events writes a ledger that holds these.
func events(t *testing.T, priced *catalog.Catalog, list ...usage.Event) string {
	t.Helper()
	dir := t.TempDir()
	for i := range list {
		list[i].Normalize()
		if priced != nil {
			priced.Price(&list[i], nil)
		}
		at := list[i].Timestamp.Time()
		folder := filepath.Join(dir, "events", at.Format("date=2006-01-02"), at.Format("hour=15"), "writer=main")
		require.NoError(t, os.MkdirAll(folder, 0o755))
		f, err := os.Create(filepath.Join(folder, list[i].ID+".parquet"))
		require.NoError(t, err)
		require.NoError(t, parquetfile.WriteEvents(f, list[i:i+1]))
		require.NoError(t, f.Close())
	}
	return dir
}

func usageOf(id, customer, model, meter string, units int64) usage.Event {
	return usage.Event{
		ID: id, Customer: customer, Provider: "openai", Model: model, Timestamp: 1_790_000_000_000_000, IngestedAt: 1_790_000_000_000_000, Source: "api",
		Lines: []usage.Line{{Meter: meter, Quantity: usage.Units(units)}},
	}
}

func TestCheckNamesLineAndColumn(t *testing.T) {
	path := file(t, tokens)
	out, _, err := run(t, "", "check", path)
	require.NoError(t, err)
	require.Contains(t, out, "is good: version ")
	require.Contains(t, out, "4 rates of its own")

	out, _, err = run(t, "", "check", file(t, "rates:\n  - {book: cost, price: 1x}\n  - {book: cost, match: {vendor: a}, price: 1}\n"))
	require.ErrorIs(t, err, ErrProblems)
	require.Contains(t, out, "catalog.yaml:4:25: price \"1x\" is not a decimal number")
	require.Contains(t, out, "catalog.yaml:5:26: match has no field \"vendor\"")

	out, _, err = run(t, "", "check", file(t, "rates:\n  - {id: a, book: cost, match: {meter: m}, price: 1, effective: {until: 2026-01-01}}\n  - {id: b, book: cost, match: {meter: m}, price: 1, effective: {from: 2026-02-01}}\n"))
	require.NoError(t, err)
	require.Contains(t, out, "warning: ")
	require.Contains(t, out, "neither holds")
	require.Contains(t, out, `rate "a" holds no more`)

	out, _, err = run(t, "", "check", file(t, "customers: [{customer: acme, plan: team}]\nrates:\n  - {id: a, book: cost, match: {meter: m, customer: acme, plan: gold}, price: 1}\n"))
	require.NoError(t, err)
	require.Regexp(t, `(?m)^warning: .*catalog.yaml:5:5: rate "a" is never reached: customer "acme" is on the plan "team", by .*catalog.yaml:3:13$`, out)
}

func TestPriceWritesTheArithmeticOut(t *testing.T) {
	path := file(t, tokens)
	out, _, err := run(t, `{"account_id":"acme","provider":"openai","model":"gpt-4o","quantities":{"llm_tokens_in":"12450","llm_requests":1},"timestamp":"2026-05-16T18:42:11Z"}
{"account_id":"acme","meter":"agent_runs","quantity":3}`, "price", "--catalog", path)
	require.NoError(t, err)
	for _, want := range []string{
		"12450 × 2.5 / 1000000 = 0.031125 USD", "cost 0.031125 × 1.2 = 0.03735 USD", "paid for by its tokens", "left to the period", "gpt/llm_tokens_in (", "catalog.yaml:5:",
	} {
		require.Contains(t, out, want)
	}
	_, _, err = run(t, `{"quantity": 1e400}`, "price")
	require.Error(t, err)
	_, _, err = run(t, ``, "price")
	require.Error(t, err)
}

func TestMissingShowsWhatHasNoRate(t *testing.T) {
	path := file(t, tokens)
	known, err := catalog.Load(path)
	require.NoError(t, err)
	dir := events(t, known, usageOf("a", "acme", "gpt-4o", "llm_tokens_in", 10), usageOf("b", "acme", "nova", "llm_tokens_in", 30), usageOf("c", "acme", "nova", "llm_tokens_in", 5))
	out, _, err := run(t, "", "missing", "--ledger", dir, "--catalog", path)
	require.NoError(t, err)
	require.Regexp(t, `cost +openai +nova +llm_tokens_in +2 +35 +has no rate`, out)
	require.NotContains(t, out, "gpt-4o")
	out, _, err = run(t, "", "missing", "--ledger", dir, "--catalog", file(t, "rates:\n  - {book: cost, match: {meter: llm_tokens_in}, price: 1}\n"))
	require.NoError(t, err)
	require.Regexp(t, `nova +llm_tokens_in +2 +35 +has a rate`, out)
	out, _, err = run(t, "", "missing", "--ledger", dir, "--catalog", path, "--from", "2027-01")
	require.NoError(t, err)
	require.Contains(t, out, "nothing is missing")
}

func TestDiffComparesRatesAndUsage(t *testing.T) {
	a, b := file(t, tokens), file(t, strings.Replace(tokens, "llm_tokens_in: 2.5", "llm_tokens_in: 3", 1))
	out, _, err := run(t, "", "diff", a, b)
	require.NoError(t, err)
	require.Regexp(t, `~ +cost +llm_tokens_in +model: gpt-4o, provider: openai, unit: token +2.5 USD per million +3 USD per million`, out)
	require.NotContains(t, out, "llm_tokens_out")
	dir := events(t, nil, usageOf("a", "acme", "gpt-4o", "llm_tokens_in", 1000), usageOf("b", "other", "gpt-4o", "llm_tokens_out", 1000))
	out, _, err = run(t, "", "diff", a, b, "--ledger", dir)
	require.NoError(t, err)
	require.Regexp(t, `acme +cost +USD +0.0025 +0.003 +0.0005`, out)
	require.Regexp(t, `acme +price +USD +0.003 +0.0036 +0.0006`, out)
	require.Regexp(t, `other +cost +USD +0.01 +0.01 +0`, out)
}

func TestPeriodComputesTiersOverItsTotal(t *testing.T) {
	dir := events(t, nil, usageOf("a", "acme", "", "agent_runs", 3), usageOf("b", "acme", "", "agent_runs", 2), usageOf("c", "other", "", "agent_runs", 2))
	out, _, err := run(t, "", "period", "--ledger", dir, "--from", "2026-09", "--to", "2026-10", "--catalog", file(t, tokens))
	require.NoError(t, err)
	require.Regexp(t, `acme +price +5 +graduated over the period.* 3.5 +USD`, out)
	require.NotContains(t, out, "other")
}

func TestListFindsRates(t *testing.T) {
	out, _, err := run(t, "", "list", "--model", "claude-sonnet-4-5", "--provider", "anthropic", "--meter", "llm_tokens_cache_read")
	require.NoError(t, err)
	require.Regexp(t, `cost +llm_tokens_cache_read .*0.3 .* genai-prices +anthropic/claude-sonnet-4-5`, out)
	_, _, err = run(t, "", "list", "--model", "no-such-model")
	require.Error(t, err)
}

func TestImportedListIsACatalogue(t *testing.T) {
	for _, name := range []string{"litellm", "openrouter"} {
		out, report, err := run(t, "", "import", name, filepath.Join("..", "catalog", "importer", "testdata", name+".json"))
		require.NoError(t, err)
		require.Contains(t, report, "carried over")
		path := filepath.Join(t.TempDir(), "imported.yaml")
		require.NoError(t, os.WriteFile(path, []byte(out), 0o600))
		checked, _, err := run(t, "", "check", path)
		require.NoError(t, err, checked)
	}
	_, _, err := run(t, "", "import", "other", "-")
	require.ErrorContains(t, err, "litellm, genai-prices, openrouter")
}

func TestSchemaIsOne(t *testing.T) {
	out, _, err := run(t, "", "schema")
	require.NoError(t, err)
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(out))
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	require.NoError(t, compiler.AddResource("catalog.schema.json", doc))
	_, err = compiler.Compile("catalog.schema.json")
	require.NoError(t, err)
}
