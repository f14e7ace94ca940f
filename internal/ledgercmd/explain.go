package ledgercmd

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// explainReport is how a customer's total came about.
type explainReport struct {
	Customer string          `json:"customer"`
	Meter    string          `json:"meter,omitempty"`
	From     string          `json:"from,omitempty"`
	To       string          `json:"to,omitempty"`
	Totals   []*explainTotal `json:"totals"`
	Agree    bool            `json:"rollups_agree"` // of the hours that lie wholly in the range
	Hours    []*explainHour  `json:"hours"`
	Refused  []refusedLine   `json:"refused"`

	LeftHours int `json:"left_hours"` // whose rollups have left: what was in them is not in the total
}

// explainTotal is a sum over events; costs and prices by currency.
type explainTotal struct {
	Meter       string            `json:"meter"`
	Unit        string            `json:"unit"`
	Quantity    string            `json:"quantity"`
	Costs       map[string]string `json:"costs"`
	Prices      map[string]string `json:"prices"`
	Events      int64             `json:"events"`
	Corrections int64             `json:"corrections"`
	Retractions int64             `json:"retractions"`
	Uncosted    int64             `json:"uncosted_events"`
	Unpriced    int64             `json:"unpriced_events"`
}

// explainHour is what one hour adds, and in which files it is.
type explainHour struct {
	Hour   string           `json:"hour"`
	Totals []*explainTotal  `json:"totals"`
	Files  []explainFile    `json:"files"` // of events, or of rollups where those have left
	Fixes  []explainedEvent `json:"corrections"`
}

type explainFile struct {
	File string `json:"file"`
	Rows int64  `json:"rows"` // that belong to the total
}

type explainedEvent struct {
	EventID  string `json:"event_id"`
	Kind     string `json:"kind"`
	Corrects string `json:"corrects,omitempty"`
	At       string `json:"timestamp"`
	Meter    string `json:"meter"`
	Quantity string `json:"quantity"`
}

type refusedLine struct {
	At      string `json:"at"`
	EventID string `json:"event_id"`
	Reason  string `json:"reason"`
	Payload string `json:"payload"`
}

type explainOptions struct {
	rangeFlags
	customer, meter, event string
}

func newExplainCommand(c *common) *cobra.Command {
	o := &explainOptions{}
	cmd := &cobra.Command{
		Use:   "explain --customer C [--meter M] [--from T --to T] | --event ID",
		Short: "How a customer's total came about: its hours, files, corrections and refusals; or the whole life of one event",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if o.event != "" {
				return c.explainEvent(o)
			}
			if o.customer == "" {
				return errors.New("--customer says whose total is to be explained, or --event which event")
			}
			return c.explain(o)
		},
	}
	o.add(cmd)
	cmd.Flags().StringVar(&o.customer, "customer", "", "the customer")
	cmd.Flags().StringVar(&o.meter, "meter", "", "one meter only")
	cmd.Flags().StringVar(&o.event, "event", "", "an event_id: show where it is, what corrects it, what was refused")
	return cmd
}

func (c *common) explain(o *explainOptions) error {
	r, err := o.parse()
	if err != nil {
		return err
	}
	report := &explainReport{Customer: o.customer, Meter: o.meter, From: o.from, To: o.to, Agree: true, Hours: []*explainHour{}}
	total := newTotals()
	folders, _, err := c.folders(r)
	if err != nil {
		return err
	}
	bar := c.startProgress("reading", len(folders))
	for i := 0; i < len(folders); {
		end := i + 1
		for end < len(folders) && folders[end].hour == folders[i].hour {
			end++
		}
		if err := c.explainHour(o, r, folders[i:end], report, total); err != nil {
			bar.end()
			return err
		}
		for ; i < end; i++ {
			bar.step()
		}
	}
	bar.end()
	report.Totals = total.lines()
	if report.LeftHours, err = c.leftHours(r); err != nil {
		return err
	}
	if report.Refused, err = c.refusals(r, func(row *parquetfile.RefusedRow) bool { return row.Customer == o.customer }); err != nil {
		return err
	}
	if c.json {
		return printJSON(c.out, report)
	}
	return c.printExplain(report, r)
}

// explainHour adds an hour's parts of all writers.
func (c *common) explainHour(o *explainOptions, r timeRange, folders []folder, report *explainReport, total *totals) error {
	hour := &explainHour{Hour: hourText(folders[0].hour), Files: []explainFile{}, Fixes: []explainedEvent{}}
	sum := newTotals()
	for _, f := range folders {
		left, err := c.leftFiles(f.writer)
		if err != nil {
			return err
		}
		var ofFolder, ofRollups *totals
		var files []explainFile
		var fixes []explainedEvent
		if err := c.steady(f, func(l *listing, _ bool) error {
			ofFolder, ofRollups, files, fixes = newTotals(), newTotals(), nil, nil
			for _, name := range l[0] {
				rows, err := c.customerRows(f.part(trees[0], name), o, r, ofFolder, &fixes)
				if err != nil {
					return err
				}
				if rows > 0 {
					files = append(files, explainFile{f.part(trees[0], name), rows})
				}
			}
			for _, name := range l[2] {
				rel := f.part(trees[2], name)
				if err := c.customerRollups(rel, o, ofRollups); err != nil {
					return err
				}
				if left[f.part(trees[0], name)] == nil {
					continue
				}
				if !r.covers(f.hour) {
					return fmt.Errorf("its events have left: let the range begin and end with a whole hour")
				}
				alone := newTotals()
				if err := c.customerRollups(rel, o, alone); err != nil {
					return err
				}
				if rows := alone.rows(); rows > 0 {
					files = append(files, explainFile{rel, rows})
				}
				ofFolder.merge(alone)
			}
			return nil
		}); err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
		if r.covers(f.hour) && !ofFolder.equal(ofRollups) {
			report.Agree = false
		}
		hour.Files = append(hour.Files, files...)
		hour.Fixes = append(hour.Fixes, fixes...)
		sum.merge(ofFolder)
	}
	if len(hour.Files) == 0 {
		return nil
	}
	hour.Totals = sum.lines()
	total.merge(sum)
	report.Hours = append(report.Hours, hour)
	return nil
}

// leftHours is how many hours in r have lost rollups.
func (c *common) leftHours(r timeRange) (int, error) {
	writers, err := c.writers()
	if err != nil {
		return 0, err
	}
	hours := map[usage.Hour]bool{}
	for _, w := range writers {
		left, err := c.leftFiles(w)
		if err != nil {
			return 0, err
		}
		for path, record := range left {
			if f, ok := recordFolder(record); ok && r.touches(f.hour) && strings.HasPrefix(path, trees[2]+"/") {
				hours[f.hour] = true
			}
		}
	}
	return len(hours), nil
}

// customerRows adds what a file has of the customer.
func (c *common) customerRows(rel string, o *explainOptions, r timeRange, sum *totals, fixes *[]explainedEvent) (rows int64, err error) {
	f, events, err := c.events(rel)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	reader := events.Customer(o.customer)
	defer reader.Close()
	for {
		var e usage.Event
		err := reader.Next(&e)
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return rows, fmt.Errorf("%s: %w", rel, err)
		}
		if !r.contains(e.Timestamp) {
			continue
		}
		for i := range e.Lines {
			l := &e.Lines[i]
			if o.meter != "" && l.Meter != o.meter {
				continue
			}
			rows++
			if err := sum.add(&e, l); err != nil {
				return rows, err
			}
			if e.Kind != usage.KindUsage {
				*fixes = append(*fixes, explainedEvent{e.ID, string(e.Kind), e.Corrects, momentText(e.Timestamp), l.Meter, l.Quantity.String()})
			}
		}
	}
}

func (c *common) customerRollups(rel string, o *explainOptions, sum *totals) error {
	f, err := c.open(rel)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := parquetfile.ReadRollups(f, f.size, func(row *parquetfile.RollupRow) error {
		if row.Customer != o.customer || o.meter != "" && row.Meter != o.meter {
			return nil
		}
		return sum.addRollup(row)
	}); err != nil {
		return fmt.Errorf("%s: %w", rel, err)
	}
	return nil
}

// refusals are the rows of refused/ that are wanted, of days that r touches: they lie by the time of arrival.
func (c *common) refusals(r timeRange, wanted func(*parquetfile.RefusedRow) bool) ([]refusedLine, error) {
	lines := []refusedLine{}
	err := c.eachRefused(func(row *parquetfile.RefusedRow) error {
		if r.contains(row.At) && wanted(row) {
			lines = append(lines, refusedLine{momentText(row.At), row.EventID, row.Reason, row.Payload})
		}
		return nil
	})
	slices.SortStableFunc(lines, func(a, b refusedLine) int { return strings.Compare(a.At, b.At) })
	return lines, err
}

func (c *common) printExplain(r *explainReport, within timeRange) error {
	p := &printer{w: c.out}
	p.linef("customer %s%s", r.Customer, rangeText(within))
	g := newGrid("meter", ">quantity", "unit", ">cost", ">price", ">events", ">corrections", ">retractions", ">without cost", ">without price")
	for _, t := range r.Totals {
		g.row(t.Meter, t.Quantity, t.Unit, moneysText(t.Costs), moneysText(t.Prices), fmt.Sprint(t.Events), fmt.Sprint(t.Corrections), fmt.Sprint(t.Retractions), fmt.Sprint(t.Uncosted), fmt.Sprint(t.Unpriced))
	}
	p.grid(g)
	if len(r.Totals) == 0 {
		p.linef("no usage")
	} else if r.Agree {
		p.linef("rollups say the same of every whole hour")
	} else {
		p.linef("rollups DIFFER: see ledger verify")
	}
	if r.LeftHours > 0 {
		p.linef("the rollups of %s have left by retention: what was in them is not in this total", countText(int64(r.LeftHours), "hour", "hours"))
	}
	p.linef("")
	g = newGrid("hour", "meter", ">quantity", ">cost", ">price", ">events", "files (rows)")
	for _, h := range r.Hours {
		files := make([]string, len(h.Files))
		for i, f := range h.Files {
			files[i] = fmt.Sprintf("%s (%d)", f.File, f.Rows)
		}
		for i, t := range h.Totals {
			hour, of := h.Hour, strings.Join(files, ", ")
			if i > 0 {
				hour, of = "", ""
			}
			g.row(hour, t.Meter, t.Quantity, moneysText(t.Costs), moneysText(t.Prices), fmt.Sprint(t.Events+t.Corrections+t.Retractions), of)
		}
	}
	p.grid(g)
	g = newGrid("corrected at", "event", "kind", "of", "meter", ">quantity")
	for _, h := range r.Hours {
		for _, e := range h.Fixes {
			g.row(e.At, e.EventID, e.Kind, e.Corrects, e.Meter, e.Quantity)
		}
	}
	p.section(g)
	g = newGrid("refused at", "event", "reason", "payload")
	for _, x := range r.Refused {
		g.row(x.At, dash(x.EventID), x.Reason, x.Payload)
	}
	p.section(g)
	return p.err
}

func rangeText(r timeRange) string {
	s := ""
	if r.from != always.from {
		s += " from " + momentText(r.from)
	}
	if r.to != always.to {
		s += " to before " + momentText(r.to)
	}
	return s
}

func moneysText(m map[string]string) string {
	if len(m) == 0 {
		return "-"
	}
	parts := make([]string, 0, len(m))
	for currency, amount := range m {
		parts = append(parts, amount+" "+currency)
	}
	slices.Sort(parts)
	return strings.Join(parts, " + ")
}
