package catalogcmd

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/usagebox/otelcol-usagebox/internal/catalog"
	"github.com/usagebox/otelcol-usagebox/internal/decimal"
	store "github.com/usagebox/otelcol-usagebox/internal/ledger"
	"github.com/usagebox/otelcol-usagebox/usage"
)

const newRates = `
rates:
  - {id: gpt, book: cost, match: {provider: openai, model: gpt-4o}, per: million, prices: {llm_tokens_in: 3, llm_tokens_out: 10}}
  - {id: nova, book: cost, match: {provider: openai, model: nova}, per: million, prices: {llm_tokens_in: 1}}
  - {id: markup, book: price, markup: 1.5}
`

// fill makes a real ledger: priced events, some without a rate, corrected and retracted ones.
func fill(t *testing.T, cat *catalog.Catalog) string {
	t.Helper()
	dir := t.TempDir()
	l, err := store.Open(store.Options{Directory: dir, WriterID: "main", Manual: true})
	require.NoError(t, err)
	var list []usage.Event
	for i := range 40 {
		model := "gpt-4o"
		if i%4 == 0 {
			model = "nova"
		}
		e := usageOf(fmt.Sprintf("e%d", i), []string{"acme", "other"}[i%2], model, "llm_tokens_in", int64(1000+i))
		e.Timestamp += usage.Micros(i) * usage.MicrosPerHour / 4
		list = append(list, e)
	}
	for i, kind := range []usage.Kind{usage.KindCorrection, usage.KindRetraction, usage.KindCorrection, usage.KindCorrection} {
		target := list[i]
		e := usage.Event{ID: "c-" + target.ID, Kind: kind, Corrects: target.ID, Customer: target.Customer, Timestamp: target.Timestamp, Provider: target.Provider, Model: target.Model}
		if kind == usage.KindCorrection {
			e.Lines = []usage.Line{{Meter: "llm_tokens_in", Quantity: usage.Units(-100)}}
		}
		list = append(list, e)
	}
	for i := range list {
		list[i].Normalize()
		cat.Price(&list[i], nil)
	}
	result, err := l.Append(t.Context(), list)
	require.NoError(t, err)
	require.Empty(t, result.Rejections)
	require.NoError(t, l.Close())
	return dir
}

// totals are the sums of a ledger's costs and prices, and of its quantities.
func totals(t *testing.T, dir string) (cost, price, quantity decimal.Int128, rows int) {
	t.Helper()
	l := ledger{directory: dir}
	require.NoError(t, l.each(func(e *usage.Event) error {
		for _, line := range e.Lines {
			cost, _ = cost.AddInt64(int64(line.Cost.Amount))
			price, _ = price.AddInt64(int64(line.Price.Amount))
			quantity, _ = quantity.AddInt64(int64(line.Quantity))
			rows++
		}
		return nil
	}))
	return cost, price, quantity, rows
}

func reprices(t *testing.T, dir, path string, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd := NewRepriceCommand()
	cmd.SetArgs(append([]string{"--ledger", dir, "--from", "2026-01", "--to", "2027-01", "--catalog", path}, args...))
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func TestRepricedLedgerIsAsIfItHadBeenPricedSo(t *testing.T) {
	before, err := catalog.Load(file(t, tokens))
	require.NoError(t, err)
	path := file(t, newRates)
	after, err := catalog.Load(path)
	require.NoError(t, err)
	wantCost, wantPrice, wantQuantity, _ := totals(t, fill(t, after))

	dir := fill(t, before)
	oldCost, _, _, oldRows := totals(t, dir)
	out, err := reprices(t, dir, path)
	require.NoError(t, err)
	require.Contains(t, out, "40 events, 39 differ by catalogue "+after.Version)
	require.Regexp(t, `acme +nova +llm_tokens_in +cost +USD +10 +10 +0 +0.01`, out)
	cost, _, _, rows := totals(t, dir)
	require.Equal(t, oldCost, cost, "a dry run changes nothing")
	require.Equal(t, oldRows, rows)

	// Killed in the middle: a part of the corrections is in force.
	r := &reprice{ledger: ledger{directory: dir, writer: "main"}}
	p, err := r.plan(after)
	require.NoError(t, err)
	l, err := openLedger(t.Context(), r)
	require.NoError(t, err)
	_, err = l.Append(t.Context(), p.corrections[:17])
	require.NoError(t, err)
	require.NoError(t, l.Close())

	out, err = reprices(t, dir, path, "--apply")
	require.NoError(t, err)
	require.Contains(t, out, "22 corrections are in force")
	for _, again := range []string{"", "--apply"} {
		cost, price, quantity, rows := totals(t, dir)
		require.Equal(t, wantCost, cost)
		require.Equal(t, wantPrice, price)
		require.Equal(t, wantQuantity, quantity, "quantities are what they were")
		require.Equal(t, oldRows+39, rows)
		if again != "" {
			out, err = reprices(t, dir, path, again)
			require.NoError(t, err)
			require.Contains(t, out, "40 events, 0 differ")
		}
	}
	// There and back again.
	for _, x := range []struct{ path, rates string }{{file(t, strings.Replace(newRates, "in: 3", "in: 4", 1)), "other"}, {path, "these"}} {
		_, err = reprices(t, dir, x.path, "--apply")
		require.NoError(t, err, x.rates)
	}
	cost, _, _, _ = totals(t, dir)
	require.Equal(t, wantCost, cost)
}

func TestRepricingOneCustomerOrModelLeavesTheOthers(t *testing.T) {
	before, err := catalog.Load(file(t, tokens))
	require.NoError(t, err)
	dir := fill(t, before)
	out, err := reprices(t, dir, file(t, newRates), "--customer", "acme", "--model", "nova")
	require.NoError(t, err)
	require.Contains(t, out, "10 events, 10 differ")
	require.NotContains(t, out, "other")
	require.NotContains(t, out, "gpt-4o")
}

func TestRepricingALedgerInUseIsOneLine(t *testing.T) {
	before, err := catalog.Load(file(t, tokens))
	require.NoError(t, err)
	dir := fill(t, before)
	l, err := store.Open(store.Options{Directory: dir, WriterID: "main", Manual: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	_, err = reprices(t, dir, file(t, newRates), "--apply")
	require.ErrorContains(t, err, "is in use by")
	_, err = reprices(t, dir, file(t, newRates))
	require.NoError(t, err, "looking is free")
}
