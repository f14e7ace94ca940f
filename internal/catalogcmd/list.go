package catalogcmd

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// table writes rows in columns.
func table(w io.Writer, rows [][]string) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		if _, err := fmt.Fprintln(tw, strings.Join(row, "\t")); err != nil {
			return err
		}
	}
	return tw.Flush()
}

func micros(t time.Time) usage.Micros { return usage.MicrosOf(t) }

func newListCommand(c *common) *cobra.Command {
	var path, model, provider, meter, book, when string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the rates of a catalogue",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cat, err := load(path)
			if err != nil {
				return err
			}
			at := micros(c.now())
			if when != "" {
				if at, err = parseMoment("--at", when); err != nil {
					return err
				}
			}
			rows := [][]string{{"BOOK", "METER", "TERMS", "MATCH", "EFFECTIVE", "SOURCE", "ID"}}
			for _, r := range cat.Rates() {
				fields := r.Entry.Match.Fields
				if book != "" && r.Book != book || meter != "" && r.Meter != "" && r.Meter != meter ||
					!names(fields["model"], model) || !names(fields["provider"], provider) || when != "" && !r.Holds(at) {
					continue
				}
				rows = append(rows, []string{r.Book, dash(r.Meter), r.TermsText(), r.MatchText(), dash(r.EffectiveText()), dash(r.Entry.Source), r.ID})
			}
			if len(rows) == 1 {
				return fmt.Errorf("no rate of the catalogue %s is so", cat.Version)
			}
			return table(c.out, rows)
		},
	}
	catalogFlag(cmd, &path)
	cmd.Flags().StringVar(&model, "model", "", "rates that name a model whose name contains this")
	cmd.Flags().StringVar(&provider, "provider", "", "rates that name a provider whose name contains this")
	cmd.Flags().StringVar(&meter, "meter", "", "rates of this meter")
	cmd.Flags().StringVar(&book, "book", "", "cost or price")
	cmd.Flags().StringVar(&when, "at", "", "rates that hold at this moment: 2026-05-16 or RFC 3339")
	return cmd
}

// names says whether a text is a part of a value; an empty one is.
func names(values []string, text string) bool {
	return text == "" || slices.ContainsFunc(values, func(v string) bool { return strings.Contains(strings.ToLower(v), strings.ToLower(text)) })
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
