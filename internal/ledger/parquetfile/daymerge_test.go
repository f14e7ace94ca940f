package parquetfile

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// rollupsOf are the rows of events as an open rollups file, or, daily, as a daily file of their day.
func rollupsOf(t fataler, name string, g *Grouping, daily bool, rows []RollupRow) *RollupFile {
	var out bytes.Buffer
	write, open := NewRollupWriter, OpenRollups
	if daily {
		write, open = NewDailyWriter, OpenDaily
	}
	w := write(&out, g)
	for i := range rows {
		if err := w.Write(&rows[i]); err != nil {
			t.Fatalf("%v", err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatalf("%v", err)
	}
	f, err := open(name, bytes.NewReader(out.Bytes()), int64(out.Len()))
	if err != nil {
		t.Fatalf("%v", err)
	}
	return f
}

func allRows(m *DayMerge) (rows []RollupRow, err error) {
	for {
		var row RollupRow
		if err := m.Next(&row); errors.Is(err, io.EOF) {
			return rows, nil
		} else if err != nil {
			return rows, err
		}
		rows = append(rows, row)
	}
}

func TestADayOfFilesOfAnyGroupingsIsTheSumOfThem(t *testing.T) {
	const day = usage.Micros(20_000) * MicrosPerDay
	rapid.Check(t, func(rt *rapid.T) {
		var files []*RollupFile
		var groupings []*Grouping
		var rows [][]RollupRow
		for i := range rapid.IntRange(1, 5).Draw(rt, "files") {
			g := anyGrouping(rt)
			events := anyEvents(rt)
			for j := range events {
				events[j].Timestamp = day + usage.Micros(i)*usage.MicrosPerHour + events[j].Timestamp%usage.MicrosPerHour
			}
			of := rollup(rt, g, events)
			files = append(files, rollupsOf(rt, "f", g, false, of))
			groupings, rows = append(groupings, g), append(rows, of)
		}
		union := UnionGrouping(groupings...)
		// The sums in a map, by the values of the union's dimensions.
		want := map[string]*RollupRow{}
		for i, of := range rows {
			for _, row := range of {
				extra := make([]string, len(union.extra))
				for j, name := range groupings[i].extra {
					extra[slices.Index(union.extra, name)] = row.Extra[j]
				}
				row.HourStart, row.Extra = day, nil
				if len(extra) > 0 {
					row.Extra = extra
				}
				key := keyText(&row)
				if want[key] == nil {
					want[key] = &row
				} else if err := want[key].Merge(&row); err != nil {
					rt.Fatal(err)
				}
			}
		}
		m, err := NewDayMerge(day, union, files...)
		if err != nil {
			rt.Fatal(err)
		}
		got, err := allRows(m)
		if err != nil {
			rt.Fatal(err)
		}
		if !slices.IsSortedFunc(got, func(a, b RollupRow) int { return a.Compare(&b) }) || len(got) != len(want) {
			rt.Fatalf("%d rows, want %d, in order", len(got), len(want))
		}
		for i := range got {
			mustEqual(rt, *want[keyText(&got[i])], got[i])
		}
		// What comes out goes in again, beside rollups.
		again, err := NewDayMerge(day, union, rollupsOf(rt, "d", union, true, got))
		if err != nil {
			rt.Fatal(err)
		}
		same, err := allRows(again)
		if err != nil {
			rt.Fatal(err)
		}
		mustEqual(rt, got, same)
	})
}

func keyText(r *RollupRow) string {
	var b []byte
	for _, s := range append([]string{r.Customer, r.Meter, r.Feature, r.Step, r.Agent, r.Operation, r.Provider, r.Model, r.Unit, r.Currency, r.PriceCurrency}, r.Extra...) {
		b = append(append(b, s...), 0xff)
	}
	return string(b)
}

func TestADayIsNotSummedFromFilesThatAreOutOfOrderOrOfAnotherDay(t *testing.T) {
	const day = usage.Micros(20_000) * MicrosPerDay
	row := func(customer string, at usage.Micros) RollupRow {
		return RollupRow{HourStart: at, Customer: customer, Meter: "m", Unit: "u", Events: 1, FirstAt: at, LastAt: at}
	}
	for name, rows := range map[string][]RollupRow{
		"out of order":  {row("b", day), row("a", day)},
		"twice":         {row("a", day), row("a", day)},
		"of two hours":  {row("a", day), row("b", day+usage.MicrosPerHour)},
		"the day after": {row("a", day+MicrosPerDay)},
		"before":        {row("a", day-1)},
	} {
		m, err := NewDayMerge(day, DefaultGrouping(), rollupsOf(t, "f.parquet", DefaultGrouping(), false, rows))
		if err == nil {
			_, err = allRows(m)
		}
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
