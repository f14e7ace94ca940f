package ledger

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"sort"
	"strings"

	"github.com/google/go-cmp/cmp"

	"github.com/usagebox/otelcol-usagebox/internal/decimal"
	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// simKey is what sums are compared by: the finest that rollups tell apart here.
type simKey struct {
	hour                            usage.Hour
	customer, feature, model, meter string
	currency                        string
}

type simSum struct {
	quantity, cost decimal.Int128
	rows           int64
	uncosted       int64
}

func (s simSum) add(o simSum) simSum {
	s.quantity, _ = s.quantity.Add(o.quantity)
	s.cost, _ = s.cost.Add(o.cost)
	s.rows += o.rows
	s.uncosted += o.uncosted
	return s
}

func (s simSum) String() string {
	return fmt.Sprintf("quantity %s, cost %s, %d rows, %d of them without cost",
		s.quantity.Append(nil, usage.QuantityScale), s.cost.Append(nil, usage.AmountScale), s.rows, s.uncosted)
}

type simSums map[simKey]simSum

func (s simSums) addEvent(e *usage.Event) {
	for i := range e.Lines {
		l := &e.Lines[i]
		k := simKey{e.Timestamp.Hour(), e.Customer, e.Feature, e.Model, l.Meter, l.Cost.Currency}
		sum := simSum{quantity: decimal.FromInt64(int64(l.Quantity)), cost: decimal.FromInt64(int64(l.Cost.Amount)), rows: 1}
		if !l.Cost.Known() {
			sum.uncosted = 1
		}
		s[k] = s[k].add(sum)
	}
}

func (s simSums) addRollup(r *parquetfile.RollupRow) {
	k := simKey{r.HourStart.Hour(), r.Customer, r.Feature, r.Model, r.Meter, r.Currency}
	s[k] = s[k].add(simSum{quantity: r.Quantity, cost: r.Cost.Amount, rows: r.Events, uncosted: r.UncostedEvents})
}

// diff says how s differs from want, "" when it doesn't.
func (s simSums) diff(want simSums) string {
	var b strings.Builder
	for k, w := range want {
		if got := s[k]; got != w {
			fmt.Fprintf(&b, "%v: %v, want %v; ", k, got, w)
		}
	}
	for k, got := range s {
		if _, ok := want[k]; !ok {
			fmt.Fprintf(&b, "%v: %v, want none; ", k, got)
		}
	}
	return b.String()
}

// simFile is a file that was read, by what it holds. Files with one name never change, so this is remembered by content.
type simFile struct {
	events  []usage.Event
	rollups []parquetfile.RollupRow
	runs    []parquetfile.RunRow
	refused []string
}

type simReader struct {
	files  map[[32]byte]*simFile
	names  map[string][32]byte   // every name that was ever seen and its content
	seen   map[usage.Key]bool    // events that a reader saw
	places map[usage.Key]simPart // of every event that was ever seen, the file in which it was first
	parsed int

	days simDays
}

func newSimReader() *simReader {
	return &simReader{files: map[[32]byte]*simFile{}, names: map[string][32]byte{}, seen: map[usage.Key]bool{}, places: map[usage.Key]simPart{}}
}

// read is the content of a file, complete and under a name that has no other content.
func (r *simReader) read(fs FS, tree, file string) (*simFile, error) {
	f, err := fs.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	content := make([]byte, info.Size())
	if _, err := f.ReadAt(content, 0); err != nil {
		return nil, err
	}
	digest := sha256.Sum256(content)
	if before, ok := r.names[file]; ok && before != digest {
		return nil, fmt.Errorf("%s has another content than before", file)
	}
	r.names[file] = digest
	if parsed := r.files[digest]; parsed != nil {
		return parsed, nil
	}
	parsed := &simFile{}
	switch tree {
	case treeEvents:
		parsed.events, err = readEvents(f, info.Size())
	case treeRollups:
		err = parquetfile.ReadRollups(f, info.Size(), func(row *parquetfile.RollupRow) error {
			parsed.rollups = append(parsed.rollups, *row)
			return nil
		})
	case treeDaily:
		err = parquetfile.ReadDaily(f, info.Size(), func(row *parquetfile.RollupRow) error {
			parsed.rollups = append(parsed.rollups, *row)
			return nil
		})
	case treeRuns:
		err = parquetfile.ReadRuns(f, info.Size(), func(row *parquetfile.RunRow) error {
			parsed.runs = append(parsed.runs, *row)
			return nil
		})
	case treeRefused:
		err = parquetfile.ReadRefused(f, info.Size(), func(row *parquetfile.RefusedRow) error {
			parsed.refused = append(parsed.refused, fmt.Sprintf("%s/%s %s", row.Customer, row.EventID, row.Reason))
			return nil
		})
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	r.parsed++
	r.files[digest] = parsed
	return parsed, nil
}

func readEvents(f io.ReaderAt, size int64) (events []usage.Event, err error) {
	file, err := parquetfile.OpenEvents(f, size)
	if err != nil {
		return nil, err
	}
	er := file.Events()
	defer er.Close()
	for {
		var e usage.Event
		if err := er.Next(&e); errors.Is(err, io.EOF) {
			return events, nil
		} else if err != nil {
			return nil, err
		}
		events = append(events, e)
	}
}

// simPart is what a name says: the numbers of the events that it holds.
type simPart struct {
	from, to int
	file     *simFile
}

// parts reads the parts of a tree by the folder of their hour.
func (r *simReader) parts(fs FS, tree string) (map[string][]simPart, error) {
	byHour := map[string][]simPart{}
	for _, file := range (reader{t: panicker{}, fs: fs, dir: simDirectory}).files(tree) {
		content, err := r.read(fs, tree, file)
		if err != nil {
			return nil, err
		}
		var p simPart
		if _, err := fmt.Sscanf(path.Base(file)[strings.Index(path.Base(file), "-")+1:], "%d-%d", &p.from, &p.to); err != nil {
			return nil, fmt.Errorf("%s is no part's name", file)
		}
		p.file = content
		hour := strings.TrimPrefix(path.Dir(file), path.Join(simDirectory, tree))
		byHour[hour] = append(byHour[hour], p)
	}
	for _, parts := range byHour {
		sort.Slice(parts, func(i, j int) bool { return parts[i].from < parts[j].from })
		for i := 1; i < len(parts); i++ {
			if parts[i].from <= parts[i-1].to {
				return nil, fmt.Errorf("%s: events %d are in two parts", tree, parts[i].from)
			}
		}
	}
	return byHour, nil
}

// check compares what readers see with the model. complete: everything that was acknowledged has to be there.
func (r *simReader) check(fs FS, m *simModel, complete bool) error {
	events, err := r.parts(fs, treeEvents)
	if err != nil {
		return err
	}
	rollups, err := r.parts(fs, treeRollups)
	if err != nil {
		return err
	}
	runs, err := r.parts(fs, treeRuns)
	if err != nil {
		return err
	}
	r.place(events)
	visible := map[usage.Key]bool{}
	for hour, parts := range events {
		for _, p := range parts {
			for i := range p.file.events {
				e := &p.file.events[i]
				if visible[e.Key()] {
					return fmt.Errorf("event %v is there twice", e.Key())
				}
				visible[e.Key()] = true
				if err := m.checkEvent(e, hour); err != nil {
					return err
				}
			}
		}
	}
	for _, tree := range []map[string][]simPart{rollups, runs} {
		for hour := range tree {
			if _, ok := events[hour]; !ok {
				events[hour] = nil // sums alone: their events have to have left
			}
		}
	}
	for hour, parts := range events {
		if err := checkSums(hour, parts, rollups[hour], runs[hour], m); err != nil {
			return err
		}
	}
	for k := range r.seen {
		if !visible[k] && !m.left[treeEvents][k] {
			return fmt.Errorf("event %v was there and is gone", k)
		}
	}
	r.seen = visible
	if err := r.checkDays(fs, m); err != nil {
		return err
	}
	if complete {
		return r.checkComplete(fs, m, visible)
	}
	return nil
}

func (r *simReader) checkComplete(fs FS, m *simModel, visible map[usage.Key]bool) error {
	for k := range m.counted {
		if !visible[k] && !m.left[treeEvents][k] {
			return fmt.Errorf("event %v was acknowledged and is not there", k)
		}
	}
	shown := map[string]bool{}
	for _, file := range (reader{t: panicker{}, fs: fs, dir: simDirectory}).files(treeRefused) {
		content, err := r.read(fs, treeRefused, file)
		if err != nil {
			return err
		}
		for _, s := range content.refused {
			shown[s] = true
		}
	}
	if d := cmp.Diff(m.refused, shown); d != "" {
		return fmt.Errorf("refused/ (-want +got):\n%s", d)
	}
	return nil
}

// simFolder is an hour's folder below a tree.
func simFolder(h usage.Hour) string {
	t := h.Start().Time()
	return fmt.Sprintf("/date=%s/hour=%02d/writer=main", t.Format("2006-01-02"), t.Hour())
}

// checkEvent says whether an event that readers see is one that has to be there.
func (m *simModel) checkEvent(e *usage.Event, hour string) error {
	want, ok := m.counted[e.Key()]
	if !ok {
		return fmt.Errorf("event %v is there and was never accepted", e.Key())
	}
	if m.left[treeEvents][e.Key()] {
		return fmt.Errorf("event %v has left and is there", e.Key())
	}
	if folder := simFolder(e.Timestamp.Hour()); hour != folder {
		return fmt.Errorf("event %v of %s is in %s", e.Key(), folder, hour)
	}
	if e.Kind != want.Kind || e.Corrects != want.Corrects || e.Timestamp != want.Timestamp || e.Model != want.Model || e.Feature != want.Feature ||
		!slices.Equal(e.Lines, want.Lines) {
		return fmt.Errorf("event %v is there as %+v, not as %+v", e.Key(), *e, want)
	}
	return nil
}

// checkSums compares an hour's sums with those of the model over the events that they are of.
func checkSums(hour string, events, rollups, runs []simPart, m *simModel) error {
	got, want := simSums{}, simSums{}
	for _, p := range rollups {
		for i := range p.file.rollups {
			got.addRollup(&p.file.rollups[i])
		}
	}
	for _, p := range events {
		switch covered(rollups, p) {
		case coveredWhole:
			for i := range p.file.events {
				e := m.counted[p.file.events[i].Key()]
				want.addEvent(&e)
			}
		case coveredPartly:
			return fmt.Errorf("%s: rollups have a part of events %d to %d", hour, p.from, p.to)
		}
	}
	for _, e := range m.summedAlone(treeRollups, hour) {
		want.addEvent(&e)
	}
	if d := got.diff(want); d != "" {
		return fmt.Errorf("%s: rollups: %s", hour, d)
	}
	gotRuns, wantRuns := map[string]decimal.Int128{}, map[string]decimal.Int128{}
	for _, p := range runs {
		for i := range p.file.runs {
			row := &p.file.runs[i]
			k := row.Customer + "/" + row.RunID
			gotRuns[k], _ = gotRuns[k].Add(row.Sums[4])
		}
	}
	inRuns := m.summedAlone(treeRuns, hour)
	for _, p := range events {
		if covered(runs, p) != coveredWhole {
			continue
		}
		for i := range p.file.events {
			inRuns = append(inRuns, m.counted[p.file.events[i].Key()])
		}
	}
	for i := range inRuns {
		e := &inRuns[i]
		if e.RunID == "" {
			continue
		}
		k := e.Customer + "/" + e.RunID
		if l := e.Line(usage.MeterTokensIn); l != nil {
			wantRuns[k], _ = wantRuns[k].AddInt64(int64(l.Quantity))
		} else {
			wantRuns[k], _ = wantRuns[k].AddInt64(0)
		}
	}
	if d := cmp.Diff(wantRuns, gotRuns); d != "" {
		return fmt.Errorf("%s: runs (-want +got):\n%s", hour, d)
	}
	return nil
}

// summedAlone are the events of an hour that have left, but not what sums them.
func (m *simModel) summedAlone(tree, hour string) (events []usage.Event) {
	for k := range m.left[treeEvents] {
		if e := m.counted[k]; !m.left[tree][k] && simFolder(e.Timestamp.Hour()) == hour {
			events = append(events, e)
		}
	}
	return events
}

const (
	coveredNot = iota
	coveredPartly
	coveredWhole
)

// covered says whether sums are over all events of p. The numbers between parts of one hour are other hours' events.
func covered(sums []simPart, p simPart) int {
	var low, high bool
	for _, s := range sums {
		low = low || s.from <= p.from && p.from <= s.to
		high = high || s.from <= p.to && p.to <= s.to
	}
	switch {
	case low && high:
		return coveredWhole
	case low || high:
		return coveredPartly
	}
	return coveredNot
}
