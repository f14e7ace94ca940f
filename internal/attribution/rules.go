package attribution

// Rules switches rules of the algorithm off, so that tests can show what each is for. The zero value has them all.
type Rules uint32

const (
	RuleTotals           Rules = 1 << iota // a total proves what input and output hold
	RuleCacheBeyondInput                   // more cache than input proves that it is outside
	RuleDialectInclusion                   // the dialect's rule about the cache
	RuleNested                             // a call around its only call is the same call
	RuleWrapper                            // what has a usage-bearing call below it is never counted
	RuleAggregate                          // a wrapper that is the only carrier is counted once
	RuleSiblings                           // doubles that are not nested
	RuleRank                               // whose numbers to believe
	RuleRicher                             // the more finely split vector of those that agree
	RuleFailed                             // a refused attempt without usage is no call
	RuleToolCallID                         // one tool call per call id
	RuleNestedTool                         // a tool's span inside a span of the same tool
	RuleAncestor                           // identity of the nearest ancestor
	RuleTraceValue                         // the one value that the trace has
	RuleLink                               // identity over links
	RuleEstimated                          // what is reported goes before what is guessed
	RuleOrphans                            // a sum gives way to calls that have lost their parent
	RuleStrays                             // a sum gives way to another emitter's calls beside it
	RuleEmitter                            // one emitter's spans beside each other are two calls
	RuleOverlap                            // doubles overlap in time
	RuleOwnAnswer                          // a call that tells other numbers than the calls inside is a call itself
	RuleConversation                       // identity over a conversation's id
	RuleElsewhere                          // a call that another trace, or another signal, tells of too
	numRules             = iota
)

func (r Rules) off(rule Rules) bool { return r&rule != 0 }
