// Package e2e holds the built program to what its users are told: real spans and posted events in, DuckDB over the ledger out.
package e2e

import (
	"bytes"
	"database/sql"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "github.com/duckdb/duckdb-go/v2"
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

func program(t *testing.T) string {
	t.Helper()
	binary, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

// collector is the program with a directory and ports of its own. It can be killed and started again.
type collector struct {
	t        *testing.T
	dir      string
	grpc     string
	http     string
	api      string
	metrics  string
	config   string
	log      *bytes.Buffer
	cmd      *exec.Cmd
	finished chan struct{}
}

const configTemplate = `
receivers:
  otlp: {protocols: {grpc: {endpoint: %[2]q}, http: {endpoint: %[3]q}}}
  usage: {endpoint: %[4]q}
processors:
  attribution:
    directory: '%[1]s/state/attribution'
    settle: {grace: 300ms, idle: 2s, max_wait: 20s}
  dedupe: {directory: '%[1]s/state/dedupe'}
  pricing: {directory: '%[1]s/state/catalogs'}
connectors: {spanusage: {}}
exporters:
  usage: {directory: '%[1]s', flush_interval: 200ms, seal_after: %[6]s}
service:
  telemetry:
    resource: {}
    metrics: {readers: [{pull: {exporter: {prometheus: {host: localhost, port: %[5]s}}}}]}
  pipelines:
    traces: {receivers: [otlp], processors: [attribution], exporters: [spanusage]}
    logs: {receivers: [usage, spanusage], processors: [dedupe, pricing], exporters: [usage]}
`

// newCollector starts the program with the template's configuration, in which old and new texts of replace take turns.
func newCollector(t *testing.T, sealAfter string, replace ...string) *collector {
	t.Helper()
	c := &collector{t: t, dir: filepath.Join(t.TempDir(), "usage"), log: &bytes.Buffer{}}
	for _, to := range []*string{&c.grpc, &c.http, &c.api, &c.metrics} {
		*to = freePort(t)
	}
	_, port, _ := net.SplitHostPort(c.metrics)
	c.config = filepath.Join(t.TempDir(), "config.yaml")
	text := fmt.Sprintf(configTemplate, c.dir, c.grpc, c.http, c.api, port, sealAfter)
	text = strings.NewReplacer(replace...).Replace(text)
	if err := os.WriteFile(c.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.kill()
		if t.Failed() {
			t.Logf("the collector's log:\n%s", tail(c.log.String(), 4000))
		}
	})
	c.start()
	return c
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (c *collector) start() {
	c.t.Helper()
	c.cmd = exec.Command(program(c.t), "--config", c.config)
	c.cmd.Stdout, c.cmd.Stderr = c.log, c.log
	if err := c.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	finished := make(chan struct{})
	c.finished = finished
	cmd := c.cmd
	go func() {
		_ = cmd.Wait()
		close(finished)
	}()
	eventually(c.t, 60*time.Second, "the collector listens", func() bool {
		select {
		case <-finished:
			c.t.Fatalf("the collector ended:\n%s", tail(c.log.String(), 4000))
		default:
		}
		for _, address := range []string{c.http, c.api} {
			conn, err := net.DialTimeout("tcp", address, time.Second)
			if err != nil {
				return false
			}
			_ = conn.Close()
		}
		return true
	})
}

// kill ends the program as a power cut does, as far as a process sees it.
func (c *collector) kill() {
	if c.cmd != nil && c.cmd.Process != nil {
		_ = c.cmd.Process.Kill()
		<-c.finished
		c.cmd = nil
	}
}

// stop ends the program as an operator does, and wants it to end well.
func (c *collector) stop() {
	c.t.Helper()
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.finished:
	case <-time.After(60 * time.Second):
		c.t.Fatal("the collector does not stop")
	}
	if code := c.cmd.ProcessState.ExitCode(); code != 0 {
		c.t.Fatalf("the collector ended with %d:\n%s", code, tail(c.log.String(), 4000))
	}
	c.cmd = nil
}

func eventually(t *testing.T, within time.Duration, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); ; {
		if done() {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %s still not: %s", within, what)
		}
		time.Sleep(20 * time.Millisecond) // between looks at another process
	}
}

var httpClient = &http.Client{Timeout: 20 * time.Second}

// post sends a body; an error or an answer that asks for it again is ok = false.
func (c *collector) post(address, path, contentType, encoding string, body []byte) (status int, answer string, ok bool) {
	q, err := http.NewRequest(http.MethodPost, "http://"+address+path, bytes.NewReader(body))
	if err != nil {
		c.t.Error(err)
		return 0, "", false
	}
	q.Header.Set("Content-Type", contentType)
	if encoding != "" {
		q.Header.Set("Content-Encoding", encoding)
	}
	res, err := httpClient.Do(q)
	if err != nil {
		return 0, err.Error(), false
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return res.StatusCode, err.Error(), false
	}
	return res.StatusCode, string(text), res.StatusCode/100 == 2
}

// insist sends until it is acknowledged, as clients do.
func (c *collector) insist(address, path, contentType, encoding string, body []byte) {
	for range 3000 {
		if _, _, ok := c.post(address, path, contentType, encoding, body); ok {
			return
		}
		time.Sleep(20 * time.Millisecond) // the collector is being started again
	}
	c.t.Error("a request was never acknowledged")
}

// database is DuckDB over the ledger, as its users have it.
type database struct {
	t   *testing.T
	db  *sql.DB
	dir string
}

func (c *collector) database() *database {
	c.t.Helper()
	db, err := sql.Open("duckdb", "")
	if err != nil {
		c.t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	c.t.Cleanup(func() { _ = db.Close() })
	return &database{c.t, db, c.dir}
}

// from is a table of the ledger.
func (d *database) from(table string) string {
	return fmt.Sprintf("read_parquet('%s/%s/**/*.parquet', hive_partitioning=true)", d.dir, table)
}

// query gives rows as text. Before there is a file there are no rows; a file that was exchanged meanwhile asks for another try.
func (d *database) query(q string) (rows [][]string) {
	d.t.Helper()
	for range 200 {
		rows, err := d.try(q)
		switch {
		case err == nil:
			return rows
		case strings.Contains(err.Error(), "No files found"):
			return nil
		case strings.Contains(err.Error(), "Cannot open file"):
			continue
		}
		d.t.Fatalf("%s: %v", q, err)
	}
	d.t.Fatalf("%s: the files never stay", q)
	return nil
}

func (d *database) try(q string) (out [][]string, err error) {
	rows, err := d.db.Query(q)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		values := make([]any, len(columns))
		for i := range values {
			values[i] = new(any)
		}
		if err := rows.Scan(values...); err != nil {
			return nil, err
		}
		row := make([]string, len(columns))
		for i := range values {
			if v := *values[i].(*any); v != nil {
				row[i] = fmt.Sprint(v)
			}
		}
		out = append(out, row)
	}
	return out, rows.Err()
}

// one is the only value of a query, as text.
func (d *database) one(q string) string {
	d.t.Helper()
	rows := d.query(q)
	if len(rows) == 0 {
		return ""
	}
	return rows[0][0]
}
