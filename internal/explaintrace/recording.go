package explaintrace

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/usagebox/otelcol-usagebox/internal/attribution"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// recording is requests as they were sent.
type recording struct {
	traces []ptrace.Traces
	logs   []plog.Logs
}

// maxFile is how much of one file is read, unpacked.
const maxFile = 1 << 30

func readFiles(in io.Reader, names []string) (*recording, error) {
	r := &recording{}
	for _, name := range names {
		if err := r.readFile(in, name); err != nil {
			return nil, err
		}
	}
	if len(r.traces) == 0 && len(r.logs) == 0 {
		return nil, errors.New("no spans are in what was read")
	}
	return r, nil
}

func (r *recording) readFile(in io.Reader, name string) error {
	title := name
	if name == "-" {
		title = "standard input"
	} else {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	b := bufio.NewReader(in)
	if magic, _ := b.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(b)
		if err != nil {
			return fmt.Errorf("%s: %w", title, err)
		}
		b = bufio.NewReader(z)
	}
	text, err := io.ReadAll(io.LimitReader(b, maxFile+1))
	if err != nil {
		return fmt.Errorf("%s: %w", title, err)
	}
	if len(text) > maxFile {
		return fmt.Errorf("%s: more than %d bytes", title, maxFile)
	}
	if err := r.add(text); err != nil {
		return fmt.Errorf("%s: %w", title, err)
	}
	return nil
}

func (r *recording) add(text []byte) error {
	trimmed := bytes.TrimSpace(text)
	if len(trimmed) == 0 {
		return errors.New("is empty")
	}
	if trimmed[0] != '{' {
		return r.addProto(text)
	}
	if first, _, more := bytes.Cut(trimmed, []byte("\n")); !more || !json.Valid(first) {
		return r.addJSON(trimmed)
	}
	for i, line := range bytes.Split(trimmed, []byte("\n")) {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		if err := r.addJSON(line); err != nil {
			return fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	return nil
}

func (r *recording) addJSON(text []byte) error {
	if bytes.Contains(text[:min(len(text), 200)], []byte(`"resourceLogs"`)) {
		q := plogotlp.NewExportRequest()
		if err := q.UnmarshalJSON(text); err != nil {
			return fmt.Errorf("not OTLP JSON: %w", err)
		}
		r.logs = append(r.logs, q.Logs())
		return nil
	}
	q := ptraceotlp.NewExportRequest()
	if err := q.UnmarshalJSON(text); err != nil {
		return fmt.Errorf("not OTLP JSON: %w", err)
	}
	if q.Traces().ResourceSpans().Len() > 0 {
		r.traces = append(r.traces, q.Traces())
	}
	return nil
}

// addProto takes protobuf, which doesn't say whether it is spans or logs: spans have ids and names, so what has no such spans is logs.
func (r *recording) addProto(text []byte) error {
	q := ptraceotlp.NewExportRequest()
	err := q.UnmarshalProto(text)
	if err == nil && hasSpans(q.Traces()) {
		r.traces = append(r.traces, q.Traces())
		return nil
	}
	l := plogotlp.NewExportRequest()
	if logErr := l.UnmarshalProto(text); logErr == nil && l.Logs().LogRecordCount() > 0 {
		r.logs = append(r.logs, l.Logs())
		return nil
	}
	if err == nil {
		err = errors.New("no spans in it")
	}
	return fmt.Errorf("neither OTLP JSON nor OTLP protobuf: %w", err)
}

func hasSpans(td ptrace.Traces) bool {
	for _, rs := range td.ResourceSpans().All() {
		for _, ss := range rs.ScopeSpans().All() {
			for _, s := range ss.Spans().All() {
				if !s.SpanID().IsEmpty() && !s.TraceID().IsEmpty() {
					return true
				}
			}
		}
	}
	return false
}

// facts reads the whole recording; a recording has no time of arrival, so no clock is corrected.
func (r *recording) facts(reader *attribution.Reader) (facts []attribution.Fact) {
	const never = usage.Micros(math.MaxInt64 / 2)
	for _, td := range r.traces {
		facts = append(facts, reader.Read(td, never)...)
	}
	for _, ld := range r.logs {
		facts = append(facts, reader.ReadLogs(ld, never)...)
	}
	return facts
}

func (r *recording) writeRedacted(reader *attribution.Reader, out io.Writer) error {
	all := ptrace.NewTraces()
	for _, td := range r.traces {
		reader.Redact(td)
		td.ResourceSpans().MoveAndAppendTo(all.ResourceSpans())
	}
	if all.SpanCount() > 0 {
		text, err := (&ptrace.JSONMarshaler{}).MarshalTraces(all)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(out, "%s\n", text); err != nil {
			return err
		}
	}
	logs := plog.NewLogs()
	for _, ld := range r.logs {
		reader.RedactLogs(ld)
		ld.ResourceLogs().MoveAndAppendTo(logs.ResourceLogs())
	}
	if logs.LogRecordCount() == 0 {
		return nil
	}
	text, err := (&plog.JSONMarshaler{}).MarshalLogs(logs)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s\n", text)
	return err
}
