package parquetfile

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/usagebox/otelcol-usagebox/internal/decimal"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// Statuses of a run.
const (
	StatusOK    = "ok"
	StatusError = "error"
)

// RunMeters are the meters that runs have a column for, in the order of the columns: the calls, then the tokens.
var RunMeters = [...]string{
	usage.MeterLLMRequests, usage.MeterToolCalls, usage.MeterMemoryOps, subAgents,
	usage.MeterTokensIn, usage.MeterTokensCacheRead, usage.MeterTokensCacheWrite, usage.MeterTokensOut, usage.MeterTokensReasoning,
	usage.MeterTokensInAudio, usage.MeterTokensOutAudio, usage.MeterTokensInImage, usage.MeterTokensOutImage,
}

// subAgents is agent_runs of events that have the flag sub_agent.
const subAgents = "sub_agents"

// RunRow is what the events of one file add to one agent run. The rows of a run add up, times by minimum and maximum.
type RunRow struct {
	RunID    string
	Customer string

	UserID  string // of the run's root; when it is not in the file, of the earliest event
	Feature string
	Agent   string

	StartedAt usage.Micros // of usage events, not of corrections
	EndedAt   usage.Micros
	Timed     bool   // whether there were any
	Status    string // "" when the root is not in the file

	Sums [len(RunMeters)]decimal.Int128 // millionths, in the order of RunMeters

	Cost          Money
	Currency      string
	Price         Money
	PriceCurrency string
}

// Compare orders rows by customer, run and currencies.
func (r *RunRow) Compare(o *RunRow) int {
	return cmp.Or(
		strings.Compare(r.Customer, o.Customer),
		strings.Compare(r.RunID, o.RunID),
		strings.Compare(r.Currency, o.Currency),
		strings.Compare(r.PriceCurrency, o.PriceCurrency),
	)
}

type runKey struct{ run, customer string }

type run struct {
	row            RunRow
	costs, prices  map[string]Money
	who            usage.Event // whose user, feature and agent the row has: ID, Timestamp and those three
	root, anything bool
}

// RunSums sums the events that belong to a run. Its memory grows with the number of runs.
type RunSums struct{ runs map[runKey]*run }

// NewRunSums starts with none.
func NewRunSums() *RunSums { return &RunSums{runs: map[runKey]*run{}} }

// Add adds e if it belongs to a run. After an error, which wraps ErrOverflow, the sums are not to be used.
func (s *RunSums) Add(e *usage.Event) error {
	if e.RunID == "" {
		return nil
	}
	k := runKey{e.RunID, e.Customer}
	r := s.runs[k]
	if r == nil {
		r = &run{row: RunRow{RunID: e.RunID, Customer: e.Customer}, costs: map[string]Money{}, prices: map[string]Money{}}
		s.runs[k] = r
	}
	r.describe(e)
	for i := range e.Lines {
		if err := r.add(e, &e.Lines[i]); err != nil {
			return fmt.Errorf("run %s of customer %q, meter %q: %w", e.RunID, e.Customer, e.Lines[i].Meter, err)
		}
	}
	return nil
}

// describe takes times, status and identity from e.
func (r *run) describe(e *usage.Event) {
	ofUsage := e.Kind == usage.KindUsage
	root := ofUsage && e.Line(usage.MeterAgentRuns) != nil && !e.HasFlag(usage.FlagSubAgent)
	if ofUsage {
		start := e.Timestamp
		if l := e.Line(usage.MeterAgentSeconds); l != nil {
			start -= usage.Micros(l.Quantity) // millionths of a second
		}
		if !r.row.Timed {
			r.row.StartedAt, r.row.EndedAt, r.row.Timed = start, e.Timestamp, true
		}
		r.row.StartedAt = min(r.row.StartedAt, start)
		r.row.EndedAt = max(r.row.EndedAt, e.Timestamp)
	}
	if r.anything && !r.describesBetter(e, root) {
		return
	}
	r.anything, r.root = true, root
	r.who = usage.Event{ID: e.ID, Kind: e.Kind, Timestamp: e.Timestamp}
	r.row.UserID, r.row.Feature, r.row.Agent = e.UserID, e.Feature, e.Agent
	if root {
		r.row.Status = StatusOK
		if e.HasFlag(usage.FlagError) {
			r.row.Status = StatusError
		}
	}
}

// describesBetter: a root before other events, usage before corrections, then the earliest.
func (r *run) describesBetter(e *usage.Event, root bool) bool {
	if root != r.root {
		return root
	}
	if ofUsage := e.Kind == usage.KindUsage; ofUsage != (r.who.Kind == usage.KindUsage) {
		return ofUsage
	}
	return cmp.Or(cmp.Compare(e.Timestamp, r.who.Timestamp), strings.Compare(e.ID, r.who.ID)) < 0
}

func (r *run) add(e *usage.Event, l *usage.Line) (err error) {
	meter := l.Meter
	if meter == usage.MeterAgentRuns && e.HasFlag(usage.FlagSubAgent) {
		meter = subAgents
	} else if meter == subAgents {
		meter = ""
	}
	if i := slices.Index(RunMeters[:], meter); i >= 0 {
		if r.row.Sums[i], err = addSum(r.row.Sums[i], decimal.FromInt64(int64(l.Quantity))); err != nil {
			return err
		}
	}
	if err := addCharge(r.costs, l.Cost); err != nil {
		return err
	}
	return addCharge(r.prices, l.Price)
}

func addCharge(sums map[string]Money, c usage.Charge) error {
	if !c.Known() {
		return nil
	}
	m := sums[c.Currency]
	if err := m.add(decimal.FromInt64(int64(c.Amount))); err != nil {
		return err
	}
	sums[c.Currency] = m
	return nil
}

// rows gives one row, with the first of its currencies, and for each further currency one that has only its money.
func (r *run) rows(dst []RunRow) []RunRow {
	costs, prices := sortedKeys(r.costs), sortedKeys(r.prices)
	for i := range max(1, len(costs), len(prices)) {
		row := r.row
		if i > 0 {
			row.Sums = [len(RunMeters)]decimal.Int128{}
		}
		if i < len(costs) {
			row.Currency, row.Cost = costs[i], r.costs[costs[i]]
		}
		if i < len(prices) {
			row.PriceCurrency, row.Price = prices[i], r.prices[prices[i]]
		}
		dst = append(dst, row)
	}
	return dst
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// Rows are the sums, ordered by Compare.
func (s *RunSums) Rows() []RunRow {
	rows := make([]RunRow, 0, len(s.runs))
	for _, r := range s.runs {
		rows = r.rows(rows)
	}
	slices.SortFunc(rows, func(a, b RunRow) int { return a.Compare(&b) })
	return rows
}

var runTable = func() table {
	columns := []column{
		required("run_id", identifier),
		required("customer", text),
		nullable("user_id", text),
		nullable("feature", text),
		nullable("agent", text),
		nullable("started_at", micros),
		nullable("ended_at", micros),
		nullable("status", text),
	}
	for _, name := range []string{"llm_calls", "tool_calls", "memory_ops", "sub_agents"} {
		columns = append(columns, required(name, quantities))
	}
	for _, meter := range RunMeters[4:] {
		columns = append(columns, required(meter, quantities))
	}
	columns = append(columns, nullable("cost", amounts), nullable("currency", text), nullable("price", amounts), nullable("price_currency", text))
	return newTable(Runs, columns)
}()

const runSumLeaf = 8

// RunWriter writes a runs file row by row.
type RunWriter struct{ t *tableWriter }

// NewRunWriter writes rows that RunSums has given, in any order.
func NewRunWriter(out io.Writer) *RunWriter {
	return &RunWriter{newTableWriter(out, runTable, RowsPerGroup)}
}

// Write adds a row.
func (w *RunWriter) Write(r *RunRow) error {
	t := w.t
	t.text(0, r.RunID)
	t.text(1, r.Customer)
	t.optionalText(2, r.UserID)
	t.optionalText(3, r.Feature)
	t.optionalText(4, r.Agent)
	t.optionalInt64(5, int64(r.StartedAt), r.Timed)
	t.optionalInt64(6, int64(r.EndedAt), r.Timed)
	t.optionalText(7, r.Status)
	for i, sum := range r.Sums {
		t.int128(runSumLeaf+i, sum)
	}
	leaf := runSumLeaf + len(RunMeters)
	t.optionalInt128(leaf, r.Cost.Amount, r.Cost.Known)
	t.optionalText(leaf+1, r.Currency)
	t.optionalInt128(leaf+2, r.Price.Amount, r.Price.Known)
	t.optionalText(leaf+3, r.PriceCurrency)
	return t.endRow(true)
}

// Close writes what is left and the footer.
func (w *RunWriter) Close() error { return w.t.close() }

// WriteRuns writes a whole runs file.
func WriteRuns(out io.Writer, rows []RunRow) error {
	w := NewRunWriter(out)
	for i := range rows {
		if err := w.Write(&rows[i]); err != nil {
			return err
		}
	}
	return w.Close()
}
