package catalogcmd

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/usagebox/otelcol-usagebox/internal/catalog"
	"github.com/usagebox/otelcol-usagebox/internal/decimal"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// lack is lines without an amount.
type lack struct {
	lines    int64
	quantity decimal.Int128
	cured    int64 // that the catalogue has an amount for
}

type lackKey struct{ book, provider, model, meter string }

func newMissingCommand(c *common) *cobra.Command {
	var path string
	var l ledger
	cmd := &cobra.Command{
		Use:   "missing --ledger DIR",
		Short: "Show what has no amount in a ledger, by provider, model and meter",
		Long: "Show what has no amount in a ledger, by provider, model and meter, and whether a catalogue has one for it.\n\n" +
			"Prices are looked at when the catalogue has any. Requests that are paid for by their tokens are not missing.",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if l.directory == "" {
				return errors.New("name the ledger's directory with --ledger")
			}
			cat, err := load(path)
			if err != nil {
				return err
			}
			return c.missing(cat, &l)
		},
	}
	catalogFlag(cmd, &path)
	l.flags(cmd)
	return cmd
}

func (c *common) missing(cat *catalog.Catalog, l *ledger) error {
	lacks := map[lackKey]*lack{}
	if err := l.each(func(e *usage.Event) error {
		if e.Kind == usage.KindRetraction {
			return nil
		}
		before := slices.Clone(e.Lines)
		cat.Price(e, nil)
		for i := range before {
			for _, b := range [...]struct {
				name    string
				was, is *usage.Charge
			}{
				{catalog.BookCost, &before[i].Cost, &e.Lines[i].Cost},
				{catalog.BookPrice, &before[i].Price, &e.Lines[i].Price},
			} {
				if b.was.Known() || !cat.Has(b.name) || before[i].Meter == usage.MeterLLMRequests && len(before) > 1 && !b.is.Known() {
					continue
				}
				key := lackKey{b.name, e.Provider, e.Model, before[i].Meter}
				if lacks[key] == nil {
					lacks[key] = &lack{}
				}
				one := lacks[key]
				one.lines++
				one.quantity, _ = one.quantity.AddInt64(int64(before[i].Quantity))
				if b.is.Known() {
					one.cured++
				}
			}
		}
		return nil
	}); err != nil {
		return err
	}
	if len(lacks) == 0 {
		_, err := fmt.Fprintln(c.out, "nothing is missing")
		return err
	}
	keys := make([]lackKey, 0, len(lacks))
	for k := range lacks {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b lackKey) int {
		return cmp.Or(cmp.Compare(a.book, b.book), cmp.Compare(lacks[b].lines, lacks[a].lines), cmp.Compare(a.provider, b.provider), cmp.Compare(a.model, b.model), cmp.Compare(a.meter, b.meter))
	})
	rows := [][]string{{"BOOK", "PROVIDER", "MODEL", "METER", "LINES", "QUANTITY", "THIS CATALOGUE"}}
	for _, k := range keys {
		one := lacks[k]
		has := "has no rate"
		switch {
		case one.cured == one.lines:
			has = "has a rate"
		case one.cured > 0:
			has = fmt.Sprintf("has a rate for %d", one.cured)
		}
		rows = append(rows, []string{k.book, dash(k.provider), dash(k.model), k.meter, fmt.Sprint(one.lines), string(one.quantity.Append(nil, usage.QuantityScale)), has})
	}
	return table(c.out, rows)
}
