package ledgercmd

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"

	"github.com/usagebox/otelcol-usagebox/internal/ledger"
	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

const sealedPrefix = "sealed-" // of names of parts that the chain has to know

// tally is what one look at a folder found. It counts only when the look is the last one.
type tally struct {
	problems      []problem
	parts, sealed int
	events, rows  int64
	bytes         int64
	keys          []uint64
}

func (t *tally) found(f folder, kind, rel, format string, args ...any) {
	t.problems = append(t.problems, problem{
		Kind: kind, Writer: f.writer, Hour: hourText(f.hour), File: rel, Detail: fmt.Sprintf(format, args...),
	})
}

func (v *verifier) checkFolder(f folder) error {
	var t *tally
	tries := 0
	err := v.steady(f, func(l *listing, incomplete bool) error {
		tries++
		t = &tally{}
		again, err := v.look(f, l, incomplete, tries > 1, t)
		if err == nil && again {
			return errAgain
		}
		return err
	})
	if err != nil && !errors.Is(err, errAgain) {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.problems = append(v.problems, t.problems...)
	v.report.Parts += t.parts
	v.report.Sealed += t.sealed
	v.report.Events += t.events
	v.report.Rows += t.rows
	v.report.Bytes += t.bytes
	return v.ids.add(t.keys)
}

// look checks a folder once; again says that what is wrong may be a seal that is just being made.
func (v *verifier) look(f folder, l *listing, incomplete, fresh bool, t *tally) (again bool, err error) {
	ch, err := v.chainOf(f.writer, fresh)
	if err != nil {
		return false, err
	}
	if incomplete {
		v.lookIncomplete(f, l, ch, t)
	}
	for _, name := range l.names() {
		rel := f.part(trees[0], name)
		record := ch.sealed[rel]
		if by := ch.gone[rel]; by != nil {
			t.found(f, kindTwice, rel, "is there beside %s, which holds its events", by.Part)
			again = true
		}
		if record == nil && strings.HasPrefix(name, sealedPrefix) && ch.broken == nil {
			t.found(f, kindUnfinished, rel, "is not in the chain: its seal was cut short, and is finished when the collector starts; or the chain has lost its record")
			again = true
		}
		whole := true
		for i, tree := range trees {
			there, by := slices.Contains(l[i], name), ch.left[f.part(tree, name)]
			whole = whole && (there || by != nil)
			if there && by != nil {
				t.found(f, kindUnfinished, f.part(tree, name), "has left according to record %d and is there: its removal was cut short, and is finished when the collector starts", by.Number)
				again = true
			}
		}
		if !whole {
			continue
		}
		t.parts++
		if err := v.lookPart(f, name, l, record, t); err != nil {
			return false, err
		}
	}
	for _, record := range ch.standing() {
		if at, _ := recordFolder(record); at == f && v.lookMissing(f, l, ch, record, t) {
			again = true
		}
	}
	return again, nil
}

// lookMissing says whether a part that the chain names is not there.
func (v *verifier) lookMissing(f folder, l *listing, ch *chain, record *ledger.ChainRecord, t *tally) (missing bool) {
	alone := ch.left[f.part(trees[0], record.Part)] != nil // sums whose events have left
	for i, tree := range trees {
		rel := f.part(tree, record.Part)
		if i > 0 && !alone || ch.left[rel] != nil || slices.Contains(l[i], record.Part) {
			continue
		}
		t.found(f, kindMissing, rel, "is in record %d of the chain, with %s, and is not there", record.Number, countText(record.Totals.Events, "event", "events"))
		missing = true
	}
	return missing
}

// lookIncomplete says which parts lack a file that has not left.
func (v *verifier) lookIncomplete(f folder, l *listing, ch *chain, t *tally) {
	for _, name := range l.names() {
		if ch.left[f.part(trees[0], name)] != nil {
			continue // lookMissing says so
		}
		for i, tree := range trees {
			if !slices.Contains(l[i], name) {
				t.found(f, kindUnfinished, f.part(tree, name), "is not there, other files of this part are: a crash cut it short and the collector makes it when it starts, or it was removed")
			}
		}
	}
}

// lookPart checks one part that has its three files, or those that have not left.
func (v *verifier) lookPart(f folder, name string, l *listing, record *ledger.ChainRecord, t *tally) error {
	files := make([]*file, len(trees)) // nil: it has left
	whole := true
	for i, tree := range trees {
		if !slices.Contains(l[i], name) {
			whole = false
			continue
		}
		var err error
		if files[i], err = v.open(f.part(tree, name)); err != nil {
			return err
		}
		defer files[i].Close()
		t.bytes += files[i].size
	}
	if record != nil {
		t.sealed++
		if err := lookHashes(f, files, record, t); err != nil {
			return err
		}
	}
	switch {
	case !v.quick && whole:
		return lookContents(f, files, record, t)
	case record != nil && files[0] != nil:
		t.events += record.Totals.Events
		t.rows += record.Totals.Rows
	}
	return nil
}

func lookHashes(f folder, files []*file, record *ledger.ChainRecord, t *tally) error {
	for i, file := range files {
		if file == nil {
			continue
		}
		if i >= len(record.Files) || record.Files[i].Path != file.rel {
			t.found(f, kindChain, file.rel, "is not among the files of record %d", record.Number)
			continue
		}
		sum := sha256.New()
		size, err := io.Copy(sum, io.NewSectionReader(file, 0, file.size))
		if err != nil {
			return err
		}
		want := record.Files[i]
		if got := hex.EncodeToString(sum.Sum(nil)); got != want.SHA256 || size != want.Bytes {
			t.found(f, kindChanged, file.rel, "has %d bytes and the SHA-256 %s, record %d of the chain says %d bytes and %s", size, got, record.Number, want.Bytes, want.SHA256)
		}
	}
	return nil
}

// unreadable notes an error that is about a file's content; others are given back.
func (t *tally) unreadable(f folder, rel string, err error) error {
	if errors.Is(err, parquetfile.ErrCorrupt) || errors.Is(err, parquetfile.ErrVersion) {
		t.found(f, kindUnreadable, rel, "%v", err)
		return nil
	}
	return fmt.Errorf("%s: %w", rel, err)
}

// lookContents reads a part's events and holds its sums against them.
func lookContents(f folder, files []*file, record *ledger.ChainRecord, t *tally) error {
	events, runs, rollups := files[0], files[1], files[2]
	grouping, err := parquetfile.RollupGrouping(rollups, rollups.size)
	if err != nil {
		return t.unreadable(f, rollups.rel, err)
	}
	sums := newPartSums(grouping)
	if err := sums.read(f, events, t); err != nil {
		return t.unreadable(f, events.rel, err)
	}
	if record != nil && !reflect.DeepEqual(record.Totals, sums.totals.Totals()) {
		t.found(f, kindChain, events.rel, "has other totals than record %d of the chain says", record.Number)
	}
	if err := sums.compareRollups(f, rollups, t); err != nil {
		return t.unreadable(f, rollups.rel, err)
	}
	if err := sums.compareRuns(f, runs, t); err != nil {
		return t.unreadable(f, runs.rel, err)
	}
	return nil
}

// maxPerFile bounds how many problems of one kind are shown of one file.
const maxPerFile = 10

// partSums are the sums of a part's events.
type partSums struct {
	rollup *parquetfile.Rollup
	runs   *parquetfile.RunSums
	totals parquetfile.TotalSums
}

func newPartSums(g *parquetfile.Grouping) *partSums {
	return &partSums{rollup: parquetfile.NewRollup(g), runs: parquetfile.NewRunSums()}
}

func (s *partSums) read(f folder, file *file, t *tally) error {
	e, err := parquetfile.OpenEvents(file, file.size)
	if err != nil {
		return err
	}
	r := e.Events()
	defer r.Close()
	var last, event usage.Event
	invalid := 0
	for n := 0; ; n++ {
		err := r.Next(&event)
		if errors.Is(err, io.EOF) {
			t.rows += e.Rows()
			return nil
		}
		if err != nil {
			return err
		}
		t.events++
		t.keys = append(t.keys, keyHash(event.Key()))
		if detail, kind := judge(f, &event, &last, n); detail != "" && invalid < maxPerFile {
			invalid++
			t.found(f, kind, file.rel, "event %q of customer %q %s", event.ID, event.Customer, detail)
		}
		for _, add := range []func(*usage.Event) error{s.rollup.Add, s.runs.Add, s.totals.Add} {
			if err := add(&event); err != nil {
				return err
			}
		}
		last = event
	}
}

func judge(f folder, e, last *usage.Event, n int) (detail, kind string) {
	switch {
	case n > 0 && parquetfile.Compare(last, e) == 0:
		return "is there twice", kindTwice
	case n > 0 && parquetfile.Compare(last, e) > 0:
		return fmt.Sprintf("is out of order, after %q of customer %q", last.ID, last.Customer), kindInvalid
	case e.Timestamp.Hour() != f.hour:
		return "happened at " + momentText(e.Timestamp), kindMisplaced
	}
	if err := e.Validate(); err != nil {
		return "is not valid: " + err.Error(), kindInvalid
	}
	return "", ""
}

func (s *partSums) compareRollups(f folder, file *file, t *tally) error {
	want, i, shown := s.rollup.Rows(), 0, 0
	differs := func(row *parquetfile.RollupRow, format string, args ...any) {
		if shown++; shown <= maxPerFile {
			t.found(f, kindRollup, file.rel, "customer %q, meter %q, feature %q, model %q: %s", row.Customer, row.Meter, row.Feature, row.Model, fmt.Sprintf(format, args...))
		}
	}
	err := parquetfile.ReadRollups(file, file.size, func(row *parquetfile.RollupRow) error {
		for i < len(want) && want[i].Compare(row) < 0 {
			differs(&want[i], "is not there, its events add up to %s", quantityText(want[i].Quantity))
			i++
		}
		switch {
		case i == len(want) || !want[i].SameKey(row):
			differs(row, "%s, and no event is summed by it", quantityText(row.Quantity))
		case !reflect.DeepEqual(want[i], *row):
			differs(row, "quantity %s, cost %s, price %s, events %d; its events add up to %s, %s, %s, %d",
				quantityText(row.Quantity), moneyText(row.Cost), moneyText(row.Price), row.Events,
				quantityText(want[i].Quantity), moneyText(want[i].Cost), moneyText(want[i].Price), want[i].Events)
			i++
		default:
			i++
		}
		return nil
	})
	if err != nil {
		return err
	}
	for ; i < len(want); i++ {
		differs(&want[i], "is not there, its events add up to %s", quantityText(want[i].Quantity))
	}
	return nil
}

func (s *partSums) compareRuns(f folder, file *file, t *tally) error {
	want, i, shown := s.runs.Rows(), 0, 0
	differs := func(row *parquetfile.RunRow, what string) {
		if shown++; shown <= maxPerFile {
			t.found(f, kindRun, file.rel, "run %s of customer %q %s", row.RunID, row.Customer, what)
		}
	}
	err := parquetfile.ReadRuns(file, file.size, func(row *parquetfile.RunRow) error {
		for i < len(want) && want[i].Compare(row) < 0 {
			differs(&want[i], "is not there")
			i++
		}
		switch {
		case i == len(want) || want[i].Compare(row) != 0:
			differs(row, "has no events")
		case want[i] != *row:
			differs(row, "is not the sum of its events")
			i++
		default:
			i++
		}
		return nil
	})
	if err != nil {
		return err
	}
	for ; i < len(want); i++ {
		differs(&want[i], "is not there")
	}
	return nil
}
