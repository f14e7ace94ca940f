package catalogcmd

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/usagebox/otelcol-usagebox/internal/catalog"
	"github.com/usagebox/otelcol-usagebox/internal/catalog/importer"
)

// lists are the price lists of others that can be read.
var lists = map[string]struct {
	source catalog.Source
	read   func(io.Reader, catalog.Source) (*importer.Result, error)
}{
	"litellm":      {catalog.Source{ID: "litellm", URL: "https://github.com/BerriAI/litellm", Licence: "MIT"}, importer.LiteLLM},
	"genai-prices": {catalog.Source{ID: "genai-prices", URL: "https://github.com/pydantic/genai-prices", Licence: "MIT"}, importer.GenAIPrices},
	"openrouter":   {catalog.Source{ID: "openrouter", URL: "https://openrouter.ai/api/v1/models"}, importer.OpenRouter},
}

func newImportCommand(c *common) *cobra.Command {
	var date string
	cmd := &cobra.Command{
		Use:   "import litellm|genai-prices|openrouter FILE",
		Short: "Turn another price list into a catalogue, on standard output",
		Long: "Turn another price list into a catalogue, on standard output. What can't be carried over is named on standard error.\n\n" +
			"litellm reads model_prices_and_context_window.json, genai-prices data.json, openrouter the answer of /api/v1/models. FILE may be - for standard input.",
		Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			list, known := lists[args[0]]
			if !known {
				return fmt.Errorf("%q is not a price list that can be read: litellm, genai-prices, openrouter", args[0])
			}
			in := c.in
			if args[1] != "-" {
				f, err := os.Open(args[1])
				if err != nil {
					return err
				}
				defer func() { _ = f.Close() }()
				in = f
			}
			list.source.Date = date
			if date == "" {
				list.source.Date = c.now().UTC().Format("2006-01-02")
			}
			r, err := list.read(in, list.source)
			if err != nil {
				return err
			}
			if _, err := catalog.New(r.Document); err != nil {
				return fmt.Errorf("what was read is no catalogue: %w", err)
			}
			if err := catalog.WriteYAML(c.out, r.Document); err != nil {
				return err
			}
			for _, n := range r.Notes {
				_, _ = fmt.Fprintln(c.err, n)
			}
			_, err = fmt.Fprintf(c.err, "%s, %s, %s\n", count(r.Models, "model", "models"), count(len(r.Document.Rates), "rate", "rates"),
				count(len(r.Notes), "thing not carried over", "things not carried over"))
			return err
		},
	}
	cmd.Flags().StringVar(&date, "date", "", "the day of the list, as its source is dated; today when it is not named")
	return cmd
}
