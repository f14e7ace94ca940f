package catalogcmd

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/usagebox/otelcol-usagebox/internal/catalog"
	"github.com/usagebox/otelcol-usagebox/internal/decimal"
	store "github.com/usagebox/otelcol-usagebox/internal/ledger"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// reprice is what to price again, and how.
type reprice struct {
	ledger
	catalog         string
	customer, model string
	dimensions      []string
	apply           bool
}

// NewRepriceCommand is the command `reprice`: amounts of a ledger's events by another catalogue, put into force by corrections.
func NewRepriceCommand() *cobra.Command {
	c := &common{}
	r := &reprice{}
	cmd := &cobra.Command{
		Use:   "reprice --ledger DIR --from 2026-05 --to 2026-06 --catalog FILE [--apply]",
		Short: "Price what is in a ledger by another catalogue, and put the differences into force by corrections",
		Long: "Price what is in a ledger by another catalogue. Without --apply it shows the differences, by customer, model and meter, and changes nothing; it may run beside a collector.\n\n" +
			"With --apply it appends a correction to every event that differs: quantities of zero, and the differences of cost and price, in the event's own hour. Nothing that is there is changed. The collector must be stopped, for a ledger has one writer. " +
			"Killed in the middle, run it again: what was put into force doesn't differ any more.\n\n" +
			"An event gets the amount of its quantities with their corrections, each at its own time. Where the catalogue has no amount, or one in another currency, the event keeps what it has. Retracted events stay retracted.",
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
	cmd.Flags().StringSliceVar(&r.dimensions, "rollup-dimensions", nil, "rollup_dimensions of the usage exporter, where they are not the default ones")
	cmd.Flags().BoolVar(&r.apply, "apply", false, "append the corrections")
	return cmd
}

// change is what the lines of a group come to, before and after.
type change struct {
	lines         int64
	before, after decimal.Int128
	had           int64 // lines that had an amount
}

type changeKey struct{ customer, model, meter, book, currency string }

// plan is the corrections that put a catalogue into force, and what they change.
type plan struct {
	catalog     *catalog.Catalog
	corrections []usage.Event
	changes     map[changeKey]*change
	events      int64
	kept        int64 // lines that keep what they have, because the catalogue has no amount or another currency
}

const appendBatch = 1000

func (c *common) reprice(ctx context.Context, r *reprice) (err error) {
	cat, err := load(r.catalog)
	if err != nil {
		return err
	}
	var l *store.Ledger
	if r.apply {
		if l, err = openLedger(ctx, r); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, l.Close()) }()
	}
	p, err := r.plan(cat)
	if err != nil {
		return err
	}
	if err := c.printPlan(p); err != nil || !r.apply {
		return err
	}
	for start := 0; start < len(p.corrections); start += appendBatch {
		batch := p.corrections[start:min(start+appendBatch, len(p.corrections))]
		result, err := l.Append(ctx, batch)
		if err != nil {
			return fmt.Errorf("%d corrections are in force, the rest is not; run it again: %w", start, err)
		}
		if len(result.Rejections) > 0 {
			return fmt.Errorf("%d corrections are in force; the ledger refused %w", start+result.Accepted, &usage.RejectedError{Rejections: result.Rejections})
		}
	}
	_, err = fmt.Fprintf(c.out, "%s in force\n", count(len(p.corrections), "correction is", "corrections are"))
	return err
}

// openLedger takes the writer's place; what was acknowledged is in files then.
func openLedger(ctx context.Context, r *reprice) (*store.Ledger, error) {
	l, err := store.Open(store.Options{Directory: r.directory, WriterID: r.writer, RollupDimensions: r.dimensions, Manual: true})
	if err != nil {
		return nil, err
	}
	if err := l.Flush(ctx); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// plan reads the ledger twice: all corrections, which may lie anywhere, and then the events of the range.
func (r *reprice) plan(cat *catalog.Catalog) (*plan, error) {
	all := ledger{directory: r.directory, writer: r.writer}
	corrections := map[usage.Key][]usage.Event{}
	if err := all.each(func(e *usage.Event) error {
		if e.Kind != usage.KindUsage && (r.customer == "" || e.Customer == r.customer) {
			key := usage.Key{Customer: e.Customer, ID: e.Corrects}
			corrections[key] = append(corrections[key], *e)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	p := &plan{catalog: cat, changes: map[changeKey]*change{}}
	return p, r.each(func(e *usage.Event) error {
		if e.Kind != usage.KindUsage || r.customer != "" && e.Customer != r.customer || r.model != "" && e.Model != r.model {
			return nil
		}
		p.add(e, corrections[e.Key()])
		return nil
	})
}

// add compares an event's amounts, those of its corrections included, with what the catalogue gives.
func (p *plan) add(e *usage.Event, corrections []usage.Event) {
	p.events++
	after := newNet(e)
	before := newNet(e)
	before.add(e)
	p.catalog.Price(e, nil)
	after.add(e)
	for i := range corrections {
		one := &corrections[i]
		if one.Kind == usage.KindRetraction {
			return
		}
		before.add(one)
		priced := *one
		priced.Lines = append([]usage.Line(nil), one.Lines...)
		p.catalog.Price(&priced, nil)
		after.addParts(&priced)
	}
	correction := usage.Event{
		ID: correctionID(e, p.catalog.Version, len(corrections)), Kind: usage.KindCorrection, Corrects: e.ID, Customer: e.Customer, Timestamp: e.Timestamp,
		Source: "reprice",
	}
	for i := range e.Lines {
		line := usage.Line{Meter: e.Lines[i].Meter, Unit: e.Lines[i].Unit}
		differs := false
		for n, into := range [...]*usage.Charge{&line.Cost, &line.Price} {
			was, is := &before.charges[i][n], &after.charges[i][n]
			if !is.known || was.known && was.currency != is.currency || is.lost || was.lost {
				if was.known || is.known {
					p.kept++
				}
				continue
			}
			difference := is.amount - was.amount
			if difference > maxAmount || -difference > maxAmount {
				p.kept++
				continue
			}
			if difference != 0 || !was.known {
				differs = true
				p.count(e, line.Meter, [...]string{catalog.BookCost, catalog.BookPrice}[n], was, is)
			}
			*into = usage.Charge{Amount: difference, Currency: is.currency, Rate: is.rate}
		}
		if differs {
			correction.Lines = append(correction.Lines, line)
		}
	}
	if len(correction.Lines) > 0 {
		p.corrections = append(p.corrections, correction)
	}
}

func (p *plan) count(e *usage.Event, meter, book string, was, is *netCharge) {
	key := changeKey{e.Customer, e.Model, meter, book, is.currency}
	if p.changes[key] == nil {
		p.changes[key] = &change{}
	}
	one := p.changes[key]
	one.lines++
	if was.known {
		one.had++
	}
	one.before, _ = one.before.AddInt64(int64(was.amount))
	one.after, _ = one.after.AddInt64(int64(is.amount))
}

const maxAmount = 999_999_999_999_999_999

// net is what an event's lines come to, in both books, with its corrections.
type net struct {
	event   *usage.Event
	charges [][2]netCharge
}

type netCharge struct {
	amount         usage.Amount
	currency, rate string
	known, lost    bool // lost: a part has no amount, or another currency
}

func newNet(e *usage.Event) *net { return &net{event: e, charges: make([][2]netCharge, len(e.Lines))} }

// add adds the charges that are known.
func (n *net) add(e *usage.Event) { n.sum(e, false) }

// addParts adds the charges of a correction; without one, where it has a quantity, the whole is not known.
func (n *net) addParts(e *usage.Event) { n.sum(e, true) }

func (n *net) sum(e *usage.Event, parts bool) {
	for i := range e.Lines {
		l := &e.Lines[i]
		for at := range n.event.Lines {
			if n.event.Lines[at].Meter != l.Meter {
				continue
			}
			for book, charge := range [...]usage.Charge{l.Cost, l.Price} {
				into := &n.charges[at][book]
				switch {
				case !charge.Known():
					into.lost = into.lost || parts && l.Quantity != 0
				case into.known && into.currency != charge.Currency:
					into.lost = true
				default:
					into.amount += charge.Amount
					if !into.known {
						into.rate = charge.Rate
					}
					into.known, into.currency = true, charge.Currency
					into.lost = into.lost || into.amount > maxAmount || -into.amount > maxAmount
				}
			}
		}
	}
}

// correctionID is the same for the same event, catalogue and corrections before: so one that was put into force is known again.
func correctionID(e *usage.Event, version string, corrections int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %s %d", e.Customer, e.ID, version, corrections))
	return "reprice-" + version + "-" + hex.EncodeToString(sum[:12])
}

func (c *common) printPlan(p *plan) error {
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
	_, err := fmt.Fprintf(c.out, "%d events, %s by catalogue %s, %d amounts stay as they are for want of one in the same currency\n", p.events, count(len(p.corrections), "differs", "differ"), p.catalog.Version, p.kept)
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
