// Package attribution works out which spans of a trace are one model call, counts it once, and says to whom it belongs. It
// is pure: spans become facts by a table of dialects, and the facts of a trace become usage events by one algorithm,
// without I/O, clock or order.
package attribution

import (
	"encoding/hex"
	"math/bits"
	"slices"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// TraceID and SpanID are as on the wire; zero means none.
type (
	TraceID [16]byte
	SpanID  [8]byte
)

func (id TraceID) String() string { return hex.EncodeToString(id[:]) }
func (id SpanID) String() string  { return hex.EncodeToString(id[:]) }

// Place is a span in a trace.
type Place struct {
	Trace TraceID
	Span  SpanID
}

// Role is what a dialect says that a span is, before its neighbours are looked at.
type Role uint8

const (
	RolePlain     Role = iota // a node of the tree, nothing to count
	RoleCall                  // a model call that gives text, if no other span is the same call
	RoleEmbedding             // a model call that gives embeddings
	RoleWrapper               // its usage, if any, is the sum of calls below
	RoleAgent                 // an agent run; its usage, if any, is a sum too
	RoleTool
	RoleRetrieval
	RoleMemory
	RoleNever // looks like usage and is none: phantoms, token counting, placeholders
	numRoles
)

var roleNames = [numRoles]string{"plain", "call", "embedding", "wrapper", "agent", "tool", "retrieval", "memory", "never"}

func (r Role) String() string {
	if r < numRoles {
		return roleNames[r]
	}
	return "unknown"
}

func (r Role) isCall() bool { return r == RoleCall || r == RoleEmbedding }

// Field is a number that a span may report.
type Field uint8

const (
	FieldInput Field = iota
	FieldInputUncached
	FieldOutput
	FieldTotal
	FieldCacheRead
	FieldCacheWrite
	FieldReasoning
	FieldInputAudio
	FieldOutputAudio
	FieldInputImage
	FieldOutputImage
	numFields
)

// Reported is what a span says of its tokens, as it says it. Absent is not zero.
type Reported struct {
	N   [numFields]int64
	Has uint16 // bit per Field
}

func (r *Reported) has(f Field) bool { return r.Has&(1<<f) != 0 }

func (r *Reported) set(f Field, n int64) {
	r.N[f] = n
	r.Has |= 1 << f
}

// some says whether there is usage: a number that is not zero. Zeros on a call mean that nobody knew.
func (r *Reported) some() bool {
	for f := range numFields {
		if r.has(f) && r.N[f] != 0 {
			return true
		}
	}
	return false
}

// Slot is a dimension of identity.
type Slot uint8

const (
	SlotCustomer Slot = iota
	SlotUser
	SlotSession
	SlotConversation
	SlotFeature
	SlotFeatureFallback // a name that can stand for a feature nobody declared
	SlotAgent
	SlotTool
	SlotNode // of a graph
	SlotStep // declared by the application
	numSlots
)

// SlotNames are the slots' names in configuration.
var SlotNames = map[string]Slot{
	"customer": SlotCustomer, "user_id": SlotUser, "session_id": SlotSession, "conversation_id": SlotConversation,
	"feature": SlotFeature, "agent": SlotAgent, "step": SlotStep,
}

// Identity is who and what for, as one place says it.
type Identity struct {
	Slots [numSlots]string
	Extra []usage.Dimension // by Key
}

func (id *Identity) extra(key string) string {
	for _, d := range id.Extra {
		if d.Key == key {
			return d.Value
		}
	}
	return ""
}

// Trait is a yes-or-no fact of a span.
type Trait uint16

const (
	TraitError          Trait = 1 << iota // its status says so, which proves little
	TraitRefused                          // an error that a server gives without serving: 4xx, 5xx
	TraitServed                           // something of a response is there
	TraitEstimated                        // its tokens were guessed by the instrumentation
	TraitCacheOutside                     // the dialect's input is without the cached tokens
	TraitThoughtOutside                   // the dialect's output is without reasoning
	TraitUnknown                          // read by the row for unknown dialects
	TraitSampled                          // head sampling dropped others
	TraitInvalid                          // reported a negative, fractional or impossible number
	TraitServer                           // span kind SERVER
	TraitClient                           // span kind CLIENT
	TraitLog                              // a log record, not a span
	TraitOwnSum                           // an agent's usage is without that of the agents below it
)

// Fact is what is kept of a span.
type Fact struct {
	Place
	Parent  SpanID
	Start   usage.Micros
	End     usage.Micros
	Role    Role
	Traits  Trait
	Rank    uint8  // of the instrumentation: whose numbers to believe
	Emitter string // scope: two spans of one emitter are never doubles, unless nested
	Dialect string

	Name         string // of spans that mean something
	Operation    string
	Provider     string
	Model        string // of the response
	Requested    string // model of the request
	ResponseID   string
	CallID       string // of a tool call
	Service      string
	ReportedCost string // decimal text, as sent
	Refused      string // with TraitInvalid: which numbers, and what they are
	CostCurrency string

	Usage    Reported
	Own      Identity // on the span or its scope
	Resource Identity
	Links    []Place
}

func (f *Fact) is(t Trait) bool { return f.Traits&t != 0 }

func (f *Fact) model() string {
	if f.Model != "" {
		return f.Model
	}
	return f.Requested
}

// compare orders facts of one span so that of several copies the one that says most comes first, whatever the order of arrival.
func (f *Fact) compare(g *Fact) int {
	if c := bits.OnesCount16(g.Usage.Has) - bits.OnesCount16(f.Usage.Has); c != 0 {
		return c
	}
	if f.End != g.End {
		if f.End > g.End {
			return -1
		}
		return 1
	}
	return slices.Compare(f.AppendBinary(nil), g.AppendBinary(nil))
}
