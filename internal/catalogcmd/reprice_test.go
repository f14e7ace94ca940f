package catalogcmd

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/usagebox/otelcol-usagebox/internal/catalog"
	"github.com/usagebox/otelcol-usagebox/internal/decimal"
	store "github.com/usagebox/otelcol-usagebox/internal/ledger"
	"github.com/usagebox/otelcol-usagebox/internal/ledger/control"
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
	r := &reprice{ledger: ledger{directory: dir, writer: "main"}, atOnce: 1}
	p := &repricing{catalog: after, changes: map[changeKey]*change{}}
	var corrections []usage.Event
	require.NoError(t, r.eachSettled(t.Context(), func(e *usage.Event, its []usage.Event) error {
		if c := p.correction(e, its); c != nil {
			corrections = append(corrections, c.Event)
		}
		return nil
	}))
	l, err := store.Open(store.Options{Directory: dir, WriterID: "main", Manual: true})
	require.NoError(t, err)
	require.Len(t, corrections, 39)
	result, err := l.Append(t.Context(), corrections[:17])
	require.NoError(t, err)
	require.Empty(t, result.Rejections)
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

func TestRepricingALedgerThatAnswersNobodyIsOneLine(t *testing.T) {
	before, err := catalog.Load(file(t, tokens))
	require.NoError(t, err)
	dir := fill(t, before)
	l, err := store.Open(store.Options{Directory: dir, WriterID: "main", Manual: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	_, err = reprices(t, dir, file(t, newRates), "--apply")
	require.ErrorContains(t, err, "is in use by")
	require.ErrorContains(t, err, "can't be told the corrections (nobody answers)")
	_, err = reprices(t, dir, file(t, newRates))
	require.NoError(t, err, "looking is free")
}

// meddler is a ledger in which something happens before each batch of amendments.
type meddler struct {
	*store.Ledger
	meddle func()
}

func (m meddler) Amend(ctx context.Context, list []store.Amendment) (store.Result, error) {
	m.meddle()
	return m.Ledger.Amend(ctx, list)
}

func TestRepricingBesideARunningLedgerIsExactWhateverComesMeanwhile(t *testing.T) {
	before, err := catalog.Load(file(t, tokens))
	require.NoError(t, err)
	path := file(t, newRates)
	after, err := catalog.Load(path)
	require.NoError(t, err)
	wantCost, wantPrice, _, _ := totals(t, fill(t, after))

	dir := fill(t, before)
	l, err := store.Open(store.Options{Directory: dir, WriterID: "main", Manual: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	late := usageOf("late", "acme", "gpt-4o", "llm_tokens_in", 7) // acknowledged, and in no file yet
	late.Normalize()
	before.Price(&late, nil)
	_, err = l.Append(t.Context(), []usage.Event{late})
	require.NoError(t, err)
	correction := func(id, target string, quantity int64) {
		e := usage.Event{ID: id, Kind: usage.KindCorrection, Corrects: target, Customer: "acme", Timestamp: late.Timestamp, Model: "gpt-4o", Provider: "openai", Lines: []usage.Line{{Meter: "llm_tokens_in", Quantity: usage.Units(quantity)}}}
		if target == "e10" {
			e.Timestamp += 10 * usage.MicrosPerHour / 4
		}
		e.Normalize()
		after.Price(&e, nil)
		r, err := l.Append(t.Context(), []usage.Event{e})
		require.NoError(t, err)
		require.Equal(t, 1, r.Accepted+r.Duplicates)
	}
	meddled := 0
	s, err := control.Listen(filepath.Join(dir, "state", "writer=main"), meddler{l, func() {
		if meddled++; meddled == 1 { // it was read, and is another one when its correction comes
			correction("meddled", "e10", -10)
			_, err := l.Append(t.Context(), []usage.Event{{ID: "away", Kind: usage.KindRetraction, Corrects: "late", Customer: "acme", Timestamp: late.Timestamp, Source: "test"}})
			require.NoError(t, err)
		}
	}})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()

	_, err = reprices(t, dir, path, "--apply")
	require.EqualError(t, err, "38 corrections are in force, the rest is not; run it again: 2 events were corrected by others meanwhile, and left alone")
	out, err := reprices(t, dir, path, "--apply")
	require.NoError(t, err)
	require.Contains(t, out, "\n1 correction is in force\n")
	correction("undone", "e10", 10)
	for range 2 { // two at once put the same into force, or one of them what the other has not seen
		errs := make(chan error, 2)
		for _, p := range []string{path, file(t, strings.Replace(newRates, "in: 3", "in: 4", 1))} {
			go func() { _, err := reprices(t, dir, p, "--apply"); errs <- err }()
		}
		for range 2 {
			if err := <-errs; err != nil {
				require.ErrorContains(t, err, "meanwhile")
			}
		}
	}
	_, err = reprices(t, dir, path, "--apply")
	require.NoError(t, err)
	require.NoError(t, l.Flush(t.Context()))
	cost, price, _, _ := totals(t, dir)
	require.Equal(t, wantCost, cost)
	require.Equal(t, wantPrice, price)
}

// A call by context that is corrected into another tier has no amount for that when it arrives, and what it should cost after.
func TestRepricingGivesCorrectedEventsTheAmountOfWhatIsLeft(t *testing.T) {
	path := file(t, `
rates:
  - id: long
    book: cost
    match: {model: m}
    per: million
    prices:
      llm_tokens_in: {tiers: {mode: volume, over: context, steps: [{up_to: 200000, price: 1}, {price: 2}]}}
      llm_tokens_out: {tiers: {mode: volume, over: context, steps: [{up_to: 200000, price: 10}, {price: 20}]}}
  - {id: job, book: cost, match: {meter: gpu_seconds}, tiers: {mode: package, over: event, size: 60, steps: [{price: 0.075}]}, minimum: 0.5}
  - {id: third, book: cost, match: {meter: tool_calls}, price: 1, per: million}
`)
	cat, err := catalog.Load(path)
	require.NoError(t, err)
	dir := t.TempDir()
	l, err := store.Open(store.Options{Directory: dir, WriterID: "main", Manual: true})
	require.NoError(t, err)
	event := func(id, corrects string, quantities map[string]string) usage.Event {
		e := usage.Event{ID: id, Customer: "acme", Model: "m", Timestamp: 1_790_000_000_000_000, Corrects: corrects, Kind: usage.KindUsage}
		if corrects != "" {
			e.Kind = usage.KindCorrection
		}
		for meter, text := range quantities {
			q, err := usage.ParseQuantity(text)
			require.NoError(t, err)
			e.Lines = append(e.Lines, usage.Line{Meter: meter, Quantity: q})
		}
		e.Normalize()
		cat.Price(&e, nil)
		return e
	}
	astray := event("c4", "d", map[string]string{"gpu_seconds": "-540"})
	astray.Timestamp += 5 * usage.MicrosPerHour
	result, err := l.Append(t.Context(), []usage.Event{
		event("a", "", map[string]string{"llm_tokens_in": "200000", "llm_tokens_out": "100"}), event("c1", "a", map[string]string{"llm_tokens_in": "1"}),
		event("b", "", map[string]string{"gpu_seconds": "600"}), event("c2", "b", map[string]string{"gpu_seconds": "-540"}),
		event("c", "", map[string]string{"tool_calls": "0.000001"}), event("c3", "c", map[string]string{"tool_calls": "0.4"}),
		event("d", "", map[string]string{"gpu_seconds": "600"}), astray, event("c5", "d", map[string]string{"gpu_seconds": "1"}),
	})
	require.NoError(t, err)
	require.Empty(t, result.Rejections)
	require.NoError(t, l.Close())
	cost, _, _, _ := totals(t, dir)
	require.Equal(t, "1.701000400001", catalog.AmountText(cost))
	out, err := reprices(t, dir, path, "--apply")
	require.NoError(t, err)
	require.Contains(t, out, "4 events, 3 differ")
	cost, _, _, _ = totals(t, dir)
	require.Equal(t, "1.402002400001", catalog.AmountText(cost), "0.400002 and 0.002, twice at least 0.5, and what is right stays to the trillionth")
	out, err = reprices(t, dir, path, "--apply")
	require.NoError(t, err)
	require.Contains(t, out, "4 events, 0 differ")
}
