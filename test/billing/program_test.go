package billing

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var build = sync.OnceValues(func() (string, error) {
	if binary := os.Getenv("UBX_BINARY"); binary != "" {
		return binary, nil
	}
	binary, err := filepath.Abs("../../build/otelcol-usagebox")
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-o", binary, "./cmd/otelcol-usagebox")
	cmd.Dir = "../.."
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return binary, nil
})

const programConfig = `
receivers:
  otlp: {protocols: {http: {endpoint: %[2]q}}}
  usage: {endpoint: %[3]q}
processors:
  attribution: {directory: '%[1]s/state/attribution', settle: {grace: 100ms, idle: 200ms, max_wait: 1s}}
  dedupe: {directory: '%[1]s/state/dedupe'}
  pricing: {directory: '%[1]s/state/catalogs'}
connectors: {spanusage: {}}
exporters:
  usage: {directory: '%[1]s', feed: {receivers: {file: {}}}}
service:
  telemetry:
    metrics: {readers: [{pull: {exporter: {prometheus: {host: localhost, port: %[4]s}}}}]}
  pipelines:
    traces: {receivers: [otlp], processors: [attribution], exporters: [spanusage]}
    logs: {receivers: [usage, spanusage], processors: [dedupe, pricing], exporters: [usage]}
`

const span = `{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","name":"chat",
"startTimeUnixNano":"1795521600000000000","endTimeUnixNano":"1795521601000000000","attributes":[
{"key":"gen_ai.operation.name","value":{"stringValue":"chat"}},{"key":"gen_ai.request.model","value":{"stringValue":"nobody-knows-it"}},
{"key":"gen_ai.usage.input_tokens","value":{"intValue":"7"}}]}]}]}]}`

// rare are metrics of what can't be brought about here: a disk or a biller that fails. They are there from the first time on.
var rare = map[string]bool{
	"otelcol_usagebox_attribution_held": true, "otelcol_usagebox_attribution_outbox_failures": true, "otelcol_usagebox_feed_unnamed_errors": true,
	"otelcol_usagebox_ledger_failed": true, "otelcol_usagebox_ledger_failures": true,
}

// The program's /metrics has the metrics that alerts ask for, by these very names.
func TestTheProgramShowsTheMetricsOfAlerts(t *testing.T) {
	binary, err := build()
	if err != nil {
		t.Fatal(err)
	}
	var ports [3]string
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ports[i] = l.Addr().String()
		_ = l.Close()
	}
	_, metrics, _ := net.SplitHostPort(ports[2])
	config := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, programConfig, filepath.Join(t.TempDir(), "usage"), ports[0], ports[1], metrics), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command(binary, "--config", config)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the collector's log:\n%s", log.Bytes()[max(0, log.Len()-4000):])
		}
	})
	event := `{"event_id":"e","account_id":"acme","meter":"llm_tokens_in","model":"nobody-knows-it","quantity":%d,"timestamp":"2026-11-24T10:00:00Z"}`
	for _, send := range []struct{ url, body string }{
		{ports[0] + "/v1/traces", span},
		{ports[1] + "/v1/events", fmt.Sprintf(event, 1)},
		{ports[1] + "/v1/events", fmt.Sprintf(event, 2)},                  // a conflict
		{ports[1] + "/v1/events", `{"event_id":"f","account_id":"acme"}`}, // malformed
	} {
		eventually(t, "the collector answers at "+send.url, func() bool {
			answer, err := http.Post("http://"+send.url, "application/json", strings.NewReader(send.body))
			if err != nil {
				return false
			}
			_ = answer.Body.Close()
			return answer.StatusCode < 500
		})
	}
	wanted := map[string]bool{}
	for _, rule := range alerts(t) {
		for name := range names(t, rule.Expr) {
			if !rare[name] {
				wanted[name] = true
			}
		}
	}
	var missing []string
	eventually(t, "all metrics of alerts are there", func() bool {
		text := get("http://localhost:" + metrics + "/metrics")
		missing = nil
		for name := range wanted {
			if !regexp.MustCompile("(?m)^" + name + "[{ ]").MatchString(text) {
				missing = append(missing, name)
			}
		}
		return len(missing) == 0
	}, &missing)
}

func get(url string) string {
	answer, err := http.Get(url)
	if err != nil {
		return ""
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(answer.Body) // what is missing is asked for again
	return string(text)
}

// eventually waits for a condition, and tells what it knows when it never comes.
func eventually(t *testing.T, what string, is func() bool, known ...any) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never came that %s: %v", what, known)
		}
	}
}
