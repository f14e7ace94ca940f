package ledger

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// simDays is what a chain says of daily parts: which are there, and which sealed parts they are of.
type simDays struct {
	chain   []byte                   // that this was read from
	files   map[string]int64         // daily parts that are to be there, and their days
	covered map[usage.Hour][]simPart // parts that are in a daily part
	names   map[string]bool          // of these
}

// place remembers where each event was first seen.
func (r *simReader) place(events map[string][]simPart) {
	for _, parts := range events {
		for _, p := range parts {
			for i := range p.file.events {
				if k := p.file.events[i].Key(); r.places[k].file == nil {
					r.places[k] = p
				}
			}
		}
	}
}

// readDays takes from the chain what is to be in daily/. Each part enters it once, and what is merged does wholly or not at all.
func (r *simReader) readDays(fs FS) error {
	text, err := (&Ledger{o: Options{FS: fs}}).readAll(paths{fs: fs, dir: simDirectory, writer: "main"}.chain())
	if err != nil || bytes.Equal(text, r.days.chain) {
		return err
	}
	d := simDays{text, map[string]int64{}, map[usage.Hour][]simPart{}, map[string]bool{}}
	hours := map[string]usage.Hour{}
	if _, err := ReadChain(text, func(record *ChainRecord) error {
		at, err := time.Parse(time.RFC3339, record.Hour)
		if err != nil {
			return err
		}
		hour := usage.MicrosOf(at).Hour()
		if record.Day == "" {
			hours[record.Part] = hour
			in := 0
			for _, name := range record.Replaces {
				if d.names[name] {
					in++
				}
			}
			if record.InDaily != (in > 0) || in > 0 && in < len(record.Replaces) {
				return fmt.Errorf("of the parts of %s %d of %d are in daily parts", record.Part, in, len(record.Replaces))
			}
			d.names[record.Part] = record.InDaily
			return nil
		}
		day := dayOf(hour)
		for _, f := range record.Left {
			delete(d.files, path.Join(simDirectory, f.Path))
			for h := hour; dayOf(h) == day; h++ {
				delete(d.covered, h)
			}
		}
		for _, name := range record.Replaces {
			delete(d.files, path.Join(simDirectory, path.Dir(record.Files[0].Path), name+extension))
		}
		for _, name := range record.Covers {
			h, sealed := hours[name]
			if !sealed || d.names[name] || dayOf(h) != day {
				return fmt.Errorf("%s is in daily part %s of %s, and in another before, or not sealed before", name, record.Part, record.Day)
			}
			d.names[name] = true
			var p simPart
			if _, err := fmt.Sscanf(name[strings.Index(name, "-")+1:], "%d-%d", &p.from, &p.to); err != nil {
				return err
			}
			d.covered[h] = append(d.covered[h], p)
		}
		for _, f := range record.Files {
			d.files[path.Join(simDirectory, f.Path)] = day
		}
		return nil
	}); err != nil {
		return err
	}
	r.days = d
	return nil
}

// checkDays compares what is in daily/ with the model's sums over the events of the parts that are in it.
func (r *simReader) checkDays(fs FS, m *simModel) error {
	if err := r.readDays(fs); err != nil {
		return fmt.Errorf("the chain: %w", err)
	}
	files := (reader{t: panicker{}, fs: fs, dir: simDirectory}).files(treeDaily)
	for _, file := range files {
		if _, known := r.days.files[file]; !known {
			return fmt.Errorf("%s is there and not in the chain", file)
		}
	}
	for file := range r.days.files {
		if !slices.Contains(files, file) {
			return fmt.Errorf("%s is in the chain and not there", file)
		}
	}
	if len(files) == 0 {
		return nil
	}
	got, err := r.daily(fs)
	if err != nil {
		return err
	}
	want := simSums{}
	for k, e := range m.counted {
		place, seen := r.places[k]
		if !seen {
			continue
		}
		switch covered(r.days.covered[e.Timestamp.Hour()], place) {
		case coveredWhole:
			want.addEvent(dayEvent(e))
		case coveredPartly:
			return fmt.Errorf("daily/ has a part of events %d to %d of %s", place.from, place.to, hourText(e.Timestamp.Hour()))
		}
	}
	if d := got.diff(want); d != "" {
		return fmt.Errorf("daily: %s", d)
	}
	return nil
}

func dayEvent(e usage.Event) *usage.Event {
	e.Timestamp = firstHour(dayOf(e.Timestamp.Hour())).Start()
	return &e
}

// daily sums all that is in daily/.
func (r *simReader) daily(fs FS) (simSums, error) {
	sums := simSums{}
	for _, file := range (reader{t: panicker{}, fs: fs, dir: simDirectory}).files(treeDaily) {
		content, err := r.read(fs, treeDaily, file)
		if err != nil {
			return nil, err
		}
		for i := range content.rollups {
			sums.addRollup(&content.rollups[i])
		}
	}
	return sums, nil
}

// settledDays lets days pass, and compares the sums of each with all that was acknowledged of it; then they leave, if they are to.
func (w *simWorld) settledDays() error {
	for _, pass := range []time.Duration{0, 60 * time.Hour} {
		w.night()
		w.clock.now = w.clock.now.Add(pass)
		for range 1 + len(w.model.counted) { // one daily part in a round, and another round for what leaves after it
			if err := w.seal(); err != nil {
				return err
			}
			if len(w.ledger.days()) == 0 {
				break
			}
		}
		if err := w.seal(); err != nil {
			return err
		}
		if err := w.check(true); err != nil {
			return err
		}
		if err := w.allLeft(trees[:]...); err != nil {
			return err
		}
		got, err := w.reader.daily(directFS{w.fs.mem})
		if err != nil {
			return err
		}
		want := simSums{}
		for _, e := range w.model.counted {
			if day := dayOf(e.Timestamp.Hour()); !w.due(firstHour(day+1)-1, treeDaily) {
				want.addEvent(dayEvent(e))
			}
		}
		if d := got.diff(want); d != "" {
			return fmt.Errorf("daily after the days are over: %s", d)
		}
		if w.options.Retention == (Retention{}) {
			break
		}
	}
	return w.checkChain()
}

// days are those that have sealed parts which are in no daily part.
func (l *Ledger) days() (waiting []int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for day := range l.state.days.waiting {
		waiting = append(waiting, day)
	}
	return waiting
}
