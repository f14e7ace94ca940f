package ledgercmd

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
)

// rebuildDays sums the days that lie in r as a whole.
func (c *common) rebuildDays(r timeRange, output string, report *rebuildReport) error {
	writers, err := c.writers()
	if err != nil {
		return err
	}
	chains := map[string]*chain{}
	for _, w := range writers {
		if chains[w], err = c.readChain(w); err != nil {
			return err
		}
	}
	days, _, err := c.dayFolders(r, chains)
	if err != nil {
		return err
	}
	for _, d := range days {
		if ch := chains[d.writer]; ch != nil && d.covered(r) {
			if err := c.rebuildDay(d, ch, output, report); err != nil {
				return fmt.Errorf("%s: %w", d, err)
			}
		}
	}
	return nil
}

// rebuildDay sums the rollups that were made anew of a day, as far as they are in its daily parts, into one daily part with the name of the last of these.
func (c *common) rebuildDay(d dayFolder, ch *chain, output string, report *rebuildReport) error {
	names, err := c.dailyNames(d)
	if err != nil || len(names) == 0 {
		return err
	}
	rels, _, err := c.enteredRollups(d, ch)
	if err != nil {
		return err
	}
	var made, theirs []*file
	for _, rel := range rels {
		f, err := (&common{directory: output}).open(rel)
		if errors.Is(err, fs.ErrNotExist) {
			rels = nil // its events have left
			break
		}
		if err != nil {
			return err
		}
		defer f.Close()
		made = append(made, f)
	}
	if len(rels) == 0 {
		report.LeftDays++
		return nil
	}
	for _, name := range names {
		f, err := c.open(d.part(name))
		if err != nil {
			return err
		}
		defer f.Close()
		theirs = append(theirs, f)
	}
	if err := writeFile(filepath.Join(output, filepath.FromSlash(d.part(names[len(names)-1]))), func(w io.Writer) error { return writeDay(w, d, made) }); err != nil {
		return err
	}
	report.Days++
	same := true
	err = diffDays(d, theirs, made, func(*parquetfile.RollupRow, string) { same = false })
	if err != nil && !errors.Is(err, parquetfile.ErrCorrupt) && !errors.Is(err, parquetfile.ErrVersion) {
		return err
	}
	if err != nil || !same {
		for _, f := range theirs {
			report.Changed = append(report.Changed, f.rel)
		}
	}
	return nil
}

func writeDay(out io.Writer, d dayFolder, rollups []*file) error {
	files, err := openSums(parquetfile.OpenRollups, rollups)
	if err != nil {
		return err
	}
	defer closeSums(files)
	start, _ := d.start()
	g := unionOf(files)
	sums, err := newPeeker(start, g, files)
	w := parquetfile.NewDailyWriter(out, g)
	for err == nil && !sums.over {
		if err = w.Write(&sums.row); err == nil {
			err = sums.next()
		}
	}
	if err != nil {
		return err
	}
	return w.Close()
}
