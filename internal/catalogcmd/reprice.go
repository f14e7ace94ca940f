package catalogcmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/usagebox/otelcol-usagebox/internal/catalog"
	"github.com/usagebox/otelcol-usagebox/internal/dirlock"
	store "github.com/usagebox/otelcol-usagebox/internal/ledger"
	"github.com/usagebox/otelcol-usagebox/internal/ledger/control"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// reprice is what to price again, and how.
type reprice struct {
	ledger
	catalog         string
	customer, model string
	dimensions      []string
	apply           bool
	atOnce          int // corrections of an hour that are joined with their events at once
}

// correctionsAtOnce bounds memory: a correction takes about half a kilobyte.
const correctionsAtOnce = 200_000

// NewRepriceCommand is the command `reprice`: amounts of a ledger's events by another catalogue, put into force by corrections.
func NewRepriceCommand() *cobra.Command {
	c := &common{}
	r := &reprice{atOnce: correctionsAtOnce}
	cmd := &cobra.Command{
		Use:   "reprice --ledger DIR --from 2026-05 --to 2026-06 --catalog FILE [--apply]",
		Short: "Price what is in a ledger by another catalogue, and put the differences into force by corrections",
		Long: "Price what is in a ledger by another catalogue. Without --apply it shows the differences, by customer, model and meter, and changes nothing; it may run beside a collector.\n\n" +
			"With --apply it appends a correction to every event that differs: quantities of zero, and the differences of cost and price, in the event's own hour. Nothing that is there is changed. " +
			"A running collector takes the corrections, on this machine and as the same user; where none runs, they go into the ledger's files. Killed in the middle, run it again: what was put into force doesn't differ any more.\n\n" +
			"An event is priced as one with its corrections: what is left of its quantities, at its own time. Where the catalogue has no amount, or one in another currency, the event keeps what it has. Retracted events stay retracted.",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c.out, c.err = cmd.OutOrStdout(), cmd.ErrOrStderr()
			if r.directory == "" || r.from == "" || r.to == "" || r.catalog == "" {
				return errors.New("name --ledger, --from, --to and --catalog")
			}
			return c.reprice(cmd.Context(), r)
		},
	}
	r.flags(cmd)
	cmd.Flags().StringVar(&r.catalog, "catalog", "", "the catalogue's file or folder; \"builtin\" is the built-in one")
	cmd.Flags().StringVar(&r.customer, "customer", "", "one customer only")
	cmd.Flags().StringVar(&r.model, "model", "", "one model only, as it stands in the ledger")
	cmd.Flags().StringVar(&r.writer, "writer", "main", "the writer whose events to price, as writer_id of the usage exporter")
	cmd.Flags().StringSliceVar(&r.dimensions, "rollup-dimensions", nil, "rollup_dimensions of the usage exporter, where they are not the default ones and no collector runs")
	cmd.Flags().BoolVar(&r.apply, "apply", false, "append the corrections")
	return cmd
}

// wants says whether an event's amounts are to be computed again.
func (r *reprice) wants(e *usage.Event) bool {
	return (r.customer == "" || e.Customer == r.customer) && (r.model == "" || e.Model == r.model)
}

func (c *common) reprice(ctx context.Context, r *reprice) (err error) {
	cat, err := load(r.catalog)
	if err != nil {
		return err
	}
	p := &repricing{catalog: cat, changes: map[changeKey]*change{}}
	if !r.apply {
		if err := r.eachSettled(ctx, func(e *usage.Event, corrections []usage.Event) error {
			p.correction(e, corrections)
			return nil
		}); err != nil {
			return err
		}
		return c.printRepricing(p)
	}
	applied, err := r.putIntoForce(ctx, p, c.err)
	if err != nil {
		return fmt.Errorf("%s in force, the rest is not; run it again: %w", count(applied, "correction is", "corrections are"), err)
	}
	if err := c.printRepricing(p); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.out, "%s in force\n", count(applied, "correction is", "corrections are"))
	return err
}

// appendBatch is how many corrections are made durable at once.
const appendBatch = 1000

// books are what takes corrections: a ledger, or a running collector that has it.
type books interface {
	Flush(ctx context.Context) error
	Amend(ctx context.Context, list []store.Amendment) (store.Result, error)
	Close() error
}

// open is the ledger itself when nobody has it, else the collector that does.
func (r *reprice) open() (books, error) {
	l, err := store.Open(store.Options{Directory: r.directory, WriterID: r.writer, RollupDimensions: r.dimensions, Manual: true, Borrowed: true})
	if held := (*dirlock.HeldError)(nil); !errors.As(err, &held) {
		return l, err
	}
	c, dialed := control.Dial(filepath.Join(r.directory, "state", "writer="+r.writer))
	if dialed != nil {
		return nil, fmt.Errorf("%w. It can't be told the corrections (%w): it has to be a collector on this machine that runs as this user", err, dialed)
	}
	return c, nil
}

// putIntoForce gives the books the corrections, each batch as soon as it is full, and says how many they have taken: in the end, and on progress whenever
// they are twice as many.
func (r *reprice) putIntoForce(ctx context.Context, p *repricing, progress io.Writer) (applied int, err error) {
	b, err := r.open()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	if err := b.Flush(ctx); err != nil { // what was acknowledged is in files then
		return 0, err
	}
	var batch []store.Amendment
	moved, next := 0, appendBatch
	put := func() error {
		result, err := b.Amend(ctx, batch)
		batch = batch[:0]
		if err != nil {
			return err
		}
		applied += result.Accepted
		moved += result.Moved
		if applied >= next {
			_, _ = fmt.Fprintf(progress, "%d corrections are in force so far\n", applied)
			next = 2 * applied
		}
		if len(result.Rejections) > 0 {
			return fmt.Errorf("the ledger refused %w", &usage.RejectedError{Rejections: result.Rejections})
		}
		return nil
	}
	if err := r.eachSettled(ctx, func(e *usage.Event, corrections []usage.Event) error {
		if correction := p.correction(e, corrections); correction != nil {
			batch = append(batch, *correction)
		}
		if len(batch) < appendBatch {
			return nil
		}
		return put()
	}); err != nil {
		return applied, err
	}
	if err := put(); err != nil {
		return applied, err
	}
	if moved > 0 {
		return applied, fmt.Errorf("%s corrected by others meanwhile, and left alone", count(moved, "event was", "events were"))
	}
	return applied, nil
}

func (c *common) printRepricing(p *repricing) error {
	if len(p.changes) > 0 {
		rows := [][]string{{"CUSTOMER", "MODEL", "METER", "BOOK", "CURRENCY", "LINES", "WITHOUT AMOUNT", "BEFORE", "AFTER", "DIFFERENCE"}}
		for _, key := range sortedChanges(p.changes) {
			one := p.changes[key]
			difference, _ := one.after.Add(one.before.Neg())
			rows = append(rows, []string{
				key.customer, dash(key.model), key.meter, key.book, key.currency, fmt.Sprint(one.lines), fmt.Sprint(one.lines - one.had),
				catalog.AmountText(one.before), catalog.AmountText(one.after), catalog.AmountText(difference),
			})
		}
		if err := table(c.out, rows); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(c.out, "%d events, %s by catalogue %s, %d amounts stay as they are for want of one in the same currency\n", p.events, count(p.differ, "differs", "differ"), p.catalog.Version, p.kept)
	return err
}

func sortedChanges(m map[changeKey]*change) []changeKey {
	keys := make([]changeKey, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b changeKey) int {
		return cmp.Or(cmp.Compare(a.customer, b.customer), cmp.Compare(a.model, b.model), cmp.Compare(a.meter, b.meter), cmp.Compare(a.book, b.book), cmp.Compare(a.currency, b.currency))
	})
	return keys
}
