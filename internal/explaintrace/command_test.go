package explaintrace

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/usagebox/otelcol-usagebox/internal/attribution"
	"github.com/usagebox/otelcol-usagebox/internal/tracestore"
	"github.com/usagebox/otelcol-usagebox/usage"
)

const recordings = "../../test/testdata/captures"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func explained(t *testing.T, in string, args ...string) (string, error) {
	t.Helper()
	cmd := NewCommand()
	var out bytes.Buffer
	cmd.SetIn(strings.NewReader(in))
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(args)
	err := cmd.Execute()
	return out.String(), err
}

func requests(t *testing.T, name string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(recordings, name, "requests"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, path)
		}
		return err
	})
	if err != nil || len(files) == 0 {
		t.Fatalf("no requests of %s: %v", name, err)
	}
	return files
}

func tracesOf(t *testing.T, text string) []Trace {
	t.Helper()
	var traces []Trace
	if err := json.Unmarshal([]byte(text), &traces); err != nil {
		t.Fatal(err)
	}
	return traces
}

func TestATraceIsShownWithVerdictsReasonsEventsAndTotals(t *testing.T) {
	out, err := explained(t, "", requests(t, "ai-sdk-6")...)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"trace ", " call \"ai.", "because: a model call that reports its tokens", "wrapper", "read as: ", "customer=acme from ", "totals", "llm_requests", "cache: "} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
}

// What is left after redaction is decided as the whole, and holds no text of the contents.
func TestARedactedRecordingIsDecidedAsTheWholeAndHasNoContents(t *testing.T) {
	dirs, err := os.ReadDir(recordings)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		if !d.IsDir() {
			continue
		}
		t.Run(d.Name(), func(t *testing.T) {
			logged := false // the ids of log records are made of their contents
			var files []string
			for _, f := range requests(t, d.Name()) {
				if b, err := os.ReadFile(f); err == nil && !bytes.Contains(b[:min(300, len(b))], []byte("resourceMetrics")) {
					files = append(files, f)
					logged = logged || bytes.Contains(b[:min(300, len(b))], []byte("resourceLogs"))
				}
			}
			whole, err := explained(t, "", append(files, "--json")...)
			if err != nil {
				t.Fatal(err)
			}
			redacted, err := explained(t, "", append(files, "--redact")...)
			if err != nil {
				t.Fatal(err)
			}
			for _, content := range []string{"refund for order", "You are", "Ticket", "ticket text", "acme", "globex"} {
				if strings.Contains(redacted, content) {
					t.Errorf("%q is still in it", content)
				}
			}
			again, err := explained(t, redacted, "-", "--json")
			if err != nil {
				t.Fatal(err)
			}
			a, b := tracesOf(t, whole), tracesOf(t, again)
			if len(a) != len(b) {
				t.Fatalf("%d traces, redacted %d", len(a), len(b))
			}
			for i := range a {
				if !slices.EqualFunc(a[i].Events, b[i].Events, func(x, y Event) bool {
					return (x.ID == y.ID || logged) && mapsEqual(x.Meters, y.Meters) && x.Model == y.Model && slices.Equal(x.Flags, y.Flags)
				}) {
					t.Errorf("trace %s makes other events when it is redacted:\n%+v\n%+v", a[i].TraceID, a[i].Events, b[i].Events)
				}
			}
		})
	}
}

func mapsEqual(a, b map[string]string) bool {
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return len(a) == len(b)
}

func TestTheFactsOfARunningCollectorAreReadBesideIt(t *testing.T) {
	directory := t.TempDir()
	store, err := tracestore.Open(tracestore.Options{Directory: directory})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	f := attribution.Fact{Place: attribution.Place{Trace: attribution.TraceID{1}, Span: attribution.SpanID{2}}, Role: attribution.RoleCall, Model: "gpt-4o", Name: "chat gpt-4o", End: 1}
	f.Usage.Has, f.Usage.N[attribution.FieldInput] = 1<<attribution.FieldInput, 7
	if err := store.Append([]tracestore.Arrival{{Trace: f.Trace, Facts: []attribution.Fact{f}}}, usage.Micros(1)); err != nil {
		t.Fatal(err)
	}
	out, err := explained(t, "", "--state", directory, f.Trace.String())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out, "llm_tokens_in=7") {
		t.Errorf("the call is missing in\n%s", out)
	}
	if err := store.Append([]tracestore.Arrival{{Trace: attribution.TraceID{3}, Facts: []attribution.Fact{f}}}, usage.Micros(2)); err != nil {
		t.Errorf("its owner can't write any more: %v", err)
	}
	if _, err := explained(t, "", "--state", directory, strings.Repeat("ab", 16)); err == nil || !strings.Contains(err.Error(), "no span of trace abab") {
		t.Errorf("error of an unknown trace is %v", err)
	}
}

func TestErrorsSayWhatIsWrongInOneLine(t *testing.T) {
	garbage := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(garbage, []byte("no telemetry"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "name a file"},
		{[]string{"/does/not/exist"}, "no such file"},
		{[]string{garbage}, "neither OTLP JSON nor OTLP protobuf"},
		{[]string{"--state", t.TempDir(), "00"}, "is no directory of attribution"},
		{[]string{"--dimension", "customer", garbage}, `--dimension "customer": expected NAME=ATTRIBUTE`},
		{[]string{"--state", "x", "--redact", "y"}, "--redact needs a recording"},
		{[]string{"--frobnicate"}, "unknown flag"},
		{[]string{"-"}, "standard input: is empty"},
	} {
		_, err := explained(t, "", c.args...)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v: error is %v, want %q in one line", c.args, err, c.want)
		}
	}
}
