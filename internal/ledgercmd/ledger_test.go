package ledgercmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/usagebox/otelcol-usagebox/internal/ledger"
	"github.com/usagebox/otelcol-usagebox/usage"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/cockroachdb/pebble/v2/internal/cache.(*Shards).clean"))
}

// hour0 is 2026-05-16 16:00 UTC.
var hour0 = usage.MicrosOf(time.Date(2026, 5, 16, 16, 0, 0, 0, time.UTC)).Hour()

// fixture is a ledger directory with a writer whose rounds are made by hand.
type fixture struct {
	t   *testing.T
	dir string
	now time.Time

	retention ledger.Retention
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	return &fixture{t: t, dir: t.TempDir(), now: hour0.Start().Time().Add(30 * time.Minute)}
}

// write lets a writer take events, and makes parts; then, seal says so, the clock goes on by two hours and hours are sealed.
func (f *fixture) write(writer string, seal bool, events ...usage.Event) []usage.Rejection {
	f.t.Helper()
	l, err := ledger.Open(ledger.Options{
		Directory: f.dir, WriterID: writer, SealAfter: 15 * time.Minute, CorrectionWait: time.Hour,
		Clock: func() time.Time { return f.now }, Manual: true, Retention: f.retention,
	})
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			f.t.Fatal(err)
		}
	}()
	result, err := l.Append(context.Background(), events)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := l.Flush(context.Background()); err != nil {
		f.t.Fatal(err)
	}
	if seal {
		f.now = f.now.Add(2 * time.Hour)
		if err := l.Seal(context.Background()); err != nil {
			f.t.Fatal(err)
		}
	}
	f.now = f.now.Add(time.Second)
	f.writeStatus(l, writer)
	return result.Rejections
}

// writeStatus leaves the status that the ledger's own rounds leave.
func (f *fixture) writeStatus(l *ledger.Ledger, writer string) {
	f.t.Helper()
	st, err := l.StatusNow()
	if err != nil {
		f.t.Fatal(err)
	}
	text, err := json.Marshal(st)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(f.dir, "state", "writer="+writer, "status.json"), text, 0o644); err != nil {
		f.t.Fatal(err)
	}
}

// run runs the command and gives what it printed.
func (f *fixture) run(args ...string) (string, error) {
	f.t.Helper()
	cmd := NewCommand()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(append(args, "--directory", f.dir))
	err := cmd.Execute()
	return out.String(), err
}

func (f *fixture) mustRun(args ...string) string {
	f.t.Helper()
	out, err := f.run(args...)
	if err != nil {
		f.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (f *fixture) verify(args ...string) verifyReport {
	f.t.Helper()
	out, err := f.run(append([]string{"verify", "--json"}, args...)...)
	var r verifyReport
	if jsonErr := json.Unmarshal([]byte(out), &r); jsonErr != nil {
		f.t.Fatalf("%v: %v\n%s", err, jsonErr, out)
	}
	if r.OK != (err == nil) || err != nil && !errors.Is(err, ErrDifferences) {
		f.t.Fatalf("ok is %v, the error %v", r.OK, err)
	}
	return r
}

// files are the Parquet files of a tree.
func (f *fixture) files(tree string) []string {
	f.t.Helper()
	paths, err := filepath.Glob(filepath.Join(f.dir, tree, "*", "*", "*", "*.parquet"))
	if err != nil || len(paths) == 0 {
		f.t.Fatal(paths, err)
	}
	return paths
}

func (f *fixture) change(path string, change func([]byte) []byte) {
	f.t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(path, change(b), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

func event(id string, minute int, quantity int64) usage.Event {
	e := usage.Event{
		ID: id, Customer: "acme", Feature: "support", Model: "claude-4.5-sonnet", Source: usage.SourceAPI,
		Timestamp: hour0.Start() + usage.Micros(time.Duration(minute)*time.Minute/time.Microsecond),
		Lines: []usage.Line{{
			Meter: usage.MeterTokensIn, Quantity: usage.Units(quantity), Cost: usage.Charge{Amount: usage.Amount(quantity * 3_000_000), Currency: "USD", Rate: "1/sonnet"},
		}},
	}
	e.Normalize()
	return e
}

func correction(id, target string, minute int, delta int64) usage.Event {
	e := event(id, minute, delta)
	e.Kind, e.Corrects = usage.KindCorrection, target
	return e
}

// busy is a ledger with sealed hours, an open one, a late event, a correction and a refusal.
func busy(t *testing.T) *fixture {
	t.Helper()
	f := newFixture(t)
	f.write("main", true, event("a", 1, 100), event("b", 2, 50), correction("fix", "a", 3, -10), event("next", 70, 5))
	f.write("main", true, event("late", 4, 7))
	conflict := event("a", 1, 999)
	if rejected := f.write("main", false, event("open", 200, 1), conflict); len(rejected) != 1 {
		t.Fatal("not refused:", rejected)
	}
	return f
}

func TestAWholeLedgerIsFoundWhole(t *testing.T) {
	f := busy(t)
	r := f.verify()
	if !r.OK || r.Events != 6 || r.Parts != 4 || r.Sealed != 3 || r.Records != 3 {
		t.Fatalf("%+v", r)
	}
	if out := f.mustRun("verify", "--quick"); !strings.HasSuffix(out, "all is what it has to be\n") || strings.Count(out, "\n") != 1 {
		t.Fatal(out)
	}
	if r := f.verify("--from", "2026-05-16T17", "--to", "2026-05-16T18"); r.Events != 1 {
		t.Fatalf("%+v", r)
	}
}

func TestLatePartsThatWereMergedStandInTheChain(t *testing.T) {
	f := newFixture(t)
	f.write("main", true, event("first", 1, 10))
	const lates = 20
	for i := range lates {
		f.write("main", true, event(fmt.Sprint("late", i), 2, 1))
	}
	if n := len(f.files("events")); n != 1+2+4 {
		t.Fatalf("%d parts, want the first, two of eight and four", n)
	}
	r := f.verify()
	if !r.OK || r.Events != 1+lates || r.Sealed != 7 || r.Records != 1+lates+2+18 { // 18 daily parts, the first of four sealed parts
		t.Fatalf("%+v", r)
	}
	merged := f.files("events")[1]
	f.change(merged, func(b []byte) []byte { b[100] ^= 1; return b })
	if r := f.verify("--quick"); len(r.Problems) != 1 || r.Problems[0].Kind != kindChanged {
		t.Errorf("%+v, want the merged part as changed", r.Problems)
	}
	if err := os.Remove(merged); err != nil {
		t.Fatal(err)
	}
	if r := f.verify("--quick"); !slices.Contains(kinds(&r), kindMissing) {
		t.Errorf("%+v, want the merged part as missing", r.Problems)
	}
}

func kinds(r *verifyReport) []string {
	var kinds []string
	for _, p := range r.Problems {
		if !slices.Contains(kinds, p.Kind) {
			kinds = append(kinds, p.Kind)
		}
	}
	slices.Sort(kinds)
	return kinds
}

func TestVerifyFindsEachDamageAndNamesIt(t *testing.T) {
	sealed := func(f *fixture, tree string) string {
		for _, p := range f.files(tree) {
			if strings.Contains(p, sealedPrefix) {
				return p
			}
		}
		t.Fatal("nothing is sealed")
		return ""
	}
	unsealed := func(f *fixture, tree string) string {
		for _, p := range f.files(tree) {
			if !strings.Contains(p, sealedPrefix) {
				return p
			}
		}
		t.Fatal("all is sealed")
		return ""
	}
	chain := func(f *fixture) string { return filepath.Join(f.dir, "state", "writer=main", "chain.ndjson") }
	flip := func(b []byte) []byte { b[len(b)/2] ^= 4; return b }
	ofStore := func(f *fixture, pattern string) string {
		paths, err := filepath.Glob(filepath.Join(f.dir, "state", "writer=main", "store", pattern))
		if err != nil || len(paths) == 0 {
			t.Fatal(pattern, paths, err)
		}
		return paths[len(paths)-1]
	}
	for name, c := range map[string]struct {
		damage func(f *fixture)
		kinds  []string
		says   string
	}{
		"a flipped bit in sealed events":    {func(f *fixture) { f.change(sealed(f, "events"), flip) }, []string{kindChanged, kindUnreadable}, "SHA-256"},
		"a flipped bit in sealed rollups":   {func(f *fixture) { f.change(sealed(f, "rollups"), flip) }, []string{kindChanged, kindUnreadable}, "SHA-256"},
		"a flipped bit in an unsealed part": {func(f *fixture) { f.change(unsealed(f, "events"), flip) }, []string{kindUnreadable}, "corrupt"},
		"a sealed file is removed from all": {func(f *fixture) {
			for _, tree := range []string{"events", "runs", "rollups"} {
				_ = os.Remove(sealed(f, tree))
			}
		}, []string{kindMissing}, "is not there"},
		"sealed events are removed":    {func(f *fixture) { _ = os.Remove(sealed(f, "events")) }, []string{kindMissing, kindUnfinished}, "is not there"},
		"unsealed rollups are removed": {func(f *fixture) { _ = os.Remove(unsealed(f, "rollups")) }, []string{kindUnfinished}, "rollups/"},
		"the hour's folder is removed": {func(f *fixture) {
			for _, tree := range []string{"events", "runs", "rollups"} {
				_ = os.RemoveAll(filepath.Join(f.dir, tree, "date=2026-05-16", "hour=17"))
			}
		}, []string{kindMissing}, "1 event,"},
		"a record is changed": {func(f *fixture) {
			f.change(chain(f), func(b []byte) []byte { return bytes.Replace(b, []byte(`"events":3`), []byte(`"events":4`), 1) })
		}, []string{kindChain}, "SHA-256"},
		"the last record is cut off": {func(f *fixture) {
			f.change(chain(f), func(b []byte) []byte { return b[:bytes.LastIndexByte(b[:len(b)-1], '\n')+1] })
		}, []string{kindChain, kindUnfinished}, "2 records, 3 were written"},
		"the chain is removed": {func(f *fixture) { _ = os.Remove(chain(f)) }, []string{kindChain, kindUnfinished}, "0 records"},
		"a part is copied to another name": {func(f *fixture) {
			for _, tree := range []string{"events", "runs", "rollups"} {
				f.copy(unsealed(f, tree), filepath.Join(filepath.Dir(unsealed(f, tree)), "part-000000009999-000000009999.parquet"))
			}
		}, []string{kindTwice}, "counted it twice"},
		"a part is put into another hour": {func(f *fixture) {
			for _, tree := range []string{"events", "runs", "rollups"} {
				to := filepath.Join(f.dir, tree, "date=2026-05-17", "hour=03", "writer=main")
				_ = os.MkdirAll(to, 0o755)
				_ = os.Rename(unsealed(f, tree), filepath.Join(to, "part-1-1.parquet"))
			}
		}, []string{kindMisplaced}, "happened at"},
		"rollups of another part": {func(f *fixture) { f.copy(sealed(f, "rollups"), unsealed(f, "rollups")) }, []string{kindRollup}, "no event is summed by it"},
		"runs of another part": {func(f *fixture) {
			e := event("run", 1, 1)
			e.RunID = "4bf92f3577b34da6a3ce929d0e0e4736"
			o := newFixture(t)
			o.write("main", false, e)
			f.copy(o.files("runs")[0], unsealed(f, "runs"))
		}, []string{kindRun}, "has no events"},
		"a flipped bit in a table of the store":      {func(f *fixture) { f.change(ofStore(f, "*.sst"), flip) }, []string{kindUnreadable}, ".sst"},
		"a flipped bit in a log of the store":        {func(f *fixture) { f.change(ofStore(f, "*.log"), flip) }, []string{kindUnreadable}, ".log"},
		"a flipped bit in the manifest of the store": {func(f *fixture) { f.change(ofStore(f, "MANIFEST-*"), flip) }, []string{kindUnreadable}, "state/writer=main/store/MANIFEST-"},
		"a flipped bit in a table of ids":            {func(f *fixture) { f.change(ofStore(f, "../ids/*.ids"), flip) }, []string{kindUnreadable}, "state/writer=main/ids/"},
		"a flipped bit in a refusal": {func(f *fixture) {
			paths, err := filepath.Glob(filepath.Join(f.dir, "refused", "*", "*", "*.parquet"))
			if err != nil || len(paths) != 1 {
				t.Fatal(paths, err)
			}
			f.change(paths[0], flip)
		}, []string{kindUnreadable}, "refused/"},
		"a folder that is no hour": {func(f *fixture) {
			_ = os.MkdirAll(filepath.Join(f.dir, "events", "date=today", "hour=1", "writer=main"), 0o755)
		}, []string{kindMisplaced}, "YYYY-MM-DD"},
	} {
		t.Run(name, func(t *testing.T) {
			f := busy(t)
			c.damage(f)
			f.verifyFinds(t, c.kinds, c.says)
		})
	}
}

func (f *fixture) copy(from, to string) {
	f.t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o644); err != nil {
		f.t.Fatal(err)
	}
}

func TestACopyOfTheChainHasToBeItsBeginning(t *testing.T) {
	f := newFixture(t)
	f.write("main", true, event("a", 1, 100))
	chainFile := filepath.Join(f.dir, "state", "writer=main", "chain.ndjson")
	kept := filepath.Join(t.TempDir(), "kept.ndjson")
	f.copy(chainFile, kept)
	f.write("main", true, event("late", 2, 1))
	if r := f.verify("--chain", kept); !r.OK {
		t.Fatalf("%+v", r.Problems)
	}
	other := newFixture(t)
	other.write("main", true, event("b", 1, 100))
	if r := other.verify("--chain", kept); r.OK || !strings.Contains(r.Problems[0].Detail, "not the one that was copied") {
		t.Fatalf("%+v", r.Problems)
	}
}

func TestTheSameIDAtTwoWritersIsFoundAndMended(t *testing.T) {
	f := newFixture(t)
	f.write("a", true, event("once", 1, 100), event("twice", 2, 50))
	f.write("b", false, event("twice", 2, 50), event("other", 70, 1))
	r := f.verify()
	if got := kinds(&r); !slices.Equal(got, []string{kindTwice}) || len(r.Problems) != 1 || r.Problems[0].Writer != "b" {
		t.Fatalf("%+v", r.Problems)
	}
	if r.Hours != 2 || r.Parts != 3 {
		t.Errorf("%d parts in %d hours, want 3 in 2", r.Parts, r.Hours)
	}
	if out := f.mustRun("mend-writers"); !strings.Contains(out, "1 event is counted by two writers, 1 to be retracted") {
		t.Fatal(out)
	}
	if out := f.mustRun("mend-writers", "--writer", "a"); out != "" {
		t.Fatal(out)
	}
	line := f.mustRun("mend-writers", "--writer", "b")
	var retraction mendLine
	if err := json.Unmarshal([]byte(line), &retraction); err != nil {
		t.Fatal(err)
	}
	if line != f.mustRun("mend-writers", "--writer", "b") {
		t.Error("the plan changes")
	}
	e := event(retraction.EventID, 2, 0)
	e.Kind, e.Corrects, e.Lines = usage.KindRetraction, retraction.Corrects, nil
	if rejected := f.write("b", false, e); len(rejected) > 0 {
		t.Fatal(rejected)
	}
	if r := f.verify(); !r.OK {
		t.Fatalf("%+v", r.Problems)
	}
	if out := f.mustRun("mend-writers"); !strings.Contains(out, "0 to be retracted") {
		t.Fatal(out)
	}
	if out := f.mustRun("mend-writers", "--writer", "b"); out != "" {
		t.Fatal(out)
	}
	var explained explainReport
	if err := json.Unmarshal([]byte(f.mustRun("explain", "--customer", "acme", "--to", "2026-05-16T17", "--json")), &explained); err != nil {
		t.Fatal(err)
	}
	if explained.Totals[0].Quantity != "150" || !explained.Agree {
		t.Errorf("%+v", explained.Totals[0])
	}
}

func TestManyMoreIDsThanFitIntoMemoryAreCompared(t *testing.T) {
	x := newIDIndex()
	defer x.close()
	x.memory = make([]uint64, 0, 10)
	for i := range uint64(1000) {
		if err := x.add([]uint64{i << 50, i<<50 | 1}); err != nil {
			t.Fatal(err)
		}
		if i == 100 {
			if err := x.spill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := x.add([]uint64{7 << 50, 999<<50 | 1}); err != nil {
		t.Fatal(err)
	}
	repeated, err := x.repeated()
	if err != nil || len(repeated) != 2 || !repeated[7<<50] || !repeated[999<<50|1] {
		t.Fatal(repeated, err)
	}
}

// load is twenty events of several hours that no other call of load gives.
func load(n, i int) (events []usage.Event) {
	for k := range 20 {
		events = append(events, event(fmt.Sprintf("load-%d-%d-%d", n, i, k), 30*(n%6)+k, int64(k)))
	}
	return events
}

// verifyFinds checks that verify finds problems of these kinds and no others, one of which says something.
func (f *fixture) verifyFinds(t *testing.T, want []string, says string) {
	t.Helper()
	r := f.verify()
	if got := kinds(&r); !slices.Equal(got, want) {
		t.Errorf("%q, not %q: %+v", got, want, r.Problems)
	}
	if !slices.ContainsFunc(r.Problems, func(p problem) bool { return strings.Contains(p.File+p.Detail, says) }) {
		t.Errorf("nothing says %q: %+v", says, r.Problems)
	}
}
