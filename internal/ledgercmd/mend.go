package ledgercmd

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/usagebox/otelcol-usagebox/usage"
)

type mendOptions struct {
	rangeFlags
	writer string
}

// mendPlan is what takes one of two copies away.
type mendPlan struct {
	Customer string   `json:"account_id"`
	EventID  string   `json:"event_id"`
	Writer   string   `json:"writer"` // at which the copy is taken away
	File     string   `json:"file"`
	Kept     string   `json:"kept"` // the file of the copy that stays
	Same     bool     `json:"same"` // both say the same
	Mended   bool     `json:"mended"`
	Retract  mendLine `json:"retraction"`
}

// mendLine is a retraction as the API takes it.
type mendLine struct {
	EventID   string `json:"event_id"`
	Customer  string `json:"account_id"`
	Kind      string `json:"kind"`
	Corrects  string `json:"corrects"`
	Timestamp string `json:"timestamp"`
}

func newMendCommand(c *common) *cobra.Command {
	o := &mendOptions{}
	cmd := &cobra.Command{
		Use:   "mend-writers [--writer W]",
		Short: "Find ids that two writers have counted, and print the retractions that take one of two away",
		Long: "Find events whose id two writers have counted: a sender's retry that went through another gateway. The copy that was acknowledged first\n" +
			"stays. For the other one this prints a retraction, whose id is made from the event's and the writer's, so that it can't take effect\n" +
			"twice. Nothing is changed: with --writer W the retractions at W are printed as NDJSON, to be posted to W's own API:\n\n" +
			"  otelcol-usagebox ledger mend-writers --writer b | curl --data-binary @- -H 'Content-Type: application/x-ndjson' http://localhost:8080/v1/events",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return c.mend(o) },
	}
	o.add(cmd)
	cmd.Flags().StringVar(&o.writer, "writer", "", "print the retractions at this writer as NDJSON")
	return cmd
}

func (c *common) mend(o *mendOptions) error {
	r, err := o.parse()
	if err != nil {
		return err
	}
	plans, err := c.mendPlans(r)
	if err != nil {
		return err
	}
	switch {
	case o.writer != "":
		for _, p := range plans {
			if p.Writer == o.writer && !p.Mended {
				if err := encodeLine(c.out, p.Retract); err != nil {
					return err
				}
			}
		}
		return nil
	case c.json:
		return printJSON(c.out, plans)
	}
	p := &printer{w: c.out}
	g := newGrid("customer", "event", "at writer", "in", "stays in", "", "")
	open := 0
	for _, m := range plans {
		state, same := "to be retracted", "says the same"
		if m.Mended {
			state = "retracted"
		} else {
			open++
		}
		if !m.Same {
			same = "says something else"
		}
		g.row(m.Customer, m.EventID, m.Writer, m.File, m.Kept, same, state)
	}
	p.grid(g)
	p.linef("%s counted by two writers, %d to be retracted", countText(int64(len(plans)), "event is", "events are"), open)
	return p.err
}

// mendPlans finds the copies at all writers but the one that has acknowledged the event first.
func (c *common) mendPlans(r timeRange) ([]mendPlan, error) {
	folders, _, err := c.folders(r)
	if err != nil {
		return nil, err
	}
	ids := newIDIndex()
	defer ids.close()
	bar := c.startProgress("reading", len(folders))
	defer bar.end()
	for _, f := range folders {
		hashes, err := c.keyHashes(f)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f, err)
		}
		if err := ids.add(hashes); err != nil {
			return nil, err
		}
		bar.step()
	}
	found, err := c.findCopies(ids, folders)
	if err != nil {
		return nil, err
	}
	plans := []mendPlan{}
	for key, places := range found.events {
		kept := places[0]
		for _, p := range places[1:] {
			if p.folder.writer == kept.folder.writer {
				continue // one writer's own copies can't be told apart by a retraction
			}
			plan := planMend(key, kept, p)
			plan.Mended = found.isMended(key, p)
			plans = append(plans, plan)
		}
	}
	slices.SortFunc(plans, func(a, b mendPlan) int {
		return strings.Compare(a.Customer+"\xff"+a.EventID+"\xff"+a.Writer, b.Customer+"\xff"+b.EventID+"\xff"+b.Writer)
	})
	return plans, nil
}

// keyHashes are the hashes of the keys of a folder's events.
func (c *common) keyHashes(f folder) (hashes []uint64, err error) {
	err = c.steady(f, func(l *listing, _ bool) error {
		hashes = hashes[:0]
		for _, name := range l[0] {
			if err := c.eachEvent(f.part(trees[0], name), func(e *usage.Event) error {
				hashes = append(hashes, keyHash(e.Key()))
				return nil
			}); err != nil {
				return err
			}
		}
		return nil
	})
	return hashes, err
}

const mendPrefix = "mend-"

// mendID is the id of the retraction of a writer's copy of an event.
func mendID(key usage.Key, writer string) string {
	sum := sha256.Sum256([]byte(key.Customer + "\xff" + key.ID + "\xff" + writer))
	return mendPrefix + hex.EncodeToString(sum[:16])
}

func planMend(key usage.Key, kept, copied place) mendPlan {
	return mendPlan{
		Customer: key.Customer, EventID: key.ID, Writer: copied.folder.writer, File: copied.rel, Kept: kept.rel,
		Same: copied.event.Payload() == kept.event.Payload(),
		Retract: mendLine{
			EventID: mendID(key, copied.folder.writer), Customer: key.Customer, Kind: string(usage.KindRetraction), Corrects: key.ID,
			Timestamp: momentText(copied.event.Timestamp),
		},
	}
}
