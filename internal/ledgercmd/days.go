package ledgercmd

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/usagebox/otelcol-usagebox/internal/ledger"
	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// dayFolder is one writer's daily parts of one day.
type dayFolder struct {
	date   string
	writer string
}

func (d dayFolder) rel() string             { return parquetfile.Daily + "/date=" + d.date + "/writer=" + d.writer }
func (d dayFolder) part(name string) string { return d.rel() + "/" + name + extension }
func (d dayFolder) String() string          { return fmt.Sprintf("day %s of writer %s", d.date, d.writer) }

// start is the day's first moment; ok is false when its date is none.
func (d dayFolder) start() (at usage.Micros, ok bool) {
	t, err := time.Parse(time.DateOnly, d.date)
	return usage.MicrosOf(t), err == nil
}

// hours are the folders of the day's hours.
func (d dayFolder) hours() []folder {
	at, _ := d.start()
	folders := make([]folder, 24)
	for i := range folders {
		folders[i] = folder{at.Hour() + usage.Hour(i), d.writer}
	}
	return folders
}

// touches says whether any moment of the day is in r, covers whether all are.
func (d dayFolder) touches(r timeRange) bool {
	at, ok := d.start()
	return ok && at < r.to && at+parquetfile.MicrosPerDay > r.from
}

func (d dayFolder) covered(r timeRange) bool {
	at, ok := d.start()
	return ok && at >= r.from && at+parquetfile.MicrosPerDay <= r.to
}

// dayFolders are those of all writers with days in r: those that are there, and those that the chains name.
func (c *common) dayFolders(r timeRange, chains map[string]*chain) (found []dayFolder, strays []string, err error) {
	paths, err := filepath.Glob(filepath.Join(escape(c.directory), parquetfile.Daily, "*", "*"))
	if err != nil {
		return nil, nil, err
	}
	seen := map[dayFolder]bool{}
	for _, path := range paths {
		rel, err := filepath.Rel(c.directory, path)
		if err != nil {
			return nil, nil, err
		}
		elements := strings.Split(filepath.ToSlash(rel), "/")
		d := dayFolder{strings.TrimPrefix(elements[1], "date="), strings.TrimPrefix(elements[2], "writer=")}
		if _, ok := d.start(); !ok || d.rel() != filepath.ToSlash(rel) {
			strays = append(strays, rel)
			continue
		}
		seen[d] = true
	}
	for _, ch := range chains {
		for rel, record := range ch.daily {
			if ch.left[rel] == nil {
				seen[dayFolder{record.Day, record.Writer}] = true
			}
		}
	}
	for d := range seen {
		if d.touches(r) {
			found = append(found, d)
		}
	}
	slices.SortFunc(found, func(a, b dayFolder) int { return strings.Compare(a.rel(), b.rel()) })
	return found, strays, nil
}

// addDay takes in a record of a daily part.
func (ch *chain) addDay(r *ledger.ChainRecord) {
	d := dayFolder{r.Day, r.Writer}
	for _, name := range r.Replaces {
		ch.gone[d.part(name)] = r
		delete(ch.daily, d.part(name))
	}
	for _, name := range r.Covers {
		ch.entered[name] = true
	}
	ch.daily[d.part(r.Part)] = r
}

// checkDays says which records of daily parts have other totals than the parts that they sum, or sum one that is in a daily part already.
func (ch *chain) checkDays(found func(r *ledger.ChainRecord, kind, detail string)) {
	totals, entered := map[string]parquetfile.Totals{}, map[string]bool{}
	for _, r := range ch.records {
		if r.Part == "" {
			continue
		}
		totals[r.Part] = r.Totals
		entered[r.Part] = r.InDaily
		if r.Day == "" {
			continue
		}
		var sum parquetfile.Totals
		for _, name := range slices.Concat(r.Replaces, r.Covers) {
			of, ok := totals[name]
			var err error
			if sum, err = sum.Plus(of); err != nil || !ok {
				found(r, kindChain, fmt.Sprintf("record %d sums %s, which no record before it has, or whose totals can't be read", r.Number, name))
				return
			}
		}
		for _, name := range r.Covers {
			if entered[name] {
				found(r, kindTwice, fmt.Sprintf("record %d sums %s, which is in a daily part already", r.Number, name))
			}
			entered[name] = true
		}
		if !reflect.DeepEqual(sum, r.Totals) {
			found(r, kindChain, fmt.Sprintf("record %d has other totals than the parts that it sums", r.Number))
		}
	}
}

// dailyNames are the daily parts that are there; none when the folder is not.
func (c *common) dailyNames(d dayFolder) (names []string, err error) {
	entries, err := os.ReadDir(c.path(d.rel()))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), extension); ok {
			names = append(names, name)
		}
	}
	return names, err
}

// checkDay checks a day's daily parts, again when they are being made or exchanged meanwhile.
func (v *verifier) checkDay(d dayFolder) error {
	for try := 1; ; try++ {
		t := &tally{}
		again, err := v.lookDay(d, try > 1, t)
		vanished := errors.Is(err, fs.ErrNotExist)
		if err != nil && !vanished {
			return fmt.Errorf("%s: %w", d, err)
		}
		if (again || vanished) && try < steadyTries && v.waited.Load() < patience {
			v.waited.Add(1)
			time.Sleep(steadyPause)
			continue
		}
		if vanished {
			return fmt.Errorf("%s: %w", d, err)
		}
		v.mu.Lock()
		defer v.mu.Unlock()
		v.problems = append(v.problems, t.problems...)
		v.report.Days++
		v.report.Bytes += t.bytes
		return nil
	}
}

// lookDay checks a day once; again says that what is wrong may be a daily part that is just being made.
func (v *verifier) lookDay(d dayFolder, fresh bool, t *tally) (again bool, err error) {
	ch, err := v.chainOf(d.writer, fresh)
	if err != nil {
		return false, err
	}
	names, err := v.dailyNames(d)
	if err != nil {
		return false, err
	}
	at := d.hours()[0]
	for rel, record := range ch.daily {
		if record.Day == d.date && ch.left[rel] == nil && !slices.Contains(names, record.Part) {
			t.found(at, kindMissing, rel, "is in record %d of the chain, with %s, and is not there", record.Number, countText(record.Totals.Events, "event", "events"))
			again = true
		}
	}
	var files []*file
	for _, name := range names {
		rel := d.part(name)
		record := ch.daily[rel]
		switch by, left := ch.gone[rel], ch.left[rel]; {
		case by != nil:
			t.found(at, kindTwice, rel, "is there beside %s, which has what it sums", by.Part)
			again = true
		case left != nil:
			t.found(at, kindUnfinished, rel, "has left according to record %d and is there: its removal was cut short, and is finished when the collector starts", left.Number)
			again = true
		case record == nil && ch.broken == nil:
			t.found(at, kindUnfinished, rel, "is not in the chain: it was cut short, and is finished when the collector starts; or the chain has lost its record")
			again = true
		}
		f, err := v.open(rel)
		if err != nil {
			return false, err
		}
		defer f.Close()
		t.bytes += f.size
		files = append(files, f)
		if record == nil {
			continue
		}
		if err := lookHashes(at, []*file{f}, record, t); err != nil {
			return false, err
		}
		if !v.quick {
			if err := lookDailyTotals(at, f, record, t); err != nil {
				return false, err
			}
		}
	}
	if v.quick || len(t.problems) > 0 || ch.broken != nil {
		return again, nil // what is known to be another file tells nothing about sums
	}
	rollups, whole, err := v.enteredRollups(d, ch)
	if err != nil || !whole {
		return again, err
	}
	return again, v.compareDay(d, files, rollups, t)
}

// lookDailyTotals holds the sums of a daily part against those of its record.
func lookDailyTotals(at folder, f *file, record *ledger.ChainRecord, t *tally) error {
	var sums parquetfile.TotalSums
	if err := parquetfile.ReadDaily(f, f.size, sums.AddRollup); err != nil {
		return t.unreadable(at, f.rel, err)
	}
	got := sums.Totals()
	got.Events = record.Totals.Events // which sums don't tell
	if !reflect.DeepEqual(got, record.Totals) {
		t.found(at, kindDaily, f.rel, "has other totals than record %d of the chain says", record.Number)
	}
	return nil
}

// enteredRollups are the rollups files of a day that are in its daily parts; whole is false when one of them has left, or isn't there, which the check of its hour tells.
func (c *common) enteredRollups(d dayFolder, ch *chain) (rels []string, whole bool, err error) {
	hours := map[usage.Hour]folder{}
	for _, f := range d.hours() {
		hours[f.hour] = f
	}
	for _, record := range ch.sealed {
		at, ok := recordFolder(record)
		f, of := hours[at.hour]
		if !ok || !of || !ch.entered[record.Part] {
			continue
		}
		rel := f.part(parquetfile.Rollups, record.Part)
		if ch.left[rel] != nil {
			return nil, false, nil
		}
		if _, err := os.Stat(c.path(rel)); errors.Is(err, fs.ErrNotExist) {
			return nil, false, nil
		}
		rels = append(rels, rel)
	}
	slices.Sort(rels)
	return rels, true, nil
}

// compareDay holds all daily parts of a day against the rollups that they sum, key by key.
func (v *verifier) compareDay(d dayFolder, daily []*file, rollups []string, t *tally) error {
	at, shown := d.hours()[0], 0
	rel := d.rel()
	if len(daily) == 1 {
		rel = daily[0].rel
	}
	var files []*file
	for _, r := range rollups {
		f, err := v.open(r)
		if err != nil {
			return err
		}
		defer f.Close()
		files = append(files, f)
	}
	return t.notOfRollups(d, diffDays(d, daily, files, func(row *parquetfile.RollupRow, detail string) {
		if shown++; shown <= maxPerFile {
			t.found(at, kindDaily, rel, "customer %q, meter %q, feature %q, model %q: %s", row.Customer, row.Meter, row.Feature, row.Model, detail)
		}
	}))
}

// notOfRollups notes what is wrong with a daily file; that a rollups file is damaged the check of its hour tells.
func (t *tally) notOfRollups(d dayFolder, err error) error {
	if err == nil || !errors.Is(err, parquetfile.ErrCorrupt) && !errors.Is(err, parquetfile.ErrVersion) {
		return err
	}
	if !strings.HasPrefix(err.Error(), parquetfile.Rollups+"/") {
		t.found(d.hours()[0], kindUnreadable, d.rel(), "%v", err)
	}
	return nil
}

// diffDays compares the sums of daily parts with those of rollups and tells of each key where they differ.
func diffDays(d dayFolder, daily, rollups []*file, differs func(row *parquetfile.RollupRow, detail string)) error {
	have, err := openSums(parquetfile.OpenDaily, daily)
	if err != nil {
		return err
	}
	defer closeSums(have)
	want, err := openSums(parquetfile.OpenRollups, rollups)
	if err != nil {
		return err
	}
	defer closeSums(want)
	start, _ := d.start()
	g := unionOf(slices.Concat(have, want))
	got, err := newPeeker(start, g, have)
	if err != nil {
		return err
	}
	of, err := newPeeker(start, g, want)
	if err != nil {
		return err
	}
	for !got.over || !of.over {
		c := 0
		switch {
		case got.over:
			c = 1
		case of.over:
			c = -1
		default:
			c = got.row.Compare(&of.row)
		}
		switch {
		case c < 0:
			differs(&got.row, quantityText(got.row.Quantity)+", and no rollup is summed by it")
		case c > 0:
			differs(&of.row, "is not there, its rollups add up to "+quantityText(of.row.Quantity))
		case !reflect.DeepEqual(got.row, of.row):
			differs(&got.row, fmt.Sprintf("quantity %s, cost %s, price %s, events %d; its rollups add up to %s, %s, %s, %d",
				quantityText(got.row.Quantity), moneyText(got.row.Cost), moneyText(got.row.Price), got.row.Events,
				quantityText(of.row.Quantity), moneyText(of.row.Cost), moneyText(of.row.Price), of.row.Events))
		}
		if c <= 0 {
			if err := got.next(); err != nil {
				return err
			}
		}
		if c >= 0 {
			if err := of.next(); err != nil {
				return err
			}
		}
	}
	return nil
}

// peeker is a merge with its next row in view.
type peeker struct {
	merge *parquetfile.DayMerge
	row   parquetfile.RollupRow
	over  bool
}

func newPeeker(start usage.Micros, g *parquetfile.Grouping, files []*parquetfile.RollupFile) (*peeker, error) {
	merge, err := parquetfile.NewDayMerge(start, g, files...)
	if err != nil {
		return nil, err
	}
	p := &peeker{merge: merge}
	return p, p.next()
}

func (p *peeker) next() error {
	err := p.merge.Next(&p.row)
	if errors.Is(err, io.EOF) {
		p.over = true
		return nil
	}
	return err
}

func openSums(open func(string, io.ReaderAt, int64) (*parquetfile.RollupFile, error), files []*file) ([]*parquetfile.RollupFile, error) {
	opened := make([]*parquetfile.RollupFile, 0, len(files))
	for _, f := range files {
		r, err := open(f.rel, f, f.size)
		if err != nil {
			closeSums(opened)
			return nil, err
		}
		opened = append(opened, r)
	}
	return opened, nil
}

func closeSums(files []*parquetfile.RollupFile) {
	for _, f := range files {
		f.Close()
	}
}

func unionOf(files []*parquetfile.RollupFile) *parquetfile.Grouping {
	groupings := make([]*parquetfile.Grouping, 0, len(files))
	for _, f := range files {
		groupings = append(groupings, f.Grouping())
	}
	return parquetfile.UnionGrouping(groupings...)
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
