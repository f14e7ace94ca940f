package parquetfile

import (
	"bytes"
	"slices"
	"testing"

	"github.com/parquet-go/parquet-go"
	"pgregory.net/rapid"

	"github.com/usagebox/otelcol-usagebox/internal/decimal"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// compareStatistic orders two values of a column as readers do.
func compareStatistic(typ parquet.Type, a, b parquet.Value) int {
	if typ.Kind() == parquet.FixedLenByteArray {
		return int128(a).Cmp(int128(b))
	}
	return typ.Compare(a, b)
}

// checkStatistics holds every minimum and maximum of a file, of row groups and pages, against the values themselves.
func checkStatistics(t interface {
	fataler
	Fatal(...any)
}, file []byte,
) {
	f, err := parquet.OpenFile(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	for g, group := range f.RowGroups() {
		meta := f.Metadata().RowGroups[g]
		if len(f.RowGroups()) > 1 && meta.NumRows == 0 {
			t.Fatal("an empty row group")
		}
		for i, chunk := range group.ColumnChunks() {
			typ := f.Schema().Columns()[i]
			stat := meta.Columns[i].MetaData.Statistics
			index, err := chunk.ColumnIndex()
			if err != nil {
				t.Fatal(err)
			}
			var values []parquet.Value
			pages := chunk.Pages()
			for p := range index.NumPages() {
				page, err := pages.ReadPage()
				if err != nil {
					t.Fatal(err)
				}
				got := make([]parquet.Value, page.NumValues())
				if n, _ := page.Values().ReadValues(got); n != len(got) {
					t.Fatalf("%v: %d values of %d", typ, n, len(got))
				}
				got = slices.DeleteFunc(got, parquet.Value.IsNull)
				if index.NullPage(p) != (len(got) == 0) {
					t.Fatalf("%v: null page is %v with %d values", typ, index.NullPage(p), len(got))
				}
				for _, v := range got {
					if compareStatistic(chunk.Type(), v, index.MinValue(p)) < 0 || compareStatistic(chunk.Type(), v, index.MaxValue(p)) > 0 {
						t.Fatalf("%v: page %d: %v is not between %v and %v", typ, p, v, index.MinValue(p), index.MaxValue(p))
					}
					values = append(values, v.Clone())
				}
			}
			_ = pages.Close()
			if len(values) == 0 {
				if stat.MinValue != nil || stat.MaxValue != nil {
					t.Fatalf("%v: statistics of nothing", typ)
				}
				continue
			}
			compare := func(a, b parquet.Value) int { return compareStatistic(chunk.Type(), a, b) }
			low, high := slices.MinFunc(values, compare), slices.MaxFunc(values, compare)
			if !bytes.Equal(low.Bytes(), stat.MinValue) || !bytes.Equal(high.Bytes(), stat.MaxValue) {
				t.Fatalf("%v: from %x to %x, the footer says %x to %x", typ, low.Bytes(), high.Bytes(), stat.MinValue, stat.MaxValue)
			}
		}
	}
}

func TestStatisticsInFootersAreTheLeastAndGreatestValues(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		events := anyEvents(rt)
		checkStatistics(rt, written(t, rapid.IntRange(1, 50).Draw(rt, "rows per group"), events))
		var r, u bytes.Buffer
		if err := WriteRollups(&r, nil, rollup(rt, nil, events)); err != nil {
			rt.Fatal(err)
		}
		checkStatistics(rt, r.Bytes())
		if err := WriteRuns(&u, runs(rt, events)); err != nil {
			rt.Fatal(err)
		}
		checkStatistics(rt, u.Bytes())
	})
}

func TestStatisticsOfManyPagesHoldBothSigns(t *testing.T) {
	rows := make([]RollupRow, 50_000)
	for i := range rows {
		v := decimal.FromInt64(int64(i-25_000) * maxDecimal / 25_000)
		rows[i] = RollupRow{Customer: "acme", Meter: "m", Unit: "u", Quantity: v, Cost: Money{v.Neg(), i%3 == 0}, HourStart: usage.Micros(i)}
	}
	rows[7].Quantity, rows[8].Quantity = maxSum, maxSum.Neg()
	var out bytes.Buffer
	if err := WriteRollups(&out, nil, rows); err != nil {
		t.Fatal(err)
	}
	checkStatistics(t, out.Bytes())
}

func TestAManyPagedFileOfEventsHasRightStatisticsAndFewBytes(t *testing.T) {
	events := load(150_000)
	file := written(t, 0, events)
	checkStatistics(t, file)
	if perEvent := len(file) / len(events); perEvent > 60 {
		t.Errorf("%d bytes an event", perEvent)
	}
	f, err := parquet.OpenFile(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	mustEqual(t, 2, len(f.RowGroups()))
	for _, g := range f.RowGroups() {
		for _, c := range g.SortingColumns() {
			if c.Descending() {
				t.Error("not ascending:", c.Path())
			}
		}
		mustEqual(t, 3, len(g.SortingColumns()))
		if g.ColumnChunks()[leafEventID].BloomFilter() == nil {
			t.Error("a row group without a bloom filter")
		}
	}
}
