package e2e

import (
	"bufio"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// run runs the program in a folder until it ends.
func run(t *testing.T, dir string, args ...string) (out string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, program(t), args...)
	cmd.Dir = dir
	text, _ := cmd.CombinedOutput()
	return string(text), cmd.ProcessState.ExitCode()
}

func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestTheDefaultConfigurationIsPrintedAndValid(t *testing.T) {
	out, code := run(t, t.TempDir(), "default-config")
	if code != 0 || !strings.Contains(out, "localhost:4317") || !strings.Contains(out, "directory: ./usage") {
		t.Fatalf("%d %s", code, out)
	}
	if out, code := run(t, t.TempDir(), "validate", "--config", write(t, out)); code != 0 {
		t.Fatalf("%d %s", code, out)
	}
	if out, code := run(t, t.TempDir(), "validate"); code != 0 {
		t.Fatalf("%d %s", code, out)
	}
	if out, code := run(t, t.TempDir(), "components"); code != 0 || !strings.Contains(out, "spanusage") || !strings.Contains(out, "kafka") {
		t.Fatalf("%d %s", code, out)
	}
}

// Every error of start is a line that names what is wrong, and the program ends with 1.
func TestErrorsOfStartAreALineThatNamesWhatToDo(t *testing.T) {
	const pipelines = `
receivers: {usage: {endpoint: "127.0.0.1:0"}, otlp: {protocols: {http: {endpoint: "127.0.0.1:0"}}}}
connectors: {spanusage: {}}
service:
  telemetry: {metrics: {level: none}}
  pipelines:
    traces: {receivers: [otlp], processors: [attribution], exporters: [spanusage]}
    logs: {receivers: [usage, spanusage], exporters: [usage]}
`
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	owner := newCollector(t, "1h")
	for name, q := range map[string]struct {
		config string
		want   []string
	}{
		"an empty directory":            {pipelines + "processors: {attribution: {directory: " + dir + "/a}}\nexporters: {usage: {directory: \"\"}}", []string{"directory", "empty"}},
		"an unknown key":                {pipelines + "processors: {attribution: {directory: " + dir + "/a, settel: {}}}\nexporters: {usage: {directory: " + dir + "/u}}", []string{"attribution", "settel"}},
		"a component of no known type":  {strings.Replace(pipelines, "connectors: {spanusage: {}}", "connectors: {spanusage: {}, spanusag: {}}", 1) + "processors: {attribution: {directory: " + dir + "/a}}\nexporters: {usage: {directory: " + dir + "/u}}", []string{`error: 'connectors' unknown type: "spanusag"`, "valid values: "}},
		"a component that is missing":   {pipelines + "processors: {attribution: {directory: " + dir + "/a}}\nexporters: {nop: {}}", []string{`error: invalid configuration: service::pipelines::logs: references exporter "usage" which is not configured`}},
		"no YAML":                       {"a: b: c", []string{"error: yaml: mapping values are not allowed"}},
		"a bad duration":                {pipelines + "processors: {attribution: {directory: " + dir + "/a, settle: {grace: soon}}}\nexporters: {usage: {directory: " + dir + "/u}}", []string{"'settle.grace' is no duration: write a number and a unit, such as 500ms, 2s, 10m or 24h"}},
		"a limit out of range":          {pipelines + "processors: {attribution: {directory: " + dir + "/a, max_value_bytes: 1}}\nexporters: {usage: {directory: " + dir + "/u}}", []string{"max_value_bytes is 1: it must be 32 to 1024"}},
		"a port in use":                 {strings.Replace(pipelines, `usage: {endpoint: "127.0.0.1:0"}`, `usage: {endpoint: "`+taken.Addr().String()+`"}`, 1) + "processors: {attribution: {directory: " + dir + "/a}}\nexporters: {usage: {directory: " + dir + "/u}}", []string{taken.Addr().String() + " is in use by another program: stop it, or set another endpoint"}},
		"a directory that is none":      {pipelines + "processors: {attribution: {directory: " + dir + "/a}}\nexporters: {usage: {directory: " + file + "/u}}", []string{file, "not a directory"}},
		"a directory of another":        {pipelines + "processors: {attribution: {directory: " + dir + "/a}}\nexporters: {usage: {directory: " + owner.dir + "}}", []string{"is in use by process", "stop it, or set another directory"}},
		"two users of a directory":      {strings.Replace(pipelines, "  pipelines:\n", "  pipelines:\n    traces/2: {receivers: [otlp], processors: [attribution], exporters: [spanusage]}\n", 1) + "processors: {attribution: {directory: " + dir + "/a}}\nexporters: {usage: {directory: " + dir + "/u}}", []string{"attribution's directory " + dir + "/a is in use by this process already"}},
		"a catalogue that is not there": {strings.Replace(pipelines, "spanusage], exporters", "spanusage], processors: [pricing], exporters", 1) + "processors: {attribution: {directory: " + dir + "/a}, pricing: {catalog: " + dir + "/none.yaml, directory: " + dir + "/c}}\nexporters: {usage: {directory: " + dir + "/u}}", []string{"none.yaml"}},
	} {
		t.Run(name, func(t *testing.T) {
			out, code := run(t, dir, "--config", write(t, q.config))
			if code != 1 {
				t.Fatalf("ended with %d:\n%s", code, out)
			}
			last := ""
			for line := range strings.Lines(strings.TrimSpace(out)) {
				if strings.Contains(line, "goroutine ") || strings.HasPrefix(line, "Usage:") {
					t.Fatalf("a stack, or the usage of commands:\n%s", out)
				}
				last = line
			}
			if !strings.HasPrefix(last, "error: ") {
				t.Fatalf("the last line is %q", last)
			}
			for _, w := range q.want {
				if !strings.Contains(last, w) {
					t.Fatalf("%q is not in %q", w, last)
				}
			}
		})
	}
}

// A newcomer's first minute: the program without arguments, in an empty folder.
// An operator who stops it while it starts gets the end that it always has: what has started is shut down, and the next start finds all in order.
func TestItIsStoppedInOrderWhileItStarts(t *testing.T) {
	c := newCollector(t, "1h")
	c.stop()
	for pause := time.Duration(0); pause < 60*time.Millisecond; pause += 5 * time.Millisecond {
		lines, w := io.Pipe()
		cmd := exec.Command(program(t), "--config", c.config)
		cmd.Stderr = w
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		said := make(chan string, 1)
		starting := make(chan struct{})
		go func() {
			var all strings.Builder
			for s, begun := bufio.NewScanner(lines), false; s.Scan(); {
				all.WriteString(s.Text() + "\n")
				if !begun && strings.Contains(s.Text(), "Starting ") {
					begun = true
					close(starting)
				}
			}
			said <- all.String()
		}()
		<-starting
		time.Sleep(pause) // how far it has come is the test's matter
		_ = cmd.Process.Signal(syscall.SIGTERM)
		err := cmd.Wait()
		_ = w.Close()
		if out := <-said; err != nil || strings.Contains(out, "\terror\t") {
			t.Errorf("stopped %v after it began to start: %v\n%s", pause, err, out)
		}
	}
	c.start()
	c.stop()
}

func TestTheFirstLinesSayWhereToSendAndHowToAsk(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := exec.CommandContext(ctx, program(t), "--config", "yaml:service::telemetry::metrics::level: none", "--config", writeDefault(t))
	cmd.Dir = dir
	log := filepath.Join(dir, "log")
	f, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = f, f
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "the first lines are there", func() bool {
		text, _ := os.ReadFile(log)
		for _, want := range []string{"Send spans by OTLP over gRPC to ", "Post events to http://", "The ledger is in ./usage", "FROM read_parquet('usage/rollups/**/*.parquet', hive_partitioning=true)"} {
			if !strings.Contains(string(text), want) {
				return false
			}
		}
		return true
	})
	cancel()
	_ = cmd.Wait()
}

// writeDefault is the default configuration on free ports.
func writeDefault(t *testing.T) string {
	t.Helper()
	out, _ := run(t, t.TempDir(), "default-config")
	for _, port := range []string{"4317", "4318", "8080", "13133"} {
		out = strings.ReplaceAll(out, "localhost:"+port, freePort(t))
	}
	return write(t, out)
}
