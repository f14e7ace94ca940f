// Package catalogcmd is the catalog command: whether a catalogue can be used, what a change of it does, how a price comes about, what
// has none, and catalogues from the price lists of others. It changes no file.
package catalogcmd

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/usagebox/otelcol-usagebox/internal/catalog"
)

// ErrProblems says that a catalogue can't be used. What is wrong has been printed.
var ErrProblems = errors.New("the catalogue can't be used")

// common is what all commands are told.
type common struct {
	now func() time.Time
	in  io.Reader
	out io.Writer
	err io.Writer
}

// NewCommand is the command `catalog` with its subcommands.
func NewCommand() *cobra.Command {
	c := &common{now: time.Now}
	cmd := &cobra.Command{
		Use:           "catalog",
		Short:         "Check, compare, explain and import catalogues of rates",
		Long:          "Check, compare, explain and import catalogues of rates.\n\nA catalogue is a YAML or JSON file, or a folder of them. Where none is named it is the built-in one. These commands change nothing.",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRun: func(cmd *cobra.Command, _ []string) {
			c.in, c.out, c.err = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
		},
	}
	cmd.AddCommand(
		newCheckCommand(c), newDiffCommand(c), newPriceCommand(c), newMissingCommand(c), newListCommand(c), newPeriodCommand(c),
		newImportCommand(c), newSchemaCommand(c),
	)
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w; see --help", err) })
	return cmd
}

// load reads a catalogue; an empty path is the built-in one.
func load(path string) (*catalog.Catalog, error) {
	if path == "" || path == "builtin" {
		return catalog.Builtin()
	}
	return catalog.Load(path)
}

func catalogFlag(cmd *cobra.Command, into *string) {
	cmd.Flags().StringVar(into, "catalog", "", "the catalogue's file or folder; the built-in one when it is not named")
}
