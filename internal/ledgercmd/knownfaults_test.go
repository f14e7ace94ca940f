package ledgercmd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/usagebox/otelcol-usagebox/internal/decimal"
	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// What other ledgers of usage got wrong where they are asked, by the numbers of the list that internal/ledger has the others of.

func TestKnownFault03RebuildingFromAnUnalignedTimeGivesWholeHours(t *testing.T) {
	f := busy(t)
	whole := f.files("rollups")
	for _, args := range [][]string{
		{"--from", "2026-05-16T16:02:30.5Z"},                                      // part of the first hour
		{"--from", "2026-05-16T16:59:59.999999Z", "--to", "2026-05-16T17:10:00Z"}, // the last microsecond of it, and part of the next
		{"--to", "2026-05-16T16:01:30Z"},
	} {
		output := filepath.Join(t.TempDir(), "rebuilt")
		var r rebuildReport
		if err := json.Unmarshal([]byte(f.mustRun(append([]string{"rebuild-rollups", "--output", output, "--json"}, args...)...)), &r); err != nil {
			t.Fatal(err)
		}
		if len(r.Changed) > 0 || r.Parts == 0 {
			t.Errorf("%v: %+v", args, r)
		}
		made, err := filepath.Glob(filepath.Join(output, "rollups", "*", "*", "*", "*.parquet"))
		if err != nil || len(made) != r.Parts {
			t.Fatal(made, err)
		}
		for _, path := range made {
			rel, _ := filepath.Rel(output, path)
			a, _ := os.ReadFile(filepath.Join(f.dir, rel))
			b, err := os.ReadFile(path)
			if err != nil || !slices.Equal(a, b) || !slices.Contains(whole, filepath.Join(f.dir, rel)) {
				t.Errorf("%v: %s is not the ledger's: %v", args, rel, err)
			}
		}
	}
}

func TestKnownFault04BoundsInsideHoursNeitherDropNorDouble(t *testing.T) {
	f := newFixture(t)
	rng := rand.New(rand.NewPCG(4, 4))
	var events []usage.Event
	want := int64(0)
	for i := range 60 {
		e := event(fmt.Sprint(i), rng.IntN(180), int64(1+rng.IntN(100)))
		e.Timestamp += usage.Micros(rng.Int64N(60_000_000))
		want += int64(e.Lines[0].Quantity)
		events = append(events, e)
	}
	f.write("main", true, events[:40]...)
	f.write("main", false, events[40:]...) // late, and open
	start, span := hour0.Start(), 4*usage.MicrosPerHour
	for range 12 {
		cut := start + usage.Micros(rng.Int64N(int64(span)))
		if rng.IntN(4) == 0 {
			cut = events[rng.IntN(len(events))].Timestamp // at an event
		}
		sum := int64(0)
		for _, ends := range [][2]usage.Micros{{start, cut}, {cut, start + span}} {
			var r explainReport
			if err := json.Unmarshal([]byte(f.mustRun("explain", "--customer", "acme", "--json", "--from", momentText(ends[0]), "--to", momentText(ends[1]))), &r); err != nil {
				t.Fatal(err)
			}
			if !r.Agree {
				t.Error("rollups differ from events")
			}
			for _, total := range r.Totals {
				q, err := decimal.Parse(total.Quantity, usage.QuantityScale, usage.Digits)
				if err != nil {
					t.Fatal(err)
				}
				sum += q
			}
		}
		if sum != want {
			t.Errorf("cut at %s the two parts sum up to %d, not %d", momentText(cut), sum, want)
		}
	}
}

func TestKnownFault06ATotalIsNeverOneNumberOverMetersOrUnits(t *testing.T) {
	f := newFixture(t)
	e := event("a", 1, 100)
	e.Lines = append(e.Lines, usage.Line{Meter: usage.MeterTokensOut, Quantity: usage.Units(7)}, usage.Line{Meter: "storage", Unit: "gigabyte", Quantity: usage.Units(3)})
	e.Normalize()
	other := event("b", 2, 1)
	other.Lines = []usage.Line{{Meter: "storage", Unit: "byte", Quantity: usage.Units(5)}}
	f.write("main", true, e, other)
	var r explainReport
	if err := json.Unmarshal([]byte(f.mustRun("explain", "--customer", "acme", "--json")), &r); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, total := range r.Totals {
		got = append(got, total.Meter+" "+total.Unit+" "+total.Quantity)
	}
	if want := []string{"llm_tokens_in token 100", "llm_tokens_out token 7", "storage byte 5", "storage gigabyte 3"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// countingReader counts the bytes that are asked for.
type countingReader struct {
	io.ReaderAt
	bytes int64
}

func (r *countingReader) ReadAt(p []byte, off int64) (int, error) {
	r.bytes += int64(len(p))
	return r.ReaderAt.ReadAt(p, off)
}

func TestKnownFault12OneCustomersUsageIsReadWithoutEverybodyElses(t *testing.T) {
	f := newFixture(t)
	const customers = 4000
	rng := rand.New(rand.NewPCG(12, 12))
	var events []usage.Event
	for i := range customers {
		for n := range 30 {
			e := event(fmt.Sprintf("%016x", rng.Uint64()), n, rng.Int64N(1e6))
			e.Timestamp += usage.Micros(rng.Int64N(60_000_000))
			e.Customer = fmt.Sprintf("customer-%05d", i)
			events = append(events, e)
		}
	}
	f.write("main", true, events...)
	file, err := os.Open(f.files("events")[0])
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	counting := &countingReader{ReaderAt: file}
	opened, err := parquetfile.OpenEvents(counting, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	opening := counting.bytes
	r := opened.Customer("customer-02345")
	defer r.Close()
	n := 0
	for {
		var e usage.Event
		if err := r.Next(&e); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		n++
	}
	const aPageOfEachColumn = 32 * 64 << 10
	if read := counting.bytes - opening; n != 30 || read > min(aPageOfEachColumn, info.Size()/2) {
		t.Errorf("%d events; %d of %d bytes were read after the file was opened", n, read, info.Size())
	}
}
