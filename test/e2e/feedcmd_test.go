package e2e

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// feedCommand runs `feed` on the collector's directory.
func (c *collector) feedCommand(args ...string) (out string, code int) {
	c.t.Helper()
	cmd := exec.Command(program(c.t), append([]string{"feed", "--directory", c.dir}, args...)...)
	text, _ := cmd.CombinedOutput()
	return string(text), cmd.ProcessState.ExitCode()
}

func (c *collector) wantFeed(want string, args ...string) string {
	c.t.Helper()
	out, code := c.feedCommand(args...)
	if code != 0 || !strings.Contains(out, want) {
		c.t.Fatalf("feed %s: exit %d, %q is not in\n%s", strings.Join(args, " "), code, want, out)
	}
	return out
}

func (c *collector) use(id, customer string, quantity int, at time.Time) {
	c.t.Helper()
	c.insist(c.api, "/v1/events", "application/json", "", fmt.Appendf(nil,
		`{"event_id":%q,"account_id":%q,"meter":"units","quantity":%d,"timestamp":%q}`, id, customer, quantity, at.Format(time.RFC3339)))
}

// A customer that has no name at Stripe, one that Stripe doesn't know, and a record that Stripe refuses hours after it took it: each is set aside with its reason, seen,
// mended and sent, and reconciliation says so before and after.
func TestWhatABillerRefusesIsSetAsideSeenAndSentAgain(t *testing.T) {
	names := filepath.Join(t.TempDir(), "customers.csv")
	mustWrite := func(text string) {
		t.Helper()
		if err := os.WriteFile(names, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mustWrite("acme,cus_acme\nodd,unwanted\n")
	reports := freePort(t)
	b := []*biller{{
		name: "stripe", kind: "stripe", per: 1,
		config: fmt.Sprintf(", api_key: key, meters: [{meter: units, name: tokens}], customers: {file: '%s'}, error_reports: {endpoint: %q, secret: whsec_reports}", names, reports),
	}}
	c := newCollector(t, "1s", "seal_after: 1s}", "seal_after: 1s, "+feedConfig(t, b, false)+"}")
	now := time.Now().UTC()
	c.use("a", "acme", 100, now)
	c.use("b", "nobody", 7, now)
	c.use("c", "odd", 5, now)
	eventually(t, 30*time.Second, "three records are settled", func() bool {
		out, _ := c.feedCommand("status", "--json")
		return strings.Contains(out, `"dead":2`) && strings.Contains(out, `"pending":0`)
	})
	out := c.wantFeed("unmapped_customer", "dead-letters")
	if !strings.Contains(out, "resource_missing") || !strings.Contains(out, "2 records") {
		t.Fatal(out)
	}
	if out, code := c.feedCommand("reconcile", "--receiver", "stripe"); code != 1 || strings.Count(out, "DIFFERS") != 2 {
		t.Fatalf("%d %s", code, out)
	}
	mustWrite("acme,cus_acme\nodd,cus_odd\nnobody,cus_nobody\n")
	c.wantFeed("1 records are sent again", "retry", "--reason", "unmapped_customer")
	eventually(t, 30*time.Second, "nobody's record is delivered", func() bool {
		out, _ := c.feedCommand("status", "--json")
		return strings.Contains(out, `"dead":1`) && strings.Contains(out, `"pending":0`)
	})
	if out, code := c.feedCommand("retry", "--id", "ubx_unknown"); code == 0 || !strings.Contains(out, "no record that was set aside has the id") {
		t.Fatalf("%d %s", code, out)
	}
	// The other was refused, so nobody has it: it goes again under the name that its customer has by now.
	c.wantFeed("1 records are sent again", "retry", "--reason", "resource_missing")
	eventually(t, 30*time.Second, "odd's record is delivered", func() bool {
		out, _ := c.feedCommand("status", "--json")
		return strings.Contains(out, `"dead":0`) && strings.Contains(out, `"pending":0`)
	})

	// Stripe finds out later that the first one is wrong, and says so twice.
	var first struct{ ID string }
	line, _, _ := bytes.Cut(mustRead(t, c.dir+"/feed/stripe/*.ndjson"), []byte("\n"))
	if err := json.Unmarshal(line, &first); err != nil {
		t.Fatal(err)
	}
	report := fmt.Sprintf(`{"id":"evt_1","object":"v2.core.event","type":"v1.billing.meter.error_report_triggered","data":{"reason":{"error_count":1,"error_types":[
		{"code":"archived_meter","error_count":1,"sample_errors":[{"error_message":"the meter is archived","request":{"identifier":%q}}]}]}}}`, first.ID)
	if status := postReport(t, reports, report, "whsec_other"); status != http.StatusUnauthorized {
		t.Fatalf("a report with another signature is answered with %d", status)
	}
	for range 2 {
		if status := postReport(t, reports, report, "whsec_reports"); status != http.StatusOK {
			t.Fatalf("a report is answered with %d", status)
		}
	}
	c.wantFeed("archived_meter", "dead-letters")
	c.wantFeed(`"dead":1`, "status", "--json")
	lines := bytes.Count(mustRead(t, c.dir+"/feed/stripe/*.ndjson"), []byte("\n"))
	c.kill()
	c.start()
	c.wantFeed("1 records are sent again", "retry", "--id", first.ID)
	eventually(t, 30*time.Second, "it is delivered again", func() bool {
		out, _ := c.feedCommand("status", "--json")
		return strings.Contains(out, `"dead":0`) && strings.Contains(out, `"pending":0`)
	})
	if status := postReport(t, reports, report, "whsec_reports"); status != http.StatusOK {
		t.Fatalf("a report is answered with %d", status)
	}
	c.wantFeed(`"dead":0`, "status", "--json") // told once more, of what was sent again since
	if n := bytes.Count(mustRead(t, c.dir+"/feed/stripe/*.ndjson"), []byte("\n")); n != lines {
		t.Fatalf("a record that was sent again has a second line: %d, %d before", n, lines)
	}
	if out, code := c.feedCommand("reconcile", "--receiver", "stripe", "--ask=false"); code != 0 {
		t.Fatalf("%d %s", code, out)
	}
	if strings.Contains(c.log.String(), "whsec_reports") || strings.Contains(c.log.String(), "Bearer") {
		t.Error("a secret is in the log")
	}
}

func mustRead(t *testing.T, pattern string) (all []byte) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %v, %v", pattern, files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, text...)
	}
	return all
}

func postReport(t *testing.T, address, body, secret string) (status int) {
	t.Helper()
	at := time.Now().Unix()
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "%d.%s", at, body)
	q, err := http.NewRequest(http.MethodPost, "http://"+address+"/", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Stripe-Signature", fmt.Sprintf("t=%d,v1=%s", at, hex.EncodeToString(mac.Sum(nil))))
	res, err := httpClient.Do(q)
	if err != nil {
		return 0 // nobody is there
	}
	_ = res.Body.Close()
	return res.StatusCode
}

// A receiver that is added later begins in its hour; replay sends it what came before, once; preview says beforehand what it will be.
func TestAReceiverThatComesLaterRepeatsNothingUntilItIsTold(t *testing.T) {
	c := newCollector(t, "1s")
	hour := time.Now().UTC().Truncate(time.Hour)
	c.use("a", "acme", 100, hour.Add(-3*time.Hour))
	c.use("b", "acme", 20, hour)
	db := c.database()
	eventually(t, 30*time.Second, "the ledger has both", func() bool {
		return db.one("SELECT CAST(sum(quantity) AS BIGINT) FROM "+db.from("rollups")) == "120"
	})
	c.stop()
	if out, code := c.feedCommand("status"); code == 0 || !strings.Contains(out, "no billing feed has run on this ledger") {
		t.Fatalf("%d %s", code, out)
	}
	text, err := os.ReadFile(c.config)
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.Replace(text, []byte("seal_after: 1s}"), []byte("seal_after: 1s, feed: {every: 1s, receivers: {file: {}}}}"), 1)
	if err := os.WriteFile(c.config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	c.start()
	sum := func() string {
		files, _ := filepath.Glob(c.dir + "/feed/file/*.ndjson")
		if len(files) == 0 {
			return "no file"
		}
		return db.one("SELECT CAST(sum(CAST(quantity AS DECIMAL(38,6))) AS BIGINT) FROM read_json('" + c.dir + "/feed/file/*.ndjson', columns = {quantity: 'VARCHAR'})")
	}
	eventually(t, 30*time.Second, "the present hour is sent", func() bool { return sum() == "20" })
	c.wantFeed("0 records", "preview", "--receiver", "file")
	c.wantFeed("hours before "+hour.Format(time.RFC3339)+" are not sent to file, and were not compared", "reconcile", "--receiver", "file")
	if out, code := c.feedCommand("reconcile", "--receiver", "file", "--from", hour.Format(time.RFC3339), "--to", hour.Add(-time.Hour).Format(time.RFC3339)); code != 1 || !strings.Contains(out, "nothing was compared") {
		t.Fatalf("%d %s", code, out)
	}
	from := hour.Add(-5 * time.Hour).Format(time.RFC3339)
	c.wantFeed("sent all hours from", "replay", "--receiver", "file", "--from", from)
	eventually(t, 30*time.Second, "the earlier hour is sent", func() bool { return sum() == "120" })
	c.kill()
	c.start()
	c.use("c", "acme", 1, hour.Add(-3*time.Hour))
	eventually(t, 30*time.Second, "late usage is sent", func() bool { return sum() == "121" })
	c.wantFeed(" 0 differ", "reconcile", "--receiver", "file")

	// The same is said while the collector is down, and what it is told then is done when it is up.
	running := c.wantFeed(`"receiver":"file"`, "status", "--json")
	c.stop()
	if stopped := c.wantFeed(`"receiver":"file"`, "status", "--json"); stopped != running {
		t.Fatalf("while it runs:\n%safter:\n%s", running, stopped)
	}
	c.wantFeed(" 0 differ", "reconcile", "--receiver", "file")
	c.wantFeed("0 records", "dead-letters")
	c.wantFeed("0 records", "preview", "--receiver", "file")
	c.start()
	if out, code := c.feedCommand("status", "--json"); code != 0 || out != running {
		t.Fatalf("while it runs again, %d:\n%s", code, out)
	}
}
