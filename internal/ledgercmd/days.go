package ledgercmd

import (
	"errors"
	"fmt"
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
