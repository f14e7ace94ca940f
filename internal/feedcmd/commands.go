package feedcmd

import (
	"bytes"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/usagebox/otelcol-usagebox/internal/feed"
	"github.com/usagebox/otelcol-usagebox/usage"
)

func newStatusCommand(c *common) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Where each receiver stands: what was delivered, what waits, for how long, and what was set aside",
		RunE: func(*cobra.Command, []string) error {
			all, err := c.client.StatusNow(true)
			if err != nil {
				return err
			}
			if c.json {
				return c.line(all)
			}
			if err := c.table(func(w *bytes.Buffer) error {
				fmt.Fprintln(w, "RECEIVER\tFROM\tMADE\tDELIVERED\tPENDING\tOLDEST\tDEAD\tUNCERTAIN\tRETRIES\tCARRIED\tHOURS WAITING")
				for _, s := range all {
					from, oldest := s.From, "-"
					if from == "" {
						from = "the beginning"
					}
					if s.Oldest != "" {
						oldest = (time.Duration(s.LagS) * time.Second).String()
					}
					fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%s\t%d\t%d\t%d\t%d\t%d\n", s.Receiver, from, s.Made, s.Delivered+s.Zero, s.Pending, oldest, s.Dead, s.Uncertain, s.Retries, s.Carried, s.Hours)
				}
				return nil
			}); err != nil {
				return err
			}
			for _, s := range all {
				for _, carried := range s.Carry {
					c.printf("%s carries %s %s of %s, below its smallest unit\n", s.Receiver, carried.Amount, carried.Value, carried.Meter)
				}
				if s.Down != "" {
					c.printf("%s takes nothing at present: %s\n", s.Receiver, s.Down)
				}
				if s.Dead+s.Uncertain > 0 {
					c.printf("%s has records that were set aside: see feed dead-letters --receiver %s\n", s.Receiver, s.Receiver)
				}
			}
			return nil
		},
	}
}

// selection adds the flags that choose letters.
func selection(cmd *cobra.Command, sel *feed.Selection) {
	cmd.Flags().StringVar(&sel.Receiver, "receiver", "", "only those of this receiver")
	cmd.Flags().StringVar(&sel.ID, "id", "", "only the record of this id")
	cmd.Flags().StringVar(&sel.Reason, "reason", "", "only those set aside for this reason; forgotten is that of uncertain ones")
}

func newLettersCommand(c *common) *cobra.Command {
	var sel feed.Selection
	cmd := &cobra.Command{
		Use:   "dead-letters",
		Short: "Records that were set aside: refused by their receiver, or maybe there and not to be asked for",
		RunE: func(*cobra.Command, []string) error {
			if c.json {
				return c.client.Letters(sel, func(l *feed.Letter) error { return c.line(l) })
			}
			n := 0
			if err := c.table(func(w *bytes.Buffer) error {
				fmt.Fprintln(w, "RECEIVER\tSTATE\tREASON\tCUSTOMER\tMETER\tVALUE\tHOUR\tID\tDETAIL")
				return c.client.Letters(sel, func(l *feed.Letter) error {
					n++
					r := &l.Record
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", l.Receiver, l.State, l.Reason, r.Customer, r.Meter, r.Value, r.Hour, r.ID, l.Detail)
					return nil
				})
			}); err != nil {
				return err
			}
			c.printf("%d records\n", n)
			if sel.Limit > 0 && n == sel.Limit {
				c.printf("there may be more: see --limit\n")
			}
			return nil
		},
	}
	selection(cmd, &sel)
	cmd.Flags().IntVar(&sel.Limit, "limit", 1000, "at most so many; 0 is all")
	return cmd
}

func newRetryCommand(c *common) *cobra.Command {
	var sel feed.Selection
	var all, delivered bool
	cmd := &cobra.Command{
		Use:   "retry",
		Short: "Send records that were set aside again, under the same ids",
		Long: "Send records that were set aside again, under the same ids.\n\nAn uncertain record may be with the receiver, which has forgotten its id: look there first. If it is there, use --as-delivered, " +
			"which notes it as delivered and sends nothing.",
		RunE: func(*cobra.Command, []string) error {
			if sel.ID == "" && sel.Reason == "" && !all {
				return fmt.Errorf("say which: --id, --reason, or --all")
			}
			n, err := c.client.Retry(sel, delivered)
			if err == nil && n == 0 && sel.ID != "" {
				err = fmt.Errorf("no record that was set aside has the id %q: see feed dead-letters", sel.ID)
			}
			if err != nil {
				return err
			}
			if c.json {
				return c.line(map[string]int{"records": n})
			}
			what := "are sent again"
			if delivered {
				what = "are noted as delivered"
			}
			c.printf("%d records %s\n", n, what)
			return nil
		},
	}
	selection(cmd, &sel)
	cmd.Flags().BoolVar(&all, "all", false, "all of them")
	cmd.Flags().BoolVar(&delivered, "as-delivered", false, "note that the receiver has them, and send nothing")
	return cmd
}

func newReconcileCommand(c *common) *cobra.Command {
	var q feed.Reconciliation
	var from, to string
	var every bool
	cmd := &cobra.Command{
		Use:   "reconcile",
		Short: "Compare the ledger with what was delivered, and with what the receiver says that it has, hour by hour",
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if q.Receiver == "" {
				return fmt.Errorf("--receiver is not set: name one of those that feed status shows")
			}
			if q.From, err = parseHour("from", from); err != nil {
				return err
			}
			if q.To, err = parseHour("to", to); err != nil {
				return err
			}
			if q.To <= q.From {
				return fmt.Errorf("--to %s is not after --from %s: no hour lies between, nothing was compared", to, from)
			}
			n, different := 0, 0
			if err := c.client.Reconcile(cmd.Context(), q, func(d *feed.Comparison) error {
				n++
				if !d.Equal {
					different++
				}
				if d.Equal && !every {
					return nil
				}
				return c.comparison(d)
			}); err != nil {
				return err
			}
			if !c.json {
				c.printf("%d customers' meters and hours compared, %d differ\n", n, different)
				if !c.running && q.Ask {
					c.printf("the receiver was not asked: no collector runs\n")
				}
				if err := c.notSent(q); err != nil {
					return err
				}
			}
			if different > 0 {
				return ErrDifferences
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&q.Receiver, "receiver", "", "the receiver")
	now := usage.MicrosOf(time.Now()).Hour()
	cmd.Flags().StringVar(&from, "from", (now - 24).Start().Time().Format(time.RFC3339), "the first hour")
	cmd.Flags().StringVar(&to, "to", (now + 1).Start().Time().Format(time.RFC3339), "the hour after the last")
	cmd.Flags().BoolVar(&q.Ask, "ask", true, "ask the receiver what it has, where it can be asked")
	cmd.Flags().BoolVar(&every, "all", false, "print what is equal, too")
	return cmd
}

// notSent says which hours that were asked for were not compared, because the receiver is not sent them.
func (c *common) notSent(q feed.Reconciliation) error {
	all, err := c.client.StatusNow(false)
	for _, s := range all {
		if s.Receiver == q.Receiver && s.From > q.From.Start().Time().Format(time.RFC3339) {
			c.printf("hours before %s are not sent to %s, and were not compared\n", s.From, s.Receiver)
		}
	}
	return err
}

func (c *common) comparison(d *feed.Comparison) error {
	if c.json {
		return c.line(d)
	}
	word := "equal"
	switch {
	case d.Equal:
	case d.Waiting:
		word = "DIFFERS, and waits to be sent"
	default:
		word = "DIFFERS"
	}
	has := ""
	if d.Receiver != nil {
		has = ", the receiver has " + *d.Receiver
	}
	c.printf("%s  %s  %s  %s: the ledger has %s, delivered %s, pending %s, set aside %s; in the receiver's unit %s sent%s\n",
		word, d.Hour, d.Customer, d.Meter, d.Ledger, d.Delivered, d.Pending, d.Letters, d.Sent, has)
	for _, id := range d.Records {
		c.printf("    record %s\n", id)
	}
	return nil
}

func newReplayCommand(c *common) *cobra.Command {
	var receiver, from string
	cmd := &cobra.Command{
		Use:   "replay",
		Short: "Send a receiver what the ledger counted in hours before those that it is sent",
		RunE: func(*cobra.Command, []string) error {
			h, err := parseHour("from", from)
			if err != nil {
				return err
			}
			if err := c.client.Replay(receiver, h); err != nil {
				return err
			}
			c.printf("%s is sent all hours from %s on; what was sent is not sent again\n", receiver, h.Start().Time().Format(time.RFC3339))
			return nil
		},
	}
	cmd.Flags().StringVar(&receiver, "receiver", "", "the receiver")
	cmd.Flags().StringVar(&from, "from", "", "the first hour")
	return cmd
}

func newPreviewCommand(c *common) *cobra.Command {
	var receiver string
	var limit int
	cmd := &cobra.Command{
		Use:   "preview",
		Short: "The records that would be made if all that has changed were sent now; sends nothing",
		RunE: func(*cobra.Command, []string) error {
			n := 0
			err := c.client.Preview(receiver, limit, func(r *feed.Record) error {
				n++
				if c.json {
					return c.line(r)
				}
				c.printf("%s  %s (%s)  %s %s  = %s %s\n", r.Hour, r.Customer, r.ExternalCustomer, r.Meter, r.Value, r.Quantity, r.Unit)
				return nil
			})
			if err != nil || c.json {
				return err
			}
			c.printf("%d records\n", n)
			if limit > 0 && n == limit {
				c.printf("there may be more: see --limit\n")
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&receiver, "receiver", "", "the receiver")
	cmd.Flags().IntVar(&limit, "limit", 100, "at most so many; 0 is all")
	return cmd
}
