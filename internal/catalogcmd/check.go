package catalogcmd

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/usagebox/otelcol-usagebox/internal/catalog"
)

func newCheckCommand(c *common) *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE",
		Short: "Say whether a catalogue can be used, and what to look at",
		Long: "Say whether a catalogue can be used.\n\nErrors, with line and column: fields and values that are not those of a catalogue, prices that can't be computed exactly, two rates of one rank that fit the same lines at one time.\n" +
			"Warnings: times between two rates that name the same in which neither holds, rates that are never reached because others go before them at all times, rates that hold no more.\n\nIt fails when there are errors.",
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return c.check(args[0]) },
	}
}

func (c *common) check(path string) error {
	cat, err := load(path)
	var problems catalog.Problems
	if errors.As(err, &problems) {
		for _, p := range problems {
			_, _ = fmt.Fprintf(c.out, "error: %s\n", p)
		}
		return fmt.Errorf("%w: %s", ErrProblems, count(len(problems), "error", "errors"))
	}
	if err != nil {
		return err
	}
	now := micros(c.now())
	warnings := append(cat.Gaps(), cat.Unreachable()...)
	own := 0
	for _, r := range cat.Rates() {
		if r.Builtin {
			continue
		}
		own++
		if r.Ended(now) {
			warnings = append(warnings, catalog.Problem{Position: r.At, Message: fmt.Sprintf("rate %q holds no more: it prices late and corrected usage only", r.ID)})
		}
	}
	for _, w := range warnings {
		_, _ = fmt.Fprintf(c.out, "warning: %s\n", w)
	}
	_, err = fmt.Fprintf(c.out, "%s is good: version %s, %s of its own, %d built in\n", path, cat.Version, count(own, "rate", "rates"), len(cat.Rates())-own)
	return err
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func newSchemaCommand(c *common) *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of a catalogue, for editors",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := c.out.Write(catalog.Schema)
			return err
		},
	}
}
