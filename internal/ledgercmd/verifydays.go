package ledgercmd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/usagebox/otelcol-usagebox/internal/ledger"
	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

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
