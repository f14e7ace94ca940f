package usage

import "strings"

// DimensionContext is a dimension: how many tokens a model call was given, cached ones included, as decimal text. A correction has differences only, so
// it says in this dimension what the call comes to with it: where rates depend on the size of a call, its charge can't be known otherwise. On an event it
// goes before the sum of the event's own lines.
const DimensionContext = "context_tokens"

// GivenTokens says whether a meter counts tokens that a model call was given.
func GivenTokens(meter string) bool {
	return meter == MeterTokensIn || strings.HasPrefix(meter, "llm_tokens_cache_") || strings.HasPrefix(meter, MeterTokensIn+"_")
}
