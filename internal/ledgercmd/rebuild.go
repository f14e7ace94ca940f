package ledgercmd

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

type rebuildOptions struct {
	rangeFlags
	output     string
	dimensions []string
}

type rebuildReport struct {
	Output   string   `json:"output"`
	Parts    int      `json:"parts"`
	Events   int64    `json:"events"`
	Left     int      `json:"left"`      // parts without events, which have left: their sums can't be made
	Days     int      `json:"days"`      // of daily/ that were summed
	LeftDays int      `json:"left_days"` // days of daily/ whose rollups can't all be made
	Changed  []string `json:"changed"`   // rollups, runs and daily parts whose rows are not those of the ledger
}

func newRebuildCommand(c *common) *cobra.Command {
	o := &rebuildOptions{}
	cmd := &cobra.Command{
		Use:   "rebuild-rollups --output DIRECTORY",
		Short: "Make rollups, runs and daily sums anew from the events, in another directory, and say which differ",
		Long: "Make rollups/ and runs/ anew from events/, and daily/ from these rollups, in a directory that must be new or empty, and say which files have other rows than the\n" +
			"ledger's. A range is widened to whole hours; a day is summed when all of it is in the range. Nothing in the ledger changes.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var g *parquetfile.Grouping
			if cmd.Flags().Changed("dimensions") {
				var err error
				if g, err = parquetfile.NewGrouping(o.dimensions); err != nil {
					return fmt.Errorf("--dimensions: %w", err)
				}
			}
			return c.rebuild(o, g)
		},
	}
	o.add(cmd)
	cmd.Flags().StringVarP(&o.output, "output", "o", "", "the directory to make")
	cmd.Flags().StringSliceVar(&o.dimensions, "dimensions", nil, "group rollups by these in place of what the ledger's are grouped by")
	return cmd
}

func (c *common) rebuild(o *rebuildOptions, g *parquetfile.Grouping) error {
	r, err := o.parse()
	if err != nil {
		return err
	}
	if err := newDirectory(o.output); err != nil {
		return err
	}
	folders, _, err := c.folders(r)
	if err != nil {
		return err
	}
	report := &rebuildReport{Output: o.output, Changed: []string{}}
	bar := c.startProgress("rebuilding", len(folders))
	defer bar.end()
	for _, f := range folders {
		if err := c.rebuildFolder(f, g, o.output, report); err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
		bar.step()
	}
	bar.end()
	if err := c.rebuildDays(r, o.output, report); err != nil {
		return err
	}
	if c.json {
		return printJSON(c.out, report)
	}
	p := &printer{w: c.out}
	for _, rel := range report.Changed {
		p.linef("differs  %s", rel)
	}
	if report.Left > 0 {
		p.linef("the events of %s are not there: their sums stay as they are, in the ledger alone", countText(int64(report.Left), "part", "parts"))
	}
	if report.LeftDays > 0 {
		p.linef("not all rollups of %s could be made: their sums stay as they are, in the ledger alone", countText(int64(report.LeftDays), "day", "days"))
	}
	p.linef("made the rollups and runs of %s and the sums of %s with %s in %s: %s", countText(int64(report.Parts), "part", "parts"), countText(int64(report.Days), "day", "days"), countText(report.Events, "event", "events"), report.Output,
		countText(int64(len(report.Changed)), "file differs from the ledger's", "files differ from the ledger's"))
	return p.err
}

func newDirectory(dir string) error {
	if dir == "" {
		return errors.New("--output names the directory to make")
	}
	entries, err := os.ReadDir(dir)
	if err == nil && len(entries) > 0 {
		return fmt.Errorf("%s is not empty: --output names a new directory", dir)
	}
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	return os.MkdirAll(dir, 0o755)
}

func (c *common) rebuildFolder(f folder, g *parquetfile.Grouping, output string, report *rebuildReport) error {
	var parts, left int
	var events int64
	var changed []string
	err := c.steady(f, func(l *listing, _ bool) error {
		parts, left, events, changed = 0, len(l.names())-len(l[0]), 0, nil
		for i, tree := range trees[1:] { // of an earlier try
			if err := os.RemoveAll(filepath.Join(output, filepath.FromSlash(f.rel(tree)))); err != nil {
				return err
			}
			if i == 0 && len(l[0]) == 0 {
				return nil
			}
		}
		for _, name := range l[0] {
			n, differ, err := c.rebuildPart(f, name, g, output)
			if err != nil {
				return err
			}
			parts++
			events += n
			changed = append(changed, differ...)
		}
		return nil
	})
	report.Parts += parts
	report.Left += left
	report.Events += events
	report.Changed = append(report.Changed, changed...)
	return err
}

// rebuildPart makes one part's sums and compares them with the ledger's, row by row.
func (c *common) rebuildPart(f folder, name string, g *parquetfile.Grouping, output string) (events int64, changed []string, err error) {
	rollupsRel, runsRel := f.part(parquetfile.Rollups, name), f.part(parquetfile.Runs, name)
	asIs, groupErr := c.groupingOf(rollupsRel)
	if g == nil {
		g = asIs
	}
	sums := newPartSums(g)
	if err := c.eachEvent(f.part(parquetfile.Events, name), func(e *usage.Event) error {
		events++
		if err := sums.rollup.Add(e); err != nil {
			return err
		}
		return sums.runs.Add(e)
	}); err != nil {
		return events, nil, err
	}
	rollups, runs := sums.rollup.Rows(), sums.runs.Rows()
	if err := writeFile(filepath.Join(output, filepath.FromSlash(rollupsRel)), func(w io.Writer) error { return parquetfile.WriteRollups(w, g, rollups) }); err != nil {
		return events, nil, err
	}
	if err := writeFile(filepath.Join(output, filepath.FromSlash(runsRel)), func(w io.Writer) error { return parquetfile.WriteRuns(w, runs) }); err != nil {
		return events, nil, err
	}
	t := &tally{}
	if groupErr != nil || !slices.Equal(g.Dimensions(), asIs.Dimensions()) {
		changed = append(changed, rollupsRel)
	} else if !c.sameRows(f, rollupsRel, t, sums.compareRollups) {
		changed = append(changed, rollupsRel)
	}
	if !c.sameRows(f, runsRel, t, sums.compareRuns) {
		changed = append(changed, runsRel)
	}
	return events, changed, nil
}

// sameRows says whether a file of the ledger has the rows that compare wants; one that is missing or damaged has not.
func (c *common) sameRows(f folder, rel string, t *tally, compare func(folder, *file, *tally) error) bool {
	file, err := c.open(rel)
	if err != nil {
		return false
	}
	defer file.Close()
	before := len(t.problems)
	return compare(f, file, t) == nil && len(t.problems) == before
}

// groupingOf is how a rollups file is grouped; the default for one that can't be read.
func (c *common) groupingOf(rel string) (*parquetfile.Grouping, error) {
	f, err := c.open(rel)
	if err != nil {
		return parquetfile.DefaultGrouping(), err
	}
	defer f.Close()
	g, err := parquetfile.RollupGrouping(f, f.size)
	if err != nil {
		return parquetfile.DefaultGrouping(), err
	}
	return g, nil
}

// writeFile makes a file that is complete when it has its name.
func writeFile(path string, write func(io.Writer) error) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.Create(path + ".tmp")
	if err != nil {
		return err
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return err
	}
	return os.Rename(f.Name(), path)
}
