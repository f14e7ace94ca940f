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

type periodKey struct {
	customer, book string
	rate           *catalog.Rate
}

func newPeriodCommand(c *common) *cobra.Command {
	var path string
	var l ledger
	cmd := &cobra.Command{
		Use:   "period --ledger DIR --from 2026-05 --to 2026-06",
		Short: "Compute what is left to the period: tiers and included quantities, by customer",
		Long: "Compute what depends on the total of a period, and so has no amount in the ledger: rates with tiers over the period or included quantities, by customer.\n\n" +
			"One line a customer and rate; add these to the sums of the ledger's own amounts. The range is the period: what is included counts once in it.",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if l.directory == "" || l.from == "" || l.to == "" {
				return errors.New("name the ledger's directory with --ledger, and the period with --from and --to")
			}
			cat, err := load(path)
			if err != nil {
				return err
			}
			return c.period(cat, &l)
		},
	}
	catalogFlag(cmd, &path)
	l.flags(cmd)
	return cmd
}

func (c *common) period(cat *catalog.Catalog, l *ledger) error {
	totals := map[periodKey]decimal.Int128{}
	if err := l.each(func(e *usage.Event) error {
		if e.Kind == usage.KindRetraction { // its lines are its target's, negative
			e.Kind = usage.KindCorrection
		}
		for _, x := range cat.Explain(e) {
			if x.Rate != nil && x.Rate.Period() {
				key := periodKey{e.Customer, x.Book, x.Rate}
				totals[key], _ = totals[key].AddInt64(int64(e.Lines[x.Line].Quantity))
			}
		}
		return nil
	}); err != nil {
		return err
	}
	keys := make([]periodKey, 0, len(totals))
	for k := range totals {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b periodKey) int {
		return cmp.Or(cmp.Compare(a.customer, b.customer), cmp.Compare(a.book, b.book), cmp.Compare(a.rate.ID, b.rate.ID))
	})
	rows := [][]string{{"CUSTOMER", "BOOK", "QUANTITY", "TERMS", "AMOUNT", "CURRENCY", "RATE"}}
	for _, k := range keys {
		amount := "more than 18 digits"
		if q, fits := totals[k].Int64(); fits {
			if a, ok := k.rate.Total(usage.Quantity(q)); ok {
				amount = a.String()
			}
		}
		rows = append(rows, []string{
			k.customer, k.book, string(totals[k].Append(nil, usage.QuantityScale)), k.rate.TermsText(), amount, k.rate.Currency, cat.Version + "/" + k.rate.ID,
		})
	}
	if len(rows) == 1 {
		_, err := fmt.Fprintln(c.out, "nothing is left to the period")
		return err
	}
	return table(c.out, rows)
}
