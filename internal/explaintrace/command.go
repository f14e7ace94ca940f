// Package explaintrace is the explain-trace command: what the spans of a trace were taken for, and why a bill says what it says. It reads
// recorded requests, or the facts that a collector keeps, beside it and without changing them.
package explaintrace

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/usagebox/otelcol-usagebox/internal/attribution"
)

const long = `Explain what the spans of a trace are counted as, and why.

FILE is a recorded OTLP request, JSON (also one a line, as the Collector's file exporter writes them) or protobuf, plain or gzipped; - is
standard input. Several files are one recording. With --state the facts that a collector keeps are read in place of files, beside it.`

// options is what the command is told.
type options struct {
	json       bool
	redact     bool
	state      string
	dialects   []string
	dimensions []string
	trace      string
}

// NewCommand is the command explain-trace. Its error is one line.
func NewCommand() *cobra.Command {
	o := &options{}
	cmd := &cobra.Command{
		Use:   "explain-trace FILE... | - | --state DIR TRACE_ID",
		Short: "Explain what the spans of a trace are counted as, and why",
		Long:  long,
		Example: `  otelcol-usagebox explain-trace request.json
  otelcol-usagebox explain-trace --redact request.json > without-contents.json
  otelcol-usagebox explain-trace --state ./usage/state/attribution 4bf92f3577b34da6a3ce929d0e0e4736`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("explain-trace: name a file, - for standard input, or a trace with --state DIR TRACE_ID; see --help")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.run(cmd.InOrStdin(), cmd.OutOrStdout(), args); err != nil {
				return fmt.Errorf("explain-trace: %w", err)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.json, "json", false, "print JSON in place of a tree")
	f.BoolVar(&o.redact, "redact", false, "print the recording itself as OTLP JSON without contents: numbers stay, texts become their lengths, identities become hashes")
	f.StringVar(&o.state, "state", "", "the attribution processor's directory, in place of files")
	f.StringVar(&o.trace, "trace", "", "only the trace with this id")
	f.StringSliceVar(&o.dialects, "dialects", nil, "files of further dialects, as in the attribution processor's configuration")
	f.StringArrayVar(&o.dimensions, "dimension", nil, "NAME=ATTRIBUTE,…: attributes that go before the defaults, as in the attribution processor's configuration")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("explain-trace: %w; see --help", err) })
	return cmd
}

func (o *options) run(in io.Reader, out io.Writer, args []string) error {
	if o.state != "" {
		if o.redact {
			return errors.New("--redact needs a recording: what --state reads holds no contents")
		}
		traces, err := readState(o.state, args)
		if err != nil {
			return err
		}
		return o.print(out, traces)
	}
	dimensions, err := parseDimensions(o.dimensions)
	if err != nil {
		return err
	}
	reader, err := attribution.NewReader(attribution.Config{Dialects: o.dialects, Dimensions: dimensions})
	if err != nil {
		return err
	}
	r, err := readFiles(in, args)
	if err != nil {
		return err
	}
	if o.redact {
		return r.writeRedacted(reader, out)
	}
	traces := r.explain(reader)
	if o.trace != "" {
		traces = only(traces, strings.ToLower(o.trace))
		if len(traces) == 0 {
			return fmt.Errorf("no span of trace %s is in the recording", o.trace)
		}
	}
	return o.print(out, traces)
}

func (o *options) print(out io.Writer, traces []Trace) error {
	if o.json {
		return printJSON(out, traces)
	}
	return printText(out, traces)
}

func parseDimensions(given []string) (map[string][]string, error) {
	dimensions := map[string][]string{}
	for _, d := range given {
		name, attributes, ok := strings.Cut(d, "=")
		if !ok || name == "" || attributes == "" {
			return nil, fmt.Errorf("--dimension %q: expected NAME=ATTRIBUTE,…, such as customer=tenant.id", d)
		}
		dimensions[name] = append(dimensions[name], strings.Split(attributes, ",")...)
	}
	return dimensions, nil
}

func only(traces []Trace, id string) (out []Trace) {
	for _, t := range traces {
		if t.TraceID == id {
			out = append(out, t)
		}
	}
	return out
}
