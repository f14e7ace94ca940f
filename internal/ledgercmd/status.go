package ledgercmd

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/usagebox/otelcol-usagebox/internal/ledger"
)

// statusReport is what `ledger status` prints.
type statusReport struct {
	Directory string           `json:"directory"`
	Bytes     map[string]int64 `json:"bytes"` // by folder
	Writers   []writerReport   `json:"writers"`
}

type writerReport struct {
	Writer       string         `json:"writer"`
	Hours        int            `json:"hours"`
	Parts        int            `json:"parts"`
	SealedParts  int            `json:"sealed_parts"`
	SealedEvents int64          `json:"sealed_events"`
	SealedRows   int64          `json:"sealed_rows"`
	Days         int            `json:"days"` // that are summed in daily/
	DailyParts   int            `json:"daily_parts"`
	LeftEvents   int64          `json:"left_events"` // that are older than their retention
	ChainRecords int            `json:"chain_records"`
	ChainHead    string         `json:"chain_head"`
	FirstHour    string         `json:"first_hour,omitempty"`
	LastHour     string         `json:"last_hour,omitempty"`
	Open         *ledger.Status `json:"open,omitempty"` // what the collector says
}

func newStatusCommand(c *common) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "What the ledger holds: hours, parts, what is open, what waits, disk, the head of the chain",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return c.status() },
	}
}

func (c *common) status() error {
	report := statusReport{Directory: c.directory, Bytes: map[string]int64{}, Writers: []writerReport{}}
	for _, name := range []string{"events", "rollups", "runs", "daily", "refused", "feed", "state"} {
		size, err := diskUse(filepath.Join(c.directory, name))
		if err != nil {
			return err
		}
		report.Bytes[name] = size
	}
	writers, err := c.writers()
	if err != nil {
		return err
	}
	for _, w := range writers {
		r, err := c.writerStatus(w)
		if err != nil {
			return err
		}
		report.Writers = append(report.Writers, r)
	}
	if c.json {
		return printJSON(c.out, report)
	}
	return c.printStatus(&report)
}

func (c *common) writerStatus(writer string) (writerReport, error) {
	r := writerReport{Writer: writer}
	ch, err := c.readChain(writer)
	if err != nil {
		return r, err
	}
	if ch.broken != nil {
		return r, ch.broken
	}
	r.ChainRecords, r.ChainHead = len(ch.records), ch.head
	r.LeftEvents = ch.leftEvents(always)
	for _, rec := range ch.standing() {
		if f, _ := recordFolder(rec); ch.left[f.part(trees[0], rec.Part)] != nil {
			continue
		}
		r.SealedParts++
		r.SealedEvents += rec.Totals.Events
		r.SealedRows += rec.Totals.Rows
	}
	days := map[string]bool{}
	for rel, rec := range ch.daily {
		if ch.left[rel] == nil {
			days[rec.Day] = true
			r.DailyParts++
		}
	}
	r.Days = len(days)
	folders, _, err := c.folders(always)
	if err != nil {
		return r, err
	}
	for _, f := range folders {
		if f.writer != writer {
			continue
		}
		names, err := c.names(f, trees[0])
		if err != nil {
			return r, err
		}
		r.Hours++
		r.Parts += len(names)
		if r.FirstHour == "" {
			r.FirstHour = hourText(f.hour)
		}
		r.LastHour = hourText(f.hour)
	}
	r.Open, err = c.readStatus(writer)
	return r, err
}

// diskUse is the size of the files below dir. Files that vanish meanwhile don't count.
func diskUse(dir string) (size int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if os.IsNotExist(err) {
			return nil
		}
		if err == nil {
			size += info.Size()
		}
		return err
	})
	return size, err
}

func (c *common) printStatus(r *statusReport) error {
	g := newGrid("folder", ">size")
	for _, name := range []string{"events", "rollups", "runs", "daily", "refused", "feed", "state"} {
		g.row(name, byteText(r.Bytes[name]))
	}
	if err := g.print(c.out); err != nil {
		return err
	}
	for i := range r.Writers {
		w := &r.Writers[i]
		if _, err := fmt.Fprintf(c.out, "\nwriter %s: %s from %s to %s, %s; sealed: %s with %s; days summed: %d, in %s; chain: %s, head %s\n",
			w.Writer, countText(int64(w.Hours), "hour", "hours"), dash(w.FirstHour), dash(w.LastHour), countText(int64(w.Parts), "part", "parts"),
			countText(int64(w.SealedParts), "part", "parts"), countText(w.SealedEvents, "event", "events"), w.Days, countText(int64(w.DailyParts), "part", "parts"),
			countText(int64(w.ChainRecords), "record", "records"), dash(w.ChainHead)); err != nil {
			return err
		}
		if w.LeftEvents > 0 {
			if _, err := fmt.Fprintf(c.out, "  %s left by retention\n", countText(w.LeftEvents, "event", "events")); err != nil {
				return err
			}
		}
		if err := c.printOpen(w.Open); err != nil {
			return err
		}
	}
	return nil
}

func (c *common) printOpen(st *ledger.Status) error {
	if st == nil {
		_, err := fmt.Fprintln(c.out, "  no collector has said anything about what is open")
		return err
	}
	if _, err := fmt.Fprintf(c.out, "  at %s: %s in open hours (%s), %s for what they correct, the store has %s\n",
		st.At, countText(st.OpenEvents, "event", "events"), byteText(st.OpenBytes), countText(st.Waiting, "correction waits", "corrections wait"), byteText(st.StoreBytes)); err != nil {
		return err
	}
	if st.Days > 0 {
		if _, err := fmt.Fprintf(c.out, "  %s to be summed: %s\n", countText(int64(st.Days), "day waits", "days wait"), strings.Join(st.WaitingDays, ", ")+moreText(st.Days-len(st.WaitingDays))); err != nil {
			return err
		}
	}
	if err := c.printWaits(st); err != nil || len(st.Hours) == 0 {
		return err
	}
	g := newGrid("  open hour", ">events", ">parts", ">sealed before", "seal due", "")
	for _, h := range st.Hours {
		note := ""
		if h.Late {
			note = "late usage"
		}
		g.row("  "+h.Hour, fmt.Sprint(h.Open), fmt.Sprint(len(h.Parts)), fmt.Sprint(h.Sealed), dueText(h.SealDue), note)
	}
	return g.print(c.out)
}

// shownWaits is how many waiting corrections people see; --json has more.
const shownWaits = 10

func (c *common) printWaits(st *ledger.Status) error {
	if len(st.Waits) == 0 {
		return nil
	}
	g := newGrid("  waits", "of customer", "for event", "since")
	for _, w := range st.Waits[:min(len(st.Waits), shownWaits)] {
		g.row("  "+w.EventID, w.Customer, w.Corrects, w.Since)
	}
	if more := st.Waiting - int64(min(len(st.Waits), shownWaits)); more > 0 {
		g.row(fmt.Sprintf("  and %d more", more), "", "", "")
	}
	return g.print(c.out)
}

func moreText(n int) string {
	if n <= 0 {
		return ""
	}
	return fmt.Sprintf(" and %d more", n)
}

func dueText(text string) string {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return text
	}
	return t.UTC().Format("2006-01-02T15:04:05Z")
}
