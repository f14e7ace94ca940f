// Bench measures the built program, always beside a baseline in the same run: subjects take turns (A B A B), so that what else the machine does hits
// all of them, and what is printed is the median of the turns with the lowest and the highest. It runs on Linux.
//
//	go run ./test/bench                  everything, some minutes
//	go run ./test/bench -only spans      one of spans, open, queue, events, pricing, feed, postgres, seal, ids
//	go run ./test/bench -profile DIR     also CPU profiles of the durable pipeline
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// options of a run.
type options struct {
	binary  string
	dir     string        // of temporary files: on the disk that is measured
	seconds time.Duration // of load per turn
	rounds  int
	conns   int    // of spans
	content string // bytes per model call, with commas
	profile string
	hour    int    // events of the hour that is sealed
	keep    string // folder of the ledger that grows; empty: it is removed
	ids     string // events of a ledger that grows, with commas
	rows    string // events before PostgreSQL and the ledger are measured, with commas
	traces  int    // that are open
}

func main() {
	var o options
	var only string
	flag.StringVar(&o.binary, "binary", os.Getenv("UBX_BINARY"), "the program; empty: built from this module")
	flag.StringVar(&o.dir, "dir", "", "folder for temporary files, on the disk that is to be measured; empty: the system's")
	flag.DurationVar(&o.seconds, "load", 8*time.Second, "load per turn")
	flag.IntVar(&o.rounds, "rounds", 3, "turns of every subject")
	flag.IntVar(&o.conns, "conns", 8, "connections that send spans")
	flag.StringVar(&only, "only", "", "spans, open, queue, events, pricing, feed, postgres, seal or ids; several with commas; empty: all")
	flag.StringVar(&o.content, "content", "0,2048,20480", "bytes of prompt and answer in a model call")
	flag.StringVar(&o.profile, "profile", "", "folder for CPU profiles; empty: none are taken")
	flag.IntVar(&o.traces, "traces", 1_000_000, "open traces of 15 spans each")
	flag.StringVar(&o.rows, "rows", "0,5000000", "events that PostgreSQL and the ledger have before they are compared")
	flag.IntVar(&o.hour, "hour", 1_000_000, "events of the hour that is sealed, a multiple of 1,000")
	flag.StringVar(&o.ids, "ids", "1000000,10000000", "events of the ledger that grows, rising, in whole millions")
	flag.StringVar(&o.keep, "keep", "", "folder in which the ledger that grows is found and left, on the same disk as -dir; empty: it is removed. Another run may have filled it")
	flag.Parse()
	if err := run(o, only); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// part is a table of the output.
type part struct {
	name string
	run  func(*bench) error
}

func run(o options, only string) (err error) {
	parts := []part{{"spans", spansAgainstNop}, {"open", openTraces}, {"queue", spansAgainstQueue}, {"events", postedEvents}, {"pricing", pricingAgainstNone}, {"feed", feedAgainstNone}, {"postgres", postgresRows}, {"seal", sealHour}, {"ids", manyIDs}}
	wanted := strings.Split(only, ",")
	for _, w := range wanted {
		if w != "" && !slices.ContainsFunc(parts, func(p part) bool { return p.name == w }) {
			return fmt.Errorf("-only is %q: it takes spans, open, queue, events, pricing, feed, postgres, seal, ids", only)
		}
	}
	b := &bench{options: o}
	if b.dir, err = os.MkdirTemp(o.dir, "usagebox-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	if b.dir, err = filepath.Abs(b.dir); err != nil {
		return err
	}
	if b.binary == "" {
		if err := b.build(); err != nil {
			return err
		}
	}
	if b.binary, err = filepath.Abs(b.binary); err != nil {
		return err
	}
	fmt.Printf("%s %s/%s, %d CPUs, %d turns of %s each: median (lowest to highest)\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), b.rounds, b.seconds)
	for _, p := range parts {
		if only != "" && !slices.Contains(wanted, p.name) {
			continue
		}
		fmt.Println()
		if err := p.run(b); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

// bench is one run, with a folder that goes with it.
type bench struct {
	options
	turn int
}

func (b *bench) build() error {
	b.binary = filepath.Join(b.dir, "otelcol-usagebox")
	cmd := exec.Command("go", "build", "-o", b.binary, "github.com/usagebox/otelcol-usagebox/cmd/otelcol-usagebox")
	cmd.Stderr = os.Stderr
	return cmd.Run()
}

// profileOf is the file for a profile of a durable subject, or empty.
func (b *bench) profileOf(durable bool, format string, args ...any) string {
	if b.profile == "" || !durable {
		return ""
	}
	return filepath.Join(b.profile, fmt.Sprintf(format, args...))
}

// folder is a new one for a turn.
func (b *bench) folder() (string, error) {
	b.turn++
	dir := filepath.Join(b.dir, fmt.Sprint(b.turn))
	return dir, os.Mkdir(dir, 0o755)
}

// inTurns runs every subject once a round and collects what each measured.
func inTurns[S fmt.Stringer](b *bench, subjects []S, measure func(S) (measured, error)) (map[string][]measured, error) {
	results := map[string][]measured{}
	for range b.rounds {
		for _, s := range subjects {
			m, err := measure(s)
			if err != nil {
				return nil, errors.Join(fmt.Errorf("%s: %w", s, err))
			}
			results[s.String()] = append(results[s.String()], m)
		}
	}
	return results, nil
}
