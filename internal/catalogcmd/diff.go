package catalogcmd

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/usagebox/otelcol-usagebox/internal/catalog"
	"github.com/usagebox/otelcol-usagebox/internal/decimal"
	"github.com/usagebox/otelcol-usagebox/usage"
)

func newDiffCommand(c *common) *cobra.Command {
	var l ledger
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Compare two catalogues, and what a ledger's usage costs by each",
		Long: "Compare the rates of two catalogues, by what they name and by meter. \"builtin\" is the built-in catalogue.\n\n" +
			"With --ledger the usage there is priced by both, at each event's own time, and the sums are compared by customer. Retractions are priced like corrections, at their own time.",
		Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			a, err := load(args[0])
			if err != nil {
				return err
			}
			b, err := load(args[1])
			if err != nil {
				return err
			}
			if err := c.diffRates(a, b); err != nil || l.directory == "" {
				return err
			}
			return c.diffUsage(a, b, &l)
		},
	}
	l.flags(cmd)
	return cmd
}

// rateKey is what a rate names.
func rateKey(r *catalog.Rate) string {
	text := r.MatchText()
	if r.Unit != "" {
		text += ", unit: " + r.Unit
	}
	if e := r.EffectiveText(); e != "" {
		text += " " + e
	}
	return strings.Join([]string{r.Book, dash(r.Meter), text}, "\t")
}

func byKey(c *catalog.Catalog) map[string]string {
	out := map[string]string{}
	for _, r := range c.Rates() {
		if _, upper := out[rateKey(r)]; !upper { // those of the catalogue itself come first
			out[rateKey(r)] = r.TermsText()
		}
	}
	return out
}

func (c *common) diffRates(a, b *catalog.Catalog) error {
	before, after := byKey(a), byKey(b)
	rows := [][]string{{"", "BOOK", "METER", "MATCH", a.Version, b.Version}}
	keys := make([]string, 0, len(before))
	for k := range before {
		keys = append(keys, k)
	}
	for k := range after {
		if _, both := before[k]; !both {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		was, had := before[k]
		is, has := after[k]
		sign := "~"
		switch {
		case was == is:
			continue
		case !had:
			sign = "+"
		case !has:
			sign = "-"
		}
		rows = append(rows, append(append([]string{sign}, strings.Split(k, "\t")...), dash(was), dash(is)))
	}
	if len(rows) == 1 {
		_, err := fmt.Fprintf(c.out, "the rates of %s and %s are the same\n", a.Version, b.Version)
		return err
	}
	return table(c.out, rows)
}

// sums are a customer's amounts by both catalogues.
type sums struct {
	amounts  [2]decimal.Int128
	unpriced [2]int64
}

func (c *common) diffUsage(a, b *catalog.Catalog, l *ledger) error {
	totals := map[[3]string]*sums{} // customer, book, currency
	get := func(customer, book, currency string) *sums {
		k := [3]string{customer, book, currency}
		if totals[k] == nil {
			totals[k] = &sums{}
		}
		return totals[k]
	}
	if err := l.each(func(e *usage.Event) error {
		if e.Kind == usage.KindRetraction {
			e.Kind = usage.KindCorrection
		}
		for n, cat := range [...]*catalog.Catalog{a, b} {
			for _, m := range cat.Price(e, nil) {
				get(e.Customer, m.Book, "").unpriced[n]++
			}
			for i := range e.Lines {
				for book, charge := range map[string]usage.Charge{catalog.BookCost: e.Lines[i].Cost, catalog.BookPrice: e.Lines[i].Price} {
					if charge.Known() {
						s := get(e.Customer, book, charge.Currency)
						s.amounts[n], _ = s.amounts[n].AddInt64(int64(charge.Amount))
					}
				}
			}
		}
		return nil
	}); err != nil {
		return err
	}
	rows := [][]string{{"CUSTOMER", "BOOK", "CURRENCY", a.Version, b.Version, "DIFFERENCE"}}
	for _, k := range sortedTriples(totals) {
		s := totals[k]
		if k[2] == "" {
			rows = append(rows, []string{k[0], k[1], "lines without an amount", fmt.Sprint(s.unpriced[0]), fmt.Sprint(s.unpriced[1]), fmt.Sprint(s.unpriced[1] - s.unpriced[0])})
			continue
		}
		difference, _ := s.amounts[1].Add(s.amounts[0].Neg())
		rows = append(rows, []string{k[0], k[1], k[2], catalog.AmountText(s.amounts[0]), catalog.AmountText(s.amounts[1]), catalog.AmountText(difference)})
	}
	if _, err := fmt.Fprintln(c.out); err != nil {
		return err
	}
	return table(c.out, rows)
}

func sortedTriples[V any](m map[[3]string]V) [][3]string {
	keys := make([][3]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b [3]string) int { return slices.Compare(a[:], b[:]) })
	return keys
}

func sortedPairs[V any](m map[[2]string]V) [][2]string {
	keys := make([][2]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b [2]string) int { return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1])) })
	return keys
}
