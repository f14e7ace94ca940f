package ledgercmd

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/usagebox/otelcol-usagebox/internal/ledger"
	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// eventReport is the whole life of an event.
type eventReport struct {
	EventID string        `json:"event_id"`
	Found   []foundEvent  `json:"found"`               // itself, and what corrects it
	Refused []refusedLine `json:"refused"`             // with this id
	Waiting int64         `json:"waiting_corrections"` // of all writers: this command reads files, in which these are not

	Waits []ledger.StatusWait `json:"waiting"` // of them, those that are this event or are to correct it, as far as collectors name them
}

type foundEvent struct {
	File  string `json:"file"`
	Rows  []row  `json:"rows"`
	event usage.Event
}

// explainEvent shows where an event is, what corrects it and what of it was refused. Without a customer it looks for the id
// under all of them.
func (c *common) explainEvent(o *explainOptions) error {
	r, err := o.parse()
	if err != nil {
		return err
	}
	folders, _, err := c.folders(r)
	if err != nil {
		return err
	}
	report := &eventReport{EventID: o.event, Found: []foundEvent{}, Waits: []ledger.StatusWait{}}
	bar := c.startProgress("looking", len(folders))
	for _, f := range folders {
		var found []foundEvent
		err := c.steady(f, func(l *listing, _ bool) error {
			found = nil
			for _, name := range l[0] {
				rel := f.part(trees[0], name)
				if err := c.about(rel, o, func(e *usage.Event) {
					found = append(found, foundEvent{rel, eventRows(e), *e})
				}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			bar.end()
			return err
		}
		report.Found = append(report.Found, found...)
		bar.step()
	}
	bar.end()
	slices.SortStableFunc(report.Found, func(a, b foundEvent) int { return int(a.event.IngestedAt - b.event.IngestedAt) })
	if report.Refused, err = c.refusals(always, func(row *parquetfile.RefusedRow) bool {
		return row.EventID == o.event && (o.customer == "" || row.Customer == o.customer)
	}); err != nil {
		return err
	}
	writers, err := c.writers()
	if err != nil {
		return err
	}
	for _, w := range writers {
		if st, err := c.readStatus(w); err == nil && st != nil { // verify tells of one that can't be read
			report.Waiting += st.Waiting
			for _, wait := range st.Waits {
				if (o.customer == "" || wait.Customer == o.customer) && (wait.EventID == o.event || wait.Corrects == o.event) {
					report.Waits = append(report.Waits, wait)
				}
			}
		}
	}
	if c.json {
		return printJSON(c.out, report)
	}
	return c.printEvent(report)
}

// about gives the events of a file that have the id or correct it.
func (c *common) about(rel string, o *explainOptions, found func(*usage.Event)) error {
	match := func(e *usage.Event) error {
		if (o.customer == "" || e.Customer == o.customer) && (e.ID == o.event || e.Corrects == o.event) {
			found(e)
		}
		return nil
	}
	if o.customer == "" {
		return c.eachEvent(rel, match)
	}
	f, events, err := c.events(rel)
	if err != nil {
		return err
	}
	defer f.Close()
	reader := events.Customer(o.customer)
	defer reader.Close()
	for {
		var e usage.Event
		err := reader.Next(&e)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", rel, err)
		}
		if err := match(&e); err != nil {
			return err
		}
	}
}

func (c *common) printEvent(r *eventReport) error {
	p := &printer{w: c.out}
	if len(r.Found) == 0 {
		p.linef("no event %s is in a file of the ledger", r.EventID)
		if r.Waiting > 0 && len(r.Waits) == 0 {
			p.linef("%s for an event to correct, in no file yet: it may be among these", countText(r.Waiting, "correction waits", "corrections wait"))
		}
	}
	for _, w := range r.Waits {
		p.linef("%s of customer %s waits for event %s since %s", w.EventID, w.Customer, w.Corrects, w.Since)
	}
	for i := range r.Found {
		e, file := &r.Found[i].event, r.Found[i].File
		what := "event"
		if e.Kind != usage.KindUsage {
			what = string(e.Kind) + " of " + e.Corrects + ":"
		}
		p.linef("%s %s of customer %s", what, e.ID, e.Customer)
		p.linef("  happened %s, acknowledged %s, in %s", momentText(e.Timestamp), momentText(e.IngestedAt), file)
		g := newGrid("  meter", ">quantity", "unit", ">cost", "rate", ">price", "rate")
		for j := range e.Lines {
			l := &e.Lines[j]
			g.row("  "+l.Meter, l.Quantity.String(), l.Unit, chargeText(l.Cost), dash(l.Cost.Rate), chargeText(l.Price), dash(l.Price.Rate))
		}
		p.grid(g)
	}
	g := newGrid("refused at", "reason", "payload")
	for _, x := range r.Refused {
		g.row(x.At, x.Reason, x.Payload)
	}
	p.section(g)
	return p.err
}

func chargeText(c usage.Charge) string {
	if !c.Known() {
		return "-"
	}
	return c.Amount.String() + " " + c.Currency
}
