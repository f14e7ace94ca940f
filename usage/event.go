// Package usage is what a usage event is: who used how much of what, when. It is the one package that every
// component imports. Its values are exact: quantities are millionths, amounts of money trillionths, times
// microseconds, all integers; no float is on their way.
package usage

import (
	"slices"
	"strings"
	"time"

	"github.com/usagebox/otelcol-usagebox/internal/decimal"
)

// Kind says what an event does to the totals.
type Kind string

const (
	KindUsage      Kind = "usage"      // adds
	KindCorrection Kind = "correction" // its signed quantities are added to those of the event that it corrects
	KindRetraction Kind = "retraction" // takes the event that it names away; its quantities are that event's, negative
)

// Unattributed is the customer of usage that belongs to nobody known. It is counted and shown, never dropped.
const Unattributed = "unattributed"

// Sources of events.
const (
	SourceAPI  = "api"
	SourceSpan = "span"
)

// Flags that this program sets on events. They say how far a number can be trusted; senders don't set them.
const (
	FlagUsageMissing   = "usage_missing"   // a model call whose tokens nobody reported
	FlagAggregate      = "aggregate"       // an agent's or workflow's sum stands in for calls that left no spans
	FlagSampled        = "sampled"         // the trace was sampled at its source: there was more
	FlagUnpriced       = "unpriced"        // at least one line has no rate
	FlagLate           = "late"            // arrived after its hour was sealed
	FlagLateUnmatched  = "late_unmatched"  // its trace's facts were forgotten: it may be the twin of a counted call
	FlagUnknownDialect = "unknown_dialect" // read by the generic row of the dialect table
	FlagError          = "error"           // the operation ended in an error
	FlagSubAgent       = "sub_agent"       // an agent run below another one
	FlagRefusedNumbers = "refused_numbers" // its span reports numbers that can't be counts; see the dimension refused_numbers
	FlagReported       = "cost_reported"   // the sender said what it cost; see the dimension reported_cost
)

// DimensionRefused says which numbers of its span are not in an event, and what they are.
const DimensionRefused = "refused_numbers"

// Meters of this program, disjoint: adding them up never counts a token twice. API events bring others freely.
const (
	MeterLLMRequests      = "llm_requests"
	MeterTokensIn         = "llm_tokens_in" // uncached
	MeterTokensCacheRead  = "llm_tokens_cache_read"
	MeterTokensCacheWrite = "llm_tokens_cache_write"
	MeterTokensOut        = "llm_tokens_out" // without reasoning
	MeterTokensReasoning  = "llm_tokens_reasoning"
	MeterTokensInAudio    = "llm_tokens_in_audio"
	MeterTokensOutAudio   = "llm_tokens_out_audio"
	MeterTokensInImage    = "llm_tokens_in_image"
	MeterTokensOutImage   = "llm_tokens_out_image"
	MeterToolCalls        = "tool_calls"
	MeterRetrievals       = "retrievals"
	MeterMemoryOps        = "memory_ops"
	MeterAgentRuns        = "agent_runs"
	MeterAgentSeconds     = "agent_seconds"
	MeterGPUSeconds       = "gpu_seconds"
)

// UnitOf is the unit of a meter when the sender names none: token, second, or the singular of the count.
func UnitOf(meter string) string {
	switch meter {
	case MeterLLMRequests:
		return "request"
	case MeterToolCalls:
		return "call"
	case MeterRetrievals:
		return "retrieval"
	case MeterMemoryOps:
		return "operation"
	case MeterAgentRuns:
		return "run"
	}
	switch {
	case strings.HasPrefix(meter, "llm_tokens"):
		return "token"
	case strings.HasSuffix(meter, "_seconds"):
		return "second"
	case strings.HasSuffix(meter, "_minutes"):
		return "minute"
	case strings.HasSuffix(meter, "_hours"):
		return "hour"
	case strings.HasSuffix(meter, "_bytes"):
		return "byte"
	}
	return "unit"
}

// Quantity is a signed number of millionths, of at most 18 digits: DECIMAL(18,6).
type Quantity int64

// Scales and digits of the decimals in an event.
const (
	QuantityScale = 6
	AmountScale   = 12
	Digits        = 18
)

// ParseQuantity reads decimal text exactly: a JSON number or the same in a string. What doesn't fit is an error, never rounded.
func ParseQuantity[T ~string | ~[]byte](text T) (Quantity, error) {
	v, err := decimal.Parse(text, QuantityScale, Digits)
	return Quantity(v), err
}

// Units is n whole units; n is at most 10^12 in magnitude, less one.
func Units(n int64) Quantity { return Quantity(n * 1_000_000) }

// Append writes the shortest decimal text of q.
func (q Quantity) Append(dst []byte) []byte { return decimal.Append(dst, int64(q), QuantityScale) }

func (q Quantity) String() string { return string(q.Append(make([]byte, 0, decimalText))) }

// decimalText is how long the text of a number is at most: a sign, the digits, a point and a zero before it, and some room.
const decimalText = 24

// Amount is a signed number of trillionths of a currency unit, of at most 18 digits: DECIMAL(18,12).
type Amount int64

// ParseAmount reads decimal text exactly.
func ParseAmount[T ~string | ~[]byte](text T) (Amount, error) {
	v, err := decimal.Parse(text, AmountScale, Digits)
	return Amount(v), err
}

// Append writes the shortest decimal text of a.
func (a Amount) Append(dst []byte) []byte { return decimal.Append(dst, int64(a), AmountScale) }

func (a Amount) String() string { return string(a.Append(make([]byte, 0, decimalText))) }

// Charge is one line's money in one book. The zero Charge means that there is no rate, which is not a charge of zero.
type Charge struct {
	Amount   Amount
	Currency string // ISO 4217
	Rate     string // catalogue version and rate id; never empty on a charge that is known
}

// Known says whether there is a rate.
func (c Charge) Known() bool { return c.Rate != "" }

// Line is one meter of an event: one row of events/.
type Line struct {
	Meter    string
	Unit     string
	Quantity Quantity
	Cost     Charge // at the provider's rates
	Price    Charge // at our rates
}

// Dimension is whatever else the user asked to keep.
type Dimension struct{ Key, Value string }

// Micros is a time in microseconds since 1970, UTC.
type Micros int64

// MicrosOf cuts t to the microsecond.
func MicrosOf(t time.Time) Micros { return Micros(t.UnixMicro()) }

// Time is m as a time in UTC.
func (m Micros) Time() time.Time { return time.UnixMicro(int64(m)).UTC() }

// MicrosPerHour is an hour.
const MicrosPerHour = Micros(time.Hour / time.Microsecond)

// Hour is a UTC hour, counted from 1970.
type Hour int64

// Hour is the UTC hour that m lies in, also before 1970.
func (m Micros) Hour() Hour {
	h := m / MicrosPerHour
	if m%MicrosPerHour < 0 {
		h--
	}
	return Hour(h)
}

// Start is the first microsecond of h.
func (h Hour) Start() Micros { return Micros(h) * MicrosPerHour }

// Event is one usage event. Empty strings are absent values. An Event is valid when Validate says so; Normalize
// brings one into the form that is stored and compared.
type Event struct {
	ID         string // unique within its customer, for ever
	Kind       Kind
	Corrects   string // the ID that a correction or retraction is about
	Timestamp  Micros // when it happened: decides the hour
	IngestedAt Micros // when it was acknowledged; 0 until then

	Customer       string
	UserID         string
	SessionID      string
	ConversationID string
	Feature        string
	Step           string
	Agent          string

	TraceID string // 32 hex digits
	SpanID  string // 16 hex digits
	RunID   string // trace id of the run's root, also across linked traces

	Operation string // as in gen_ai.operation.name
	Provider  string
	Model     string

	Lines []Line // at least one; one per meter, sorted by meter

	Source     string
	Service    string
	Flags      []string    // sorted, no repeats
	Dimensions []Dimension // sorted by key, no repeats
}

// Key identifies an event: ids are unique within their customer.
type Key struct{ Customer, ID string }

// Key is e's identity.
func (e *Event) Key() Key { return Key{e.Customer, e.ID} }

// HasFlag says whether e carries the flag.
func (e *Event) HasFlag(flag string) bool { return slices.Contains(e.Flags, flag) }

// AddFlag adds a flag once, in order.
func (e *Event) AddFlag(flag string) {
	if i, found := slices.BinarySearch(e.Flags, flag); !found {
		e.Flags = slices.Insert(e.Flags, i, flag)
	}
}

// Line is e's line of a meter, or nil.
func (e *Event) Line(meter string) *Line {
	for i := range e.Lines {
		if e.Lines[i].Meter == meter {
			return &e.Lines[i]
		}
	}
	return nil
}

// Normalize fills defaults (kind, unit, customer) and sorts lines, flags and dimensions. It drops nothing.
func (e *Event) Normalize() {
	if e.Kind == "" {
		e.Kind = KindUsage
	}
	if e.Customer == "" {
		e.Customer = Unattributed
	}
	for i := range e.Lines {
		if e.Lines[i].Unit == "" {
			e.Lines[i].Unit = UnitOf(e.Lines[i].Meter)
		}
	}
	if len(e.Lines) > 1 && !slices.IsSortedFunc(e.Lines, compareLines) {
		slices.SortStableFunc(e.Lines, compareLines)
	}
	if len(e.Flags) > 1 {
		slices.Sort(e.Flags)
		e.Flags = slices.Compact(e.Flags)
	}
	if len(e.Dimensions) > 1 && !slices.IsSortedFunc(e.Dimensions, compareDimensions) {
		slices.SortStableFunc(e.Dimensions, compareDimensions)
	}
}

func compareLines(a, b Line) int           { return strings.Compare(a.Meter, b.Meter) }
func compareDimensions(a, b Dimension) int { return strings.Compare(a.Key, b.Key) }
