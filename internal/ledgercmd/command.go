// Package ledgercmd is the ledger command: what a ledger holds, whether it is whole, how a total came about, and copies of it. It
// reads the files of a ledger's directory alone, beside a collector that is running or not, and changes none of them.
package ledgercmd

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/spf13/cobra"
)

const defaultDirectory = "./usage"

// ErrDifferences says that a check found the ledger other than it has to be. What differs has been printed.
var ErrDifferences = errors.New("the ledger is not what it has to be")

// common is what all commands of a ledger are told.
type common struct {
	directory string
	json      bool
	out       io.Writer
	progress  io.Writer // nil where nobody looks
	waited    atomic.Int64

	mu   sync.Mutex           // guards what follows
	left map[string]leftFiles // by writer
}

// NewCommand is the command `ledger` with its subcommands. A subcommand's error is one line; a check that finds differences prints
// them and fails with ErrDifferences. Errors are left to the caller to print.
func NewCommand() *cobra.Command {
	c := &common{}
	cmd := &cobra.Command{
		Use:           "ledger",
		Short:         "Show, check, explain and copy the ledger of the usage exporter",
		Long:          "Show, check, explain and copy the ledger of the usage exporter.\n\nThese commands read the files in the ledger's directory and change nothing there. They run beside a collector.",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			c.out = cmd.OutOrStdout()
			c.progress = terminal(cmd.ErrOrStderr())
			if err := requireLedger(c.directory); err != nil {
				return err
			}
			return c.requireKnownVersion()
		},
	}
	cmd.PersistentFlags().StringVarP(&c.directory, "directory", "d", defaultDirectory, "the ledger's directory, as in the usage exporter's configuration")
	cmd.PersistentFlags().BoolVar(&c.json, "json", false, "print JSON in place of tables")
	cmd.AddCommand(
		newStatusCommand(c), newVerifyCommand(c), newExplainCommand(c),
		newRebuildCommand(c), newExportCommand(c), newMendCommand(c),
	)
	for _, sub := range cmd.Commands() { // not inherited, and an error is one line wherever the command is put
		sub.SilenceUsage, sub.SilenceErrors = true, true
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w; see --help", err) })
	return cmd
}
