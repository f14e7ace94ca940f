package ledgercmd

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usagebox/otelcol-usagebox/internal/ledger"
)

// old is a ledger that the events of the first hour have left, with 3 events and 157 tokens, but not their sums.
func old(t *testing.T) *fixture {
	t.Helper()
	f := newFixture(t)
	f.write("main", true, event("a", 1, 100), event("b", 2, 50))
	f.write("main", true, event("late", 3, 7))
	f.retention = ledger.Retention{Events: 40 * time.Hour, Runs: 50 * time.Hour, Rollups: 60 * time.Hour}
	f.now = hour0.Start().Time().Add(41 * time.Hour)
	f.write("main", true, event("new", 30*60, 5))
	return f
}

func TestWhatLeftByItsRecordIsNotMissing(t *testing.T) {
	f := old(t)
	if n := len(f.files("events")); n != 1 {
		t.Fatalf("%d events files are there", n)
	}
	if n := len(f.files("rollups")); n != 3 {
		t.Fatalf("%d rollups files are there", n)
	}
	for _, args := range [][]string{nil, {"--quick"}} {
		r := f.verify(args...)
		if !r.OK || r.LeftEvents != 3 || r.Events != 1 || r.Sealed != 3 || r.Parts != 3 {
			t.Errorf("%+v", r)
		}
	}
	if out := f.mustRun("status"); !strings.Contains(out, "3 events left by retention") {
		t.Error(out)
	}
	f.now = hour0.Start().Time().Add(52 * time.Hour)
	f.write("main", true)
	if r := f.verify(); !r.OK || r.Parts != 3 {
		t.Errorf("after runs have left: %+v", r)
	}
	f.now = hour0.Start().Time().Add(62 * time.Hour)
	f.write("main", true)
	if r := f.verify(); !r.OK || r.Parts != 1 || r.LeftEvents != 3 {
		t.Errorf("after all has left: %+v", r)
	}
}

func TestWhatIsMissingWithoutARecordIsFoundBesideWhatLeft(t *testing.T) {
	for name, damage := range map[string]struct {
		kind string
		do   func(t *testing.T, f *fixture)
	}{
		"events that have to be there": {kindMissing, func(t *testing.T, f *fixture) {
			for _, tree := range trees {
				files := f.files(tree)
				remove(t, files[len(files)-1])
			}
		}},
		"sums whose events have left": {kindMissing, func(t *testing.T, f *fixture) { remove(t, f.files("rollups")[0]) }},
		"runs whose events have left": {kindMissing, func(t *testing.T, f *fixture) { remove(t, f.files("runs")[0]) }},
		"another byte in sums left so": {kindChanged, func(_ *testing.T, f *fixture) {
			f.change(f.files("rollups")[1], func(b []byte) []byte { b[40] ^= 1; return b })
		}},
		"events that should have left": {kindUnfinished, func(t *testing.T, f *fixture) {
			to := strings.Replace(f.files("rollups")[0], "rollups", "events", 1)
			if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
				t.Fatal(err)
			}
			f.copy(f.files("events")[0], to)
		}},
		"the record of what left": {kindChain, func(t *testing.T, f *fixture) {
			f.change(filepath.Join(f.dir, "state", "writer=main", "chain.ndjson"), func(b []byte) []byte {
				lines := strings.SplitAfter(string(b), "\n")
				return []byte(strings.Join(slices.DeleteFunc(lines, func(l string) bool { return strings.Contains(l, `"left"`) }), ""))
			})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			f := old(t)
			damage.do(t, f)
			if r := f.verify(); r.OK || !slices.Contains(kinds(&r), damage.kind) {
				t.Errorf("%+v, want %s", r.Problems, damage.kind)
			}
		})
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func TestATotalIsExplainedFromSumsWhereEventsHaveLeft(t *testing.T) {
	f := old(t)
	var r explainReport
	if err := json.Unmarshal([]byte(f.mustRun("explain", "--customer", "acme", "--json")), &r); err != nil {
		t.Fatal(err)
	}
	if !r.Agree || len(r.Totals) != 1 || r.Totals[0].Quantity != "162" || r.LeftHours != 0 || len(r.Hours) != 2 || !strings.HasPrefix(r.Hours[0].Files[0].File, "rollups/") {
		t.Errorf("%+v", r)
	}
	if out, err := f.run("explain", "--customer", "acme", "--from", "2026-05-16T16:02:00Z"); err == nil || !strings.Contains(err.Error(), "whole hour") {
		t.Errorf("%v\n%s", err, out)
	}
	if out := f.mustRun("rebuild-rollups", "--output", t.TempDir()); !strings.Contains(out, "the events of 2 parts are not there") || !strings.Contains(out, "0 files differ") {
		t.Error(out)
	}
	f.now = hour0.Start().Time().Add(62 * time.Hour)
	f.write("main", true)
	if out := f.mustRun("explain", "--customer", "acme"); !strings.Contains(out, "the rollups of 1 hour have left by retention") {
		t.Error(out)
	}
}
