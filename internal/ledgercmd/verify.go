package ledgercmd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/usagebox/otelcol-usagebox/internal/ledger"
	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// problem is one thing that is not what it has to be.
type problem struct {
	Kind   string `json:"kind"`
	Writer string `json:"writer,omitempty"`
	Hour   string `json:"hour,omitempty"`
	File   string `json:"file,omitempty"`
	Detail string `json:"detail"`
}

// Kinds of problems.
const (
	kindChain      = "chain"      // a record is changed, missing or not the one that was written
	kindMissing    = "missing"    // a file that the chain names is not there
	kindChanged    = "changed"    // a file is not the one that was sealed
	kindUnreadable = "unreadable" // a file is damaged
	kindUnfinished = "unfinished" // a part lacks one of its three files, or its record in the chain
	kindTwice      = "twice"      // usage is there twice
	kindMisplaced  = "misplaced"  // a file or an event lies where it doesn't belong
	kindInvalid    = "invalid"    // an event breaks the ledger's rules
	kindRollup     = "rollup"     // a rollup is not the sum of its events
	kindRun        = "run"        // a run is not the sum of its events
	kindDaily      = "daily"      // a day's sum is not that of its rollups
)

type verifyReport struct {
	OK      bool  `json:"ok"`
	Hours   int   `json:"hours"`
	Days    int   `json:"days"` // with daily parts, or records of such
	Parts   int   `json:"parts"`
	Sealed  int   `json:"sealed_parts"` // of them, held against the chain
	Records int   `json:"chain_records"`
	Events  int64 `json:"events"`
	Rows    int64 `json:"rows"`
	Bytes   int64 `json:"bytes"`

	LeftEvents int64 `json:"left_events"` // that are older than their retention, according to the chain

	Problems []problem `json:"problems"`
}

type verifyOptions struct {
	rangeFlags
	quick  bool
	copied string
	writer string
}

func newVerifyCommand(c *common) *cobra.Command {
	o := &verifyOptions{}
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check the chain, every file's hash, the stores, rollups and runs against events, and that no id is there twice",
		Long: "Check the ledger: that each writer's chain is unbroken, and its store undamaged; that every sealed file has the size and SHA-256 of its\n" +
			"record and the record's totals; that each part's rollups and runs are the sums of its events, and daily parts those of rollups; that events lie in the hour of their timestamp, are valid and in\n" +
			"order; that no id of a customer is there twice, also not at two writers. Exit status 1 when anything differs.",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return c.verify(o) },
	}
	o.add(cmd)
	cmd.Flags().BoolVar(&o.quick, "quick", false, "check the chain and the hashes of sealed files only")
	cmd.Flags().StringVar(&o.copied, "chain", "", "also check that the writer's chain begins with this copy of it")
	cmd.Flags().StringVar(&o.writer, "writer", "main", "the writer that --chain is of")
	return cmd
}

func (c *common) verify(o *verifyOptions) error {
	r, err := o.parse()
	if err != nil {
		return err
	}
	v := &verifier{common: c, quick: o.quick, within: r, chains: map[string]*chain{}, ids: newIDIndex()}
	defer v.ids.close()
	report, err := v.run()
	if err != nil {
		return err
	}
	if o.copied != "" {
		if err := v.checkCopy(o.writer, o.copied); err != nil {
			return err
		}
	}
	report.Problems = v.problems
	slices.SortStableFunc(report.Problems, func(a, b problem) int {
		if c := strings.Compare(a.Hour, b.Hour); c != 0 {
			return c
		}
		return strings.Compare(a.File, b.File)
	})
	report.OK = len(report.Problems) == 0
	if err := c.printVerify(report, o); err != nil {
		return err
	}
	if !report.OK {
		return fmt.Errorf("%w: %s", ErrDifferences, countText(int64(len(report.Problems)), "difference", "differences"))
	}
	return nil
}

func (c *common) printVerify(r *verifyReport, o *verifyOptions) error {
	if c.json {
		if r.Problems == nil {
			r.Problems = []problem{}
		}
		return printJSON(c.out, r)
	}
	for _, p := range r.Problems {
		where := p.File
		if where == "" {
			where = strings.TrimSpace(p.Hour + " " + p.Writer)
		}
		if _, err := fmt.Fprintf(c.out, "%-10s  %s: %s\n", p.Kind, where, p.Detail); err != nil {
			return err
		}
	}
	what := "stores, hashes, sums, order and ids"
	if o.quick {
		what = "hashes of sealed files"
	}
	_, err := fmt.Fprintf(c.out, "checked %s: %s in %s (%s held against the chain of %s), %s summed, %s, %s, %s: ",
		what, countText(int64(r.Parts), "part", "parts"), countText(int64(r.Hours), "hour", "hours"), countText(int64(r.Sealed), "sealed part", "sealed parts"),
		countText(int64(r.Records), "record", "records"), countText(int64(r.Days), "day", "days"), countText(r.Events, "event", "events"), countText(r.Rows, "row", "rows"), byteText(r.Bytes))
	if err != nil {
		return err
	}
	if r.LeftEvents > 0 {
		if _, err := fmt.Fprintf(c.out, "%s left by retention; ", countText(r.LeftEvents, "event", "events")); err != nil {
			return err
		}
	}
	if r.OK {
		_, err = fmt.Fprintln(c.out, "all is what it has to be")
	} else {
		_, err = fmt.Fprintln(c.out, countText(int64(len(r.Problems)), "difference", "differences"))
	}
	return err
}

// verifier collects what a check finds. mu guards all that follows it.
type verifier struct {
	*common
	quick  bool
	within timeRange
	ids    *idIndex

	mu       sync.Mutex
	chains   map[string]*chain
	problems []problem
	report   verifyReport
}

func (v *verifier) run() (*verifyReport, error) {
	writers, err := v.writers()
	if err != nil {
		return nil, err
	}
	for _, w := range writers {
		if err := v.checkChain(w); err != nil {
			return nil, err
		}
	}
	folders, strays, err := v.folders(v.within)
	if err != nil {
		return nil, err
	}
	for _, s := range strays {
		v.found(problem{Kind: kindMisplaced, File: s, Detail: "is not date=YYYY-MM-DD/hour=HH/writer=W"})
	}
	if !v.quick {
		if err := v.checkStores(writers); err != nil {
			return nil, err
		}
	}
	folders = append(folders, v.chainOnly(folders)...)
	if err := v.each(folders); err != nil {
		return nil, err
	}
	days, strays, err := v.dayFolders(v.within, v.chains)
	if err != nil {
		return nil, err
	}
	for _, s := range strays {
		v.found(problem{Kind: kindMisplaced, File: s, Detail: "is not date=YYYY-MM-DD/writer=W"})
	}
	for _, d := range days {
		if err := v.checkDay(d); err != nil {
			return nil, err
		}
	}
	if !v.quick {
		if err := v.checkTwice(folders); err != nil {
			return nil, err
		}
		if err := v.checkRefused(); err != nil {
			return nil, err
		}
	}
	hours := map[usage.Hour]bool{}
	for _, f := range folders {
		hours[f.hour] = true
	}
	v.report.Hours = len(hours)
	return &v.report, nil
}

// checkStores reads the writers' stores: what waits in them to be made parts, and which ids are known.
func (v *verifier) checkStores(writers []string) error {
	for _, w := range writers {
		state := filepath.Join("state", "writer="+w)
		err := ledger.CheckStore(filepath.Join(v.directory, state), func(file string, err error) {
			v.found(problem{Kind: kindUnreadable, Writer: w, File: filepath.Join(state, file), Detail: err.Error()})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// each checks the folders, as many at once as there are processors.
func (v *verifier) each(folders []folder) error {
	bar := v.startProgress("verifying", len(folders))
	defer bar.end()
	work := make(chan folder)
	failures := make(chan error, runtime.GOMAXPROCS(0))
	var workers sync.WaitGroup
	for range cap(failures) {
		workers.Go(func() {
			for f := range work {
				if err := v.checkFolder(f); err != nil {
					failures <- fmt.Errorf("%s: %w", f, err)
					return
				}
				v.mu.Lock()
				bar.step()
				v.mu.Unlock()
			}
		})
	}
	var failed error
feed:
	for _, f := range folders {
		select {
		case work <- f:
		case failed = <-failures:
			break feed
		}
	}
	close(work)
	workers.Wait()
	if failed == nil && len(failures) > 0 {
		failed = <-failures
	}
	return failed
}

func (v *verifier) found(p problem) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.problems = append(v.problems, p)
}

func (v *verifier) checkChain(writer string) error {
	ch, err := v.readChain(writer)
	if err != nil {
		return err
	}
	v.chains[writer] = ch
	v.report.Records += len(ch.records)
	if ch.broken != nil {
		v.found(problem{Kind: kindChain, Writer: writer, Detail: ch.broken.Error()})
	}
	v.report.LeftEvents += ch.leftEvents(v.within)
	recorded := map[string]bool{}
	for _, r := range ch.records {
		if !ch.isAbout(r, recorded) {
			v.found(problem{Kind: kindChain, Writer: writer, Hour: r.Hour, Detail: fmt.Sprintf("record %d is not about a part of this writer", r.Number)})
		}
	}
	ch.checkDays(func(r *ledger.ChainRecord, kind, detail string) {
		v.found(problem{Kind: kind, Writer: writer, Hour: r.Hour, File: dayFolder{r.Day, r.Writer}.part(r.Part), Detail: detail})
	})
	st, err := v.readStatus(writer)
	if err != nil {
		v.found(problem{Kind: kindUnreadable, Writer: writer, Detail: err.Error()})
		return nil
	}
	if st != nil && ch.broken == nil {
		if err := ch.agreesWith(st); err != nil {
			v.found(problem{Kind: kindChain, Writer: writer, Detail: err.Error()})
		}
	}
	return nil
}

// chainOnly are the folders that a chain names and that are not there.
func (v *verifier) chainOnly(folders []folder) (missing []folder) {
	have := map[folder]bool{}
	for _, f := range folders {
		have[f] = true
	}
	for _, ch := range v.chains {
		for _, r := range ch.standing() {
			if f, ok := recordFolder(r); ok && !have[f] && v.within.touches(f.hour) {
				have[f] = true
				missing = append(missing, f)
			}
		}
	}
	slices.SortFunc(missing, func(a, b folder) int { return strings.Compare(a.String(), b.String()) })
	return missing
}

func (v *verifier) chainOf(writer string, again bool) (*chain, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	ch := v.chains[writer]
	if ch != nil && !again {
		return ch, nil
	}
	ch, err := v.readChain(writer)
	if err == nil {
		v.chains[writer] = ch
	}
	return ch, err
}

// checkRefused reads refused/, which no sum is held against.
func (v *verifier) checkRefused() error {
	files, err := v.refusedFiles()
	if err != nil {
		return err
	}
	for _, rel := range files {
		err := v.readRefused(rel, func(*parquetfile.RefusedRow) error { return nil })
		if errors.Is(err, parquetfile.ErrCorrupt) || errors.Is(err, parquetfile.ErrVersion) {
			v.found(problem{Kind: kindUnreadable, File: rel, Detail: err.Error()})
		} else if err != nil {
			return fmt.Errorf("%s: %w", rel, err)
		}
	}
	return nil
}

func (v *verifier) checkCopy(writer, path string) error {
	copied, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	ch, err := v.chainOf(writer, true)
	if err != nil {
		return err
	}
	if err := ch.holds(copied); err != nil {
		v.found(problem{Kind: kindChain, Writer: writer, Detail: err.Error()})
	}
	return nil
}

// errAgain lets steady look again, as if a file had vanished.
var errAgain = fmt.Errorf("the folder is being changed: %w", fs.ErrNotExist)
