package ledger

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"reflect"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
)

// dailyPart is what a daily part is made of: a sealed part's rollups, or an earlier daily part.
type dailyPart struct {
	sealedAt
	number uint64 // of a daily part, 0 for rollups
	record uint64 // in the chain
}

// rollupsFile is where a chain record of a sealed part has its rollups.
const rollupsFile = 2

// buildDaily writes a daily part into the stage, durably, and gives what is to be recorded of it. Each file that it is made of has to be the one in the chain, and the
// sums of all have to be those that the chain says of them.
func (l *Ledger) buildDaily(s *state, day int64, number uint64, covers, replaces []dailyPart) (*ChainRecord, error) {
	name := dailyName(number)
	record := &ChainRecord{
		Writer: l.o.WriterID, Hour: firstHour(day).Start().Time().Format(time.RFC3339), Day: dayDate(day), Part: name, SealedAt: l.now(), Replaces: []string{},
	}
	var files []*parquetfile.RollupFile
	var groupings []*parquetfile.Grouping
	for i, of := range append(replaces[:len(replaces):len(replaces)], covers...) {
		file, close, err := l.openSums(s, of, record)
		if err != nil {
			return nil, err
		}
		defer close()
		if i < len(replaces) {
			record.Replaces = append(record.Replaces, dailyName(of.number))
		}
		files, groupings = append(files, file), append(groupings, file.Grouping())
	}
	stage := l.paths.staged(treeDaily)
	if err := l.o.FS.RemoveAll(stage); err != nil {
		return nil, err
	}
	if err := l.o.FS.MkdirAll(stage, 0o755); err != nil {
		return nil, err
	}
	out, err := l.o.FS.Create(l.paths.join(stage, name+extension), vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	defer out.Close() // again, when all went well: that changes nothing
	f := l.countingFile(out)
	made, err := writeDaily(f, day, parquetfile.UnionGrouping(groupings...), files)
	if err != nil {
		return nil, err
	}
	if made.Events = record.Totals.Events; !reflect.DeepEqual(made, record.Totals) {
		return nil, corrupt("what "+name+" is made of", fmt.Errorf("its sums are %+v, those of the chain %+v", made, record.Totals))
	}
	if err := f.finish(); err != nil {
		return nil, err
	}
	record.Files = []ChainFile{{Path: l.recordPath(treeDaily, firstHour(day), name), Bytes: f.bytes, SHA256: f.digest()}}
	return record, nil
}

// openSums opens what a daily part is made of, and adds to its record what the chain says of that.
func (l *Ledger) openSums(s *state, of dailyPart, record *ChainRecord) (file *parquetfile.RollupFile, close func(), err error) {
	open, at, files := parquetfile.OpenRollups, rollupsFile, len(trees)
	if of.number > 0 {
		open, at, files = parquetfile.OpenDaily, 0, 1
	}
	r, err := s.chainRecord(of.record, files)
	if err != nil {
		return nil, nil, err
	}
	if record.Totals, err = record.Totals.Plus(r.Totals); err != nil {
		return nil, nil, corrupt(fmt.Sprintf("record %d of the chain", r.Number), err)
	}
	if of.number == 0 {
		record.Covers = append(record.Covers, r.Part)
	}
	path := l.paths.join(l.paths.dir, r.Files[at].Path)
	size, found, err := l.digestFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil, corrupt(path, err)
	case err != nil:
		return nil, nil, err
	case found != r.Files[at].SHA256:
		return nil, nil, corrupt(path, fmt.Errorf("it has the SHA-256 %s, record %d of the chain says %s", found, r.Number, r.Files[at].SHA256))
	}
	in, err := l.o.FS.Open(path, vfs.SequentialReadsOption)
	if err != nil {
		return nil, nil, err
	}
	if file, err = open(path, in, size); err != nil {
		return nil, nil, closeAfter(in, asDamaged(path, err))
	}
	return file, func() { file.Close(); _ = in.Close() }, nil // it was only read
}

// asDamaged makes a CorruptError of what the Parquet reader says of a damaged file.
func asDamaged(path string, err error) error {
	if errors.Is(err, parquetfile.ErrCorrupt) || errors.Is(err, parquetfile.ErrVersion) {
		return corrupt(path, err)
	}
	return err
}

// writeDaily writes the sums of files, and gives the sums over all of them, but for the number of events.
func writeDaily(out io.Writer, day int64, g *parquetfile.Grouping, files []*parquetfile.RollupFile) (parquetfile.Totals, error) {
	var sums parquetfile.TotalSums
	merge, err := parquetfile.NewDayMerge(firstHour(day).Start(), g, files...)
	if err != nil {
		return parquetfile.Totals{}, asDamaged(dayText(day), err)
	}
	w := parquetfile.NewDailyWriter(out, g)
	for {
		var row parquetfile.RollupRow
		if err := merge.Next(&row); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return parquetfile.Totals{}, asDamaged(dayText(day), err)
		}
		if err := sums.AddRollup(&row); err != nil {
			return parquetfile.Totals{}, err
		}
		if err := w.Write(&row); err != nil {
			return parquetfile.Totals{}, err
		}
	}
	return sums.Totals(), w.Close()
}

// showDaily lets the file of a plan appear, in the place of those that it replaces, and makes that durable; there is false when it is neither among what readers see nor
// in the stage.
func (l *Ledger) showDaily(day int64, plan *daily) (there bool, err error) {
	h, name := firstHour(day), dailyName(plan.Number)
	live, staged := l.paths.hour(treeDaily, h), l.paths.join(l.paths.staged(treeDaily), name+extension)
	shown := l.paths.part(treeDaily, h, name)
	if there, err = l.isDaily(shown, plan); err != nil {
		return false, err
	}
	if !there {
		built, err := l.isDaily(staged, plan)
		if err != nil || !built {
			return false, err
		}
		if len(plan.Replaces) > 0 {
			x := &replacement{hour: h, name: name, covers: plan.Plan.Replaces}
			if err := l.exchangeTree(x, treeDaily); err != nil {
				return false, err
			}
		} else {
			if err := l.paths.makeFolder(live); err != nil {
				return false, err
			}
			if err := l.o.FS.Rename(staged, shown); err != nil {
				return false, err
			}
		}
	}
	// Also when an earlier attempt let it appear: that may have ended before it was durable.
	if err := l.paths.sync(live); err != nil {
		return false, err
	}
	return true, l.syncExchange(h, treeDaily)
}

// isDaily says whether the file of a plan is at path.
func (l *Ledger) isDaily(path string, plan *daily) (bool, error) {
	there, err := l.paths.exists(path)
	if err != nil || !there {
		return false, err
	}
	_, found, err := l.digestFile(path)
	if want := plan.Plan.Files[0].SHA256; err == nil && found != want {
		err = corrupt(path, fmt.Errorf("it has the SHA-256 %s, what it was made of gives %s", found, want))
	}
	return err == nil, err
}
