package ledgercmd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usagebox/otelcol-usagebox/internal/ledger"
	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// summed is a ledger with two daily parts of a day, one of them of late usage, and one of the day after.
func summed(t *testing.T) *fixture {
	t.Helper()
	f := newFixture(t)
	f.write("main", true, event("a", 1, 100), of("zeta", event("b", 61, 30)))
	f.now = hour0.Start().Time().Add(9 * time.Hour)
	f.write("main", true)
	f.write("main", true, of("zeta", event("late", 2, 7)))
	f.write("main", false, event("next", 9*60, 5))
	f.now = hour0.Start().Time().Add(33 * time.Hour)
	f.write("main", true)
	return f
}

func of(customer string, e usage.Event) usage.Event {
	e.Customer = customer
	return e
}

func TestDaysThatAreSummedAreFoundWhole(t *testing.T) {
	f := summed(t)
	if n := len(f.daily()); n != 3 {
		t.Fatalf("%d daily parts", n)
	}
	if r := f.verify(); !r.OK || r.Days != 2 || r.Events != 4 {
		t.Errorf("%+v", r)
	}
	if r := f.verify("--quick", "--to", "2026-05-17"); !r.OK || r.Days != 1 {
		t.Errorf("%+v", r)
	}
	f.write("main", true, event("open", 33*60, 1))
	out := f.mustRun("status")
	for _, want := range []string{"days summed: 2, in 3 parts", "1 day waits to be summed: 2026-05-18", "\ndaily "} {
		if !strings.Contains(out, want) {
			t.Errorf("status has no %q:\n%s", want, out)
		}
	}
	var report statusReport
	if err := json.Unmarshal([]byte(f.mustRun("status", "--json")), &report); err != nil {
		t.Fatal(err)
	}
	if w := report.Writers[0]; w.Days != 2 || w.DailyParts != 3 || w.Open.Days != 1 || !slices.Equal(w.Open.WaitingDays, []string{"2026-05-18"}) || report.Bytes["daily"] == 0 {
		t.Errorf("%+v", w)
	}
}

func (f *fixture) daily() []string {
	f.t.Helper()
	paths, err := filepath.Glob(filepath.Join(f.dir, "daily", "*", "*", "*.parquet"))
	if err != nil {
		f.t.Fatal(err)
	}
	return paths
}

func TestVerifyFindsDamageInDailyAndNamesIt(t *testing.T) {
	flip := func(b []byte) []byte { b[len(b)/2] ^= 4; return b }
	for name, c := range map[string]struct {
		damage func(f *fixture)
		kinds  []string
		says   string
	}{
		"a flipped bit":         {func(f *fixture) { f.change(f.daily()[0], flip) }, []string{kindChanged, kindUnreadable}, "SHA-256"},
		"a file is removed":     {func(f *fixture) { remove(f.t, f.daily()[1]) }, []string{kindMissing}, "daily-000000000002"},
		"the folder is removed": {func(f *fixture) { _ = os.RemoveAll(filepath.Join(f.dir, "daily")) }, []string{kindMissing}, "daily-000000000003"},
		"a copy under another name": {func(f *fixture) {
			f.copy(f.daily()[0], filepath.Join(filepath.Dir(f.daily()[0]), "daily-000000000009.parquet"))
		}, []string{kindUnfinished}, "daily-000000000009"},
		"a folder that is no day": {func(f *fixture) {
			_ = os.MkdirAll(filepath.Join(f.dir, "daily", "date=2026-13-01", "writer=main"), 0o755)
		}, []string{kindMisplaced}, "YYYY-MM-DD"},
		"usage of one customer in another's row": {func(f *fixture) {
			f.forge(f.daily()[0], func(rows []parquetfile.RollupRow) []parquetfile.RollupRow {
				rows[0].Customer, rows[1].Customer = "acme2", "zeta2"
				return rows
			})
		}, []string{kindDaily}, `customer "acme", meter "llm_tokens_in"`},
		"more than its rollups": {func(f *fixture) {
			f.forge(f.daily()[0], func(rows []parquetfile.RollupRow) []parquetfile.RollupRow {
				rows[0].Quantity, _ = rows[0].Quantity.AddInt64(1)
				return rows
			})
		}, []string{kindDaily}, "other totals than record 3"},
		"a sealed part that is summed twice": {func(f *fixture) {
			f.rechain(func(r *ledger.ChainRecord) {
				if r.Part == "daily-000000000002" {
					r.Covers = append(r.Covers, "sealed-000000000001-000000000001")
				}
			})
		}, []string{kindChain, kindTwice}, "is in a daily part already"},
	} {
		t.Run(name, func(t *testing.T) {
			f := summed(t)
			c.damage(f)
			f.verifyFinds(t, c.kinds, c.says)
		})
	}
}

// forge gives a daily file other rows, and a chain that says that these are right.
func (f *fixture) forge(path string, change func([]parquetfile.RollupRow) []parquetfile.RollupRow) {
	f.t.Helper()
	var rows []parquetfile.RollupRow
	f.change(path, func(b []byte) []byte {
		if err := parquetfile.ReadDaily(bytes.NewReader(b), int64(len(b)), func(r *parquetfile.RollupRow) error { rows = append(rows, *r); return nil }); err != nil {
			f.t.Fatal(err)
		}
		var out bytes.Buffer
		w := parquetfile.NewDailyWriter(&out, parquetfile.DefaultGrouping())
		for _, row := range change(rows) {
			if err := w.Write(&row); err != nil {
				f.t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			f.t.Fatal(err)
		}
		f.rechain(func(r *ledger.ChainRecord) {
			if strings.HasSuffix(path, r.Part+".parquet") && r.Day != "" {
				r.Files[0].Bytes, r.Files[0].SHA256 = int64(out.Len()), ledger.HashChainLine(out.Bytes())
			}
		})
		return out.Bytes()
	})
}

// rechain changes records of the chain and makes it whole again, as who forges it would; what the collector said of it is gone.
func (f *fixture) rechain(change func(*ledger.ChainRecord)) {
	f.t.Helper()
	remove(f.t, filepath.Join(f.dir, "state", "writer=main", "status.json"))
	f.change(filepath.Join(f.dir, "state", "writer=main", "chain.ndjson"), func(b []byte) []byte {
		var forged bytes.Buffer
		head := ""
		for line := range bytes.Lines(b) {
			var r ledger.ChainRecord
			if err := json.Unmarshal(line, &r); err != nil {
				f.t.Fatal(err)
			}
			change(&r)
			r.Previous = head
			text, err := json.Marshal(&r)
			if err != nil {
				f.t.Fatal(err)
			}
			head = ledger.HashChainLine(text)
			fmt.Fprintf(&forged, "%s\n", text)
		}
		return forged.Bytes()
	})
}

func TestDaysAreSummedAnewFromRollupsThatAreMadeAnew(t *testing.T) {
	f := summed(t)
	output := filepath.Join(t.TempDir(), "anew")
	if out := f.mustRun("rebuild-rollups", "--output", output); !strings.Contains(out, "the sums of 2 days") || !strings.Contains(out, "0 files differ") {
		t.Error(out)
	}
	if paths, err := filepath.Glob(filepath.Join(output, "daily", "*", "*", "*.parquet")); err != nil || len(paths) != 2 || !strings.Contains(paths[0], "daily-000000000002") {
		t.Errorf("%q: %v", paths, err)
	}
	f.copy(f.daily()[2], f.daily()[0])
	if out := f.mustRun("rebuild-rollups", "--output", filepath.Join(t.TempDir(), "again"), "--to", "2026-05-17T12"); !strings.Contains(out, "the sums of 1 day ") || !strings.Contains(out, "2 files differ") {
		t.Error(out)
	}
}

func TestADayWhoseRollupsHaveLeftIsHeldAgainstTheChain(t *testing.T) {
	f := summed(t)
	f.retention = ledger.Retention{Events: 40 * time.Hour, Runs: 50 * time.Hour, Rollups: 60 * time.Hour, Daily: 90 * time.Hour}
	f.now = hour0.Start().Time().Add(70 * time.Hour)
	f.write("main", true)
	if n := len(f.daily()); n != 3 {
		t.Fatalf("%d daily parts", n)
	}
	if _, err := os.Stat(filepath.Join(f.dir, "rollups", "date=2026-05-16")); !os.IsNotExist(err) {
		t.Fatalf("rollups have not left: %v", err)
	}
	if r := f.verify(); !r.OK || r.Days != 2 {
		t.Errorf("%+v", r)
	}
	if out := f.mustRun("rebuild-rollups", "--output", t.TempDir()); !strings.Contains(out, "not all rollups of 2 days could be made") {
		t.Error(out)
	}
	f.forge(f.daily()[0], func(rows []parquetfile.RollupRow) []parquetfile.RollupRow { return rows[1:] })
	if r := f.verify(); !slices.Equal(kinds(&r), []string{kindDaily}) {
		t.Errorf("%+v", r)
	}
	f.now = hour0.Start().Time().Add(130 * time.Hour)
	f.write("main", true)
	if n := len(f.daily()); n != 0 {
		t.Errorf("%d daily parts are there after their time", n)
	}
}
