package ledgercmd

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/usagebox/otelcol-usagebox/internal/ledger"
	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

func TestADirectoryOfANewerVersionIsRefusedByEveryCommand(t *testing.T) {
	f := busy(t)
	f.change(filepath.Join(f.dir, "state", "writer=main", "status.json"), func(b []byte) []byte {
		var status ledger.Status
		if err := json.Unmarshal(b, &status); err != nil || status.Version != ledger.StatusVersion {
			t.Fatalf("version %d, %v: %s", status.Version, err, b)
		}
		status.Version++
		b, err := json.Marshal(&status)
		if err != nil {
			t.Fatal(err)
		}
		return b
	})
	for _, args := range [][]string{{"status"}, {"verify"}, {"explain", "--customer", "acme"}, {"rebuild-rollups", "--output", t.TempDir()}, {"export"}, {"mend-writers"}} {
		if out, err := f.run(args...); err == nil || !strings.Contains(err.Error(), "has version 2, this program reads 1") {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
}

func TestStatusSaysWhatIsThere(t *testing.T) {
	f := busy(t)
	var r statusReport
	if err := json.Unmarshal([]byte(f.mustRun("status", "--json")), &r); err != nil {
		t.Fatal(err)
	}
	w := r.Writers[0]
	if len(r.Writers) != 1 || w.Hours != 3 || w.Parts != 4 || w.SealedParts != 3 || w.SealedEvents != 5 || w.ChainRecords != 3 || len(w.ChainHead) != 64 || w.Open == nil || r.Bytes["events"] == 0 {
		t.Fatalf("%+v", r)
	}
	out := f.mustRun("status")
	for _, want := range []string{"writer main: 3 hours from 2026-05-16T16:00Z to 2026-05-16T19:00Z, 4 parts; sealed: 3 parts with 5 events", "open hour"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
}

func TestATotalIsExplainedToItsFilesCorrectionsAndRefusals(t *testing.T) {
	f := busy(t)
	var r explainReport
	if err := json.Unmarshal([]byte(f.mustRun("explain", "--customer", "acme", "--json")), &r); err != nil {
		t.Fatal(err)
	}
	total := r.Totals[0]
	if len(r.Totals) != 1 || total.Quantity != "153" || total.Costs["USD"] != "0.000459" || total.Events != 5 || total.Corrections != 1 || !r.Agree {
		t.Fatalf("%+v", total)
	}
	if len(r.Hours) != 3 || r.Hours[0].Totals[0].Quantity != "147" || len(r.Hours[0].Files) != 2 || len(r.Hours[0].Fixes) != 1 || r.Hours[0].Fixes[0].Corrects != "a" {
		t.Fatalf("%+v", r.Hours[0])
	}
	if len(r.Refused) != 1 || r.Refused[0].EventID != "a" || r.Refused[0].Reason != usage.ReasonConflict {
		t.Fatalf("%+v", r.Refused)
	}
	out := f.mustRun("explain", "--customer", "acme", "--meter", usage.MeterTokensIn)
	for _, want := range []string{"153", "rollups say the same of every whole hour", "correction", "conflict", "sealed-"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if out := f.mustRun("explain", "--customer", "nobody"); !strings.Contains(out, "no usage") {
		t.Error(out)
	}
}

func TestARangeIsHalfOpenAtAnyMicrosecond(t *testing.T) {
	f := busy(t)
	quantity := func(from, to string) string {
		var r explainReport
		if err := json.Unmarshal([]byte(f.mustRun("explain", "--customer", "acme", "--json", "--from", from, "--to", to)), &r); err != nil {
			t.Fatal(err)
		}
		if len(r.Totals) == 0 {
			return "0"
		}
		return r.Totals[0].Quantity
	}
	for _, c := range [][3]string{
		{"2026-05-16T16:01:00Z", "2026-05-16T16:02:00Z", "100"},
		{"2026-05-16T16:01:00.000001Z", "2026-05-16T16:02:00.000001Z", "50"},
		{"2026-05-16T16:00:30Z", "2026-05-16T17:10:00Z", "147"},
		{"2026-05-16T16:00:30Z", "2026-05-16T17:10:00.000001Z", "152"},
		{"2026-05-16T18:01:00+02:00", "2026-05-16T18:02:00+02:00", "100"},
		{"2026-05", "2026-06", "153"},
		{"2026-06", "2026-07", "0"},
	} {
		if got := quantity(c[0], c[1]); got != c[2] {
			t.Errorf("from %s to %s: %s, not %s", c[0], c[1], got, c[2])
		}
	}
}

func TestTheWholeLifeOfAnEventIsShown(t *testing.T) {
	f := busy(t)
	for _, args := range [][]string{{"explain", "--event", "a", "--json"}, {"explain", "--event", "a", "--customer", "acme", "--json"}} {
		var r eventReport
		if err := json.Unmarshal([]byte(f.mustRun(args...)), &r); err != nil {
			t.Fatal(err)
		}
		if len(r.Found) != 2 || len(r.Refused) != 1 || !strings.Contains(r.Found[0].File, "events/date=2026-05-16/hour=16/writer=main/sealed-") {
			t.Fatalf("%+v", r)
		}
	}
	out := f.mustRun("explain", "--event", "a")
	for _, want := range []string{"event a of customer acme", "correction of a: fix of customer acme", "refused at", "conflict"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if out := f.mustRun("explain", "--event", "unheard-of"); !strings.Contains(out, "no event unheard-of") || strings.Contains(out, "waits") {
		t.Error(out)
	}
	f.write("main", false, correction("early", "not-there-yet", 3, -1))
	for _, event := range []string{"early", "not-there-yet"} {
		if out := f.mustRun("explain", "--event", event); !strings.Contains(out, "no event "+event) || !strings.Contains(out, "early of customer acme waits for event not-there-yet since 2026-") {
			t.Error(out)
		}
	}
	if out := f.mustRun("explain", "--event", "unheard-of"); !strings.Contains(out, "1 correction waits") {
		t.Error(out)
	}
	if out := f.mustRun("status"); !strings.Contains(out, "1 correction waits") || !strings.Contains(out, "early") {
		t.Error(out)
	}
}

func TestRebuiltRollupsAreThoseOfTheLedger(t *testing.T) {
	f := busy(t)
	output := filepath.Join(t.TempDir(), "rebuilt")
	var r rebuildReport
	if err := json.Unmarshal([]byte(f.mustRun("rebuild-rollups", "--output", output, "--json")), &r); err != nil {
		t.Fatal(err)
	}
	if r.Parts != 4 || r.Events != 6 || len(r.Changed) > 0 {
		t.Fatalf("%+v", r)
	}
	for _, tree := range []string{"rollups", "runs"} {
		for _, path := range f.files(tree) {
			rel, _ := filepath.Rel(f.dir, path)
			a, _ := os.ReadFile(path)
			b, err := os.ReadFile(filepath.Join(output, rel))
			if err != nil || !bytes.Equal(a, b) {
				t.Errorf("%s: %v", rel, err)
			}
		}
	}
	if _, err := f.run("rebuild-rollups", "--output", output); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Error(err)
	}
	f.copy(f.files("rollups")[0], f.files("rollups")[3])
	again := filepath.Join(t.TempDir(), "again")
	if out := f.mustRun("rebuild-rollups", "--output", again); !strings.Contains(out, "1 file differs from the ledger's") {
		t.Error(out)
	}
	other := filepath.Join(t.TempDir(), "other")
	if out := f.mustRun("rebuild-rollups", "--output", other, "--dimensions", "model,user_id"); !strings.Contains(out, "4 files differ") {
		t.Error(out)
	}
}

func TestExportsHaveEveryRowExactly(t *testing.T) {
	f := busy(t)
	for table, want := range map[string]int{"events": 6, "rollups": 4, "runs": 0, "refused": 1} {
		rows, err := csv.NewReader(strings.NewReader(f.mustRun("export", "--table", table))).ReadAll()
		if err != nil || len(rows) != want+1 {
			t.Errorf("%s: %d rows of CSV: %v", table, len(rows), err)
		}
		if lines := strings.Count(f.mustRun("export", "--table", table, "--format", "ndjson"), "\n"); lines != want {
			t.Errorf("%s: %d lines of NDJSON", table, lines)
		}
		path := filepath.Join(t.TempDir(), table+".parquet")
		f.mustRun("export", "--table", table, "--format", "parquet", "--output", path)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		switch r, size := bytes.NewReader(b), int64(len(b)); table {
		case "rollups":
			err = parquetfile.ReadRollups(r, size, func(*parquetfile.RollupRow) error { n++; return nil })
		case "runs":
			err = parquetfile.ReadRuns(r, size, func(*parquetfile.RunRow) error { n++; return nil })
		case "refused":
			err = parquetfile.ReadRefused(r, size, func(*parquetfile.RefusedRow) error { n++; return nil })
		default:
			if _, err := parquetfile.OpenEvents(r, size); err == nil {
				t.Error("an export is taken for a part")
			}
			n = want
		}
		if err != nil || n != want {
			t.Errorf("%s: %d rows of Parquet: %v", table, n, err)
		}
	}
	out := f.mustRun("export", "--format", "ndjson", "--from", "2026-05-16T16:03:00Z", "--to", "2026-05-16T16:04:00Z")
	var row map[string]any
	if err := json.Unmarshal([]byte(out), &row); err != nil {
		t.Fatal(err)
	}
	for column, want := range map[string]any{
		"event_id": "fix", "kind": "correction", "corrects": "a", "timestamp": "2026-05-16T16:03:00Z", "customer": "acme", "user_id": nil,
		"quantity": "-10", "cost": "-0.00003", "currency": "USD", "price": nil, "meter": usage.MeterTokensIn, "unit": "token",
	} {
		if row[column] != want {
			t.Errorf("%s is %v, not %v", column, row[column], want)
		}
	}
	if rows := f.mustRun("export", "--customer", "nobody"); strings.Count(rows, "\n") != 1 {
		t.Error(rows)
	}
}

func TestMistakesAreToldInOneLine(t *testing.T) {
	f := busy(t)
	empty := t.TempDir()
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"verify", "--from", "yesterday"}, `--from "yesterday" is none of`},
		{[]string{"verify", "--from", "2026-06", "--to", "2026-05"}, "--from is not before --to"},
		{[]string{"verify", "--from", "2026-05-16T16:00:00.0000001Z"}, "finer than a microsecond"},
		{[]string{"explain"}, "--customer says whose"},
		{[]string{"export", "--format", "xlsx"}, `--format "xlsx" is not csv, ndjson or parquet`},
		{[]string{"export", "--table", "feed"}, `--table "feed" is not events, rollups, runs or refused`},
		{[]string{"export", "--table", "rollups", "--from", "2026-05-16T16:30"}, "have to be whole hours"},
		{[]string{"rebuild-rollups"}, "--output names"},
		{[]string{"rebuild-rollups", "--output", empty, "--dimensions", "colour"}, `unknown dimension "colour"`},
		{[]string{"status", "--colour"}, "unknown flag"},
		{[]string{"nonsense"}, "unknown command"},
	} {
		out, err := f.run(c.args...)
		if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") || out != "" {
			t.Errorf("%s: %v\n%s", strings.Join(c.args, " "), err, out)
		}
	}
	for dir, says := range map[string]string{empty: "holds no ledger", filepath.Join(empty, "nowhere"): "is not there"} {
		f.dir = dir
		if _, err := f.run("status"); err == nil || !strings.Contains(err.Error(), says) {
			t.Error(err)
		}
	}
}

func TestACommandChangesNothing(t *testing.T) {
	f := busy(t)
	before := f.snapshot()
	for _, args := range [][]string{{"status"}, {"verify"}, {"explain", "--customer", "acme"}, {"explain", "--event", "a"}, {"export"}, {"mend-writers"}, {"rebuild-rollups", "--output", filepath.Join(t.TempDir(), "x")}} {
		f.mustRun(args...)
	}
	if after := f.snapshot(); !slices.Equal(before, after) {
		t.Errorf("%q\nwas\n%q", after, before)
	}
}

func (f *fixture) snapshot() (files []string) {
	_ = filepath.WalkDir(f.dir, func(path string, _ os.DirEntry, _ error) error {
		info, err := os.Stat(path)
		if err != nil {
			f.t.Fatal(err)
		}
		files = append(files, path+" "+info.ModTime().String())
		return nil
	})
	return files
}
