package catalogcmd

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/usagebox/otelcol-usagebox/internal/catalog"
	"github.com/usagebox/otelcol-usagebox/internal/decimal"
	"github.com/usagebox/otelcol-usagebox/usage"
)

func newPriceCommand(c *common) *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "price",
		Short: "Price events from standard input: the rate, the arithmetic, the amount",
		Long: "Price events from standard input: one, an array, or one a line, as they are posted to /v1/events. An event without a timestamp is of now.\n\n" +
			`  echo '{"model": "gpt-4o", "meter": "llm_tokens_in", "quantity": 12450}' | otelcol-usagebox catalog price`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cat, err := load(path)
			if err != nil {
				return err
			}
			events := 0
			err = readEvents(c.in, c.now(), func(e *usage.Event) error {
				events++
				return c.explain(cat, e)
			})
			if err == nil && events == 0 {
				return fmt.Errorf("there is no event on standard input")
			}
			return err
		},
	}
	catalogFlag(cmd, &path)
	return cmd
}

func (c *common) explain(cat *catalog.Catalog, e *usage.Event) error {
	if _, err := fmt.Fprintf(c.out, "event %s of %s at %s, %s %s, catalogue %s\n", e.ID, e.Customer, e.Timestamp.Time().Format("2006-01-02T15:04:05.999999Z07:00"),
		dash(e.Provider), dash(e.Model), cat.Version); err != nil {
		return err
	}
	if e.Kind == usage.KindRetraction {
		_, err := fmt.Fprintln(c.out, "  a retraction takes away what its target was charged")
		return err
	}
	rows := [][]string{}
	sums := map[[2]string]decimal.Int128{}
	for _, x := range cat.Explain(e) {
		l := &e.Lines[x.Line]
		row := []string{"  " + x.Book, fmt.Sprintf("%s %s", l.Quantity, l.Meter), "", ""}
		switch {
		case x.Charge.Known():
			row[2] = x.Arithmetic
			if x.Rate != nil {
				row[3] = fmt.Sprintf("%s (%s)", x.Rate.ID, x.Rate.At)
			}
			key := [2]string{x.Book, x.Charge.Currency}
			sums[key], _ = sums[key].AddInt64(int64(x.Charge.Amount))
		default:
			row[2] = why(x.Reason)
			if x.Rate != nil {
				row[3] = fmt.Sprintf("%s (%s)", x.Rate.ID, x.Rate.At)
			}
		}
		rows = append(rows, row)
	}
	for _, book := range [...]string{catalog.BookCost, catalog.BookPrice} {
		for _, key := range sortedPairs(sums) {
			if key[0] == book {
				rows = append(rows, []string{"  " + book, "in all", catalog.AmountText(sums[key]) + " " + key[1], ""})
			}
		}
	}
	return table(c.out, rows)
}

func why(r catalog.Reason) string {
	switch r {
	case catalog.Overflow:
		return "unpriced: the amount has more than 18 digits"
	case catalog.NoCorrection:
		return "unpriced: a difference has no amount of its own at this rate"
	case catalog.NoCost:
		return "unpriced: a mark-up on a cost that isn't known"
	case catalog.OfPeriod:
		return "left to the period"
	}
	return "unpriced: no rate"
}
