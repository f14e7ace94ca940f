package e2e

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// repriceWith runs `reprice` over a ledger to its end.
func repriceWith(t *testing.T, dir, rates string, more ...string) string {
	t.Helper()
	out, code := run(t, filepath.Dir(dir), append([]string{"reprice", "--ledger", dir, "--from", "2026-05", "--to", "2026-07", "--catalog", rates}, more...)...)
	if code != 0 {
		t.Fatalf("reprice ended with %d:\n%s", code, out)
	}
	return out
}

// killReprice kills a run when it has told of its progress so often, or when it has begun.
func killReprice(t *testing.T, lines int, args ...string) {
	t.Helper()
	cmd := exec.Command(program(t), append([]string{"reprice"}, args...)...)
	progress, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	scanner := bufio.NewScanner(progress)
	for range lines {
		scanner.Scan()
	}
	if lines <= 0 {
		time.Sleep(200 * time.Millisecond) // any moment will do
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

var inForce = regexp.MustCompile(`(?m)^(\d+) corrections? (is|are) in force$`)

// Killed at any moment and run again, as often as one likes, it comes to the same amounts: those of the new catalogue.
func TestRepricingThatIsKilledAndRunAgainIsExact(t *testing.T) {
	const events = 4000
	old, rates := write(t, ratesText(2)), write(t, ratesText(5))
	c := newCollector(t, "1s", "pricing: {", "pricing: {catalog: "+old+", ")
	for n := range events / 1000 {
		var list []string
		for i := range 1000 {
			meter := "units"
			if i%100 == 0 {
				meter = "others" // without a rate in either catalogue
			}
			at := turning.Add(time.Duration(i%7-3)*time.Hour + time.Duration(n)*time.Minute)
			list = append(list, fmt.Sprintf(`{"event_id":"e-%d-%d","account_id":"customer%d","meter":%q,"quantity":"%d.000001","timestamp":%q}`, n, i, i%5, meter, i+1, at.Format(time.RFC3339)))
		}
		c.insist(c.api, "/v1/events", "application/json", "", []byte("["+strings.Join(list, ",")+"]"))
	}
	eventually(t, 20*time.Second, "hours are sealed", func() bool { return c.metric("otelcol_usagebox_ledger_sealed_parts") > 0 })
	c.stop()
	if out := repriceWith(t, c.dir, old); !strings.Contains(out, fmt.Sprintf("%d events, 0 differ by", events)) {
		t.Fatalf("by the catalogue in force: %s", out)
	}
	copyOf := func(name string) *database {
		dir := filepath.Join(t.TempDir(), name)
		if out, err := exec.Command("cp", "-a", c.dir, dir).CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, out)
		}
		d := (&collector{t: t, dir: dir}).database()
		return d
	}

	whole := copyOf("whole")
	dry := repriceWith(t, whole.dir, rates)
	applied := repriceWith(t, whole.dir, rates, "--apply")
	m := inForce.FindStringSubmatch(applied)
	if m == nil || !strings.HasSuffix(applied, dry+m[0]+"\n") {
		t.Fatalf("the dry run told\n%s\nand what was applied is\n%s", dry, applied)
	}
	all, _ := strconv.Atoi(m[1])
	if want := events - events/100; all != want {
		t.Fatalf("%d corrections, want %d", all, want)
	}
	if wrong := whole.query(fmt.Sprintf(`SELECT target, sum(cost), any_value(due) FROM (
			SELECT customer, coalesce(corrects, event_id) AS target, cost, CASE WHEN kind = 'usage' THEN quantity * (CASE WHEN timestamp < TIMESTAMP '2026-06-01' THEN 5 ELSE 1005 END) / 1000000 END AS due
			FROM %s WHERE meter = 'units') GROUP BY customer, target HAVING sum(cost)::DECIMAL(38,12) <> sum(due)::DECIMAL(38,12)`, whole.from("events"))); len(wrong) > 0 {
		t.Fatalf("%d events are not at the new rates, the first: %v", len(wrong), wrong[0])
	}
	want := whole.charges()

	partly := 0
	const tries = 4
	for try := range tries {
		d := copyOf(fmt.Sprint("try", try))
		for again := range 2 {
			killReprice(t, try-again, "--ledger", d.dir, "--from", "2026-05", "--to", "2026-07", "--catalog", rates, "--apply")
		}
		m := inForce.FindStringSubmatch(repriceWith(t, d.dir, rates, "--apply"))
		if rest, _ := strconv.Atoi(m[1]); rest > 0 && rest < all {
			partly++
		}
		for _, again := range [][]string{nil, {"--apply"}} {
			if out := repriceWith(t, d.dir, rates, again...); !strings.Contains(out, fmt.Sprintf("%d events, 0 differ by", events)) {
				t.Fatalf("applied again: %s", out)
			}
		}
		if got := d.charges(); got != want {
			t.Fatalf("killed and run again it comes to %s, want %s", got, want)
		}
		if err := os.RemoveAll(d.dir); err != nil {
			t.Fatal(err)
		}
	}
	if partly == 0 {
		t.Error("no run was killed in the middle")
	}
	t.Logf("%d corrections, %d of %d killed runs had put a part of them into force", all, partly, tries)

	// The collector goes on with this ledger, and it is sound.
	c.dir = whole.dir
	if out, code := run(t, whole.dir, "ledger", "verify", "--directory", whole.dir); code != 0 {
		t.Errorf("ledger verify: %s", out)
	}
}
