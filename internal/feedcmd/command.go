// Package feedcmd is the feed command: what the billing feed of a running collector has sent, what waits and why, and whether receivers have what the ledger has.
package feedcmd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/usagebox/otelcol-usagebox/internal/dirlock"
	"github.com/usagebox/otelcol-usagebox/internal/feed/control"
	"github.com/usagebox/otelcol-usagebox/usage"
)

const defaultDirectory = "./usage"

// ErrDifferences says that a reconciliation found differences. They have been printed.
var ErrDifferences = errors.New("the receiver does not have what the ledger has")

// common is what all commands are told.
type common struct {
	directory string
	writer    string
	json      bool
	out       io.Writer
	client    source
	running   bool
	failed    error // of what was printed
}

// NewCommand is the command `feed` with its subcommands. A subcommand's error is one line. Errors are left to the caller to print.
func NewCommand() *cobra.Command {
	c := &common{}
	cmd := &cobra.Command{
		Use:   "feed",
		Short: "Ask and tell the billing feed",
		Long: "Ask and tell the billing feed of the usage exporter of a collector that runs on this machine, as the same user. " +
			"While none runs, its books in the ledger's directory answer; nothing is sent then, and no receiver is asked.",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.PersistentFlags().StringVarP(&c.directory, "directory", "d", defaultDirectory, "the ledger's directory, as in the usage exporter's configuration")
	cmd.PersistentFlags().StringVar(&c.writer, "writer", "", "the writer whose feed it is; only needed where several share the directory")
	cmd.PersistentFlags().BoolVar(&c.json, "json", false, "print JSON in place of tables")
	cmd.AddCommand(newStatusCommand(c), newLettersCommand(c), newRetryCommand(c), newReconcileCommand(c), newReplayCommand(c), newPreviewCommand(c))
	for _, sub := range cmd.Commands() {
		sub.SilenceUsage, sub.SilenceErrors = true, true
		sub.Args = cobra.NoArgs
		run := sub.RunE
		sub.RunE = func(cmd *cobra.Command, args []string) error {
			c.out = cmd.OutOrStdout()
			if err := c.dial(); err != nil {
				return err
			}
			return errors.Join(run(cmd, args), c.failed, c.client.Close())
		}
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w; see --help", err) })
	return cmd
}

// dial finds the collector, or the books.
func (c *common) dial() error {
	states, err := filepath.Glob(filepath.Join(c.directory, "state", "writer=*"))
	if err != nil {
		return err
	}
	if c.writer != "" {
		states = []string{filepath.Join(c.directory, "state", "writer="+c.writer)}
	}
	if len(states) == 0 {
		return fmt.Errorf("%s is no ledger's directory: name it with --directory", c.directory)
	}
	var running []string
	for _, state := range states {
		client, err := control.Dial(state)
		if errors.Is(err, control.ErrNobody) {
			continue
		}
		if err != nil {
			return err
		}
		if running = append(running, writerOf(state)); len(running) == 1 {
			c.client = client
		}
	}
	switch {
	case len(running) == 1:
		c.running = true
		return nil
	case len(running) == 0 && len(states) == 1:
		return c.openBooks(states[0])
	}
	if len(running) == 0 {
		for _, state := range states {
			running = append(running, writerOf(state))
		}
	}
	return fmt.Errorf("%s has the feeds of several writers: name one with --writer: %s", c.directory, strings.Join(running, ", "))
}

const (
	startingUp = 2 * time.Second // in which the feed of a collector that has its ledger surely answers
	pause      = 20 * time.Millisecond
)

// openBooks opens the books of a writer on which no collector runs. One that has just started may answer instead.
func (c *common) openBooks(state string) (err error) {
	c.client, err = openOffline(c.directory, writerOf(state))
	held := (*dirlock.HeldError)(nil)
	if !errors.As(err, &held) || held.Holder.Borrows {
		return err
	}
	for waited := time.Duration(0); waited < startingUp; waited += pause {
		time.Sleep(pause)
		client, err := control.Dial(state)
		if errors.Is(err, control.ErrNobody) {
			continue
		}
		c.client, c.running = client, true
		return err
	}
	return fmt.Errorf("the collector that runs on %s has no billing feed: give its usage exporter one, with `feed`", c.directory)
}

// printf prints. The command fails when it can't.
func (c *common) printf(format string, args ...any) {
	if _, err := fmt.Fprintf(c.out, format, args...); c.failed == nil {
		c.failed = err
	}
}

// table prints lines with columns that are divided by tabs.
func (c *common) table(fill func(lines *bytes.Buffer) error) error {
	var lines bytes.Buffer
	if err := fill(&lines); err != nil {
		return err
	}
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	if _, err := w.Write(lines.Bytes()); err != nil {
		return err
	}
	return w.Flush()
}

func (c *common) line(v any) error {
	e := json.NewEncoder(c.out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// parseHour reads a moment that is the beginning of an hour.
func parseHour(flag, text string) (usage.Hour, error) {
	for _, layout := range [...]string{time.RFC3339, "2006-01-02T15:04", "2006-01-02T15", time.DateOnly} {
		at, err := time.Parse(layout, text)
		if err != nil {
			continue
		}
		if !at.Equal(at.Truncate(time.Hour)) || at.Before(time.Unix(0, 0)) {
			break
		}
		return usage.MicrosOf(at).Hour(), nil
	}
	return 0, fmt.Errorf("--%s is %q: it takes the beginning of an hour in UTC, such as 2026-11-01 or 2026-11-01T13:00Z", flag, text)
}
