package attribution

// Limit is a bound on what is taken of a span.
type Limit int

const (
	LimitClock Limit = iota // its end was set back to max_ahead after its arrival, or it says no time
	LimitIDs                // it has no trace or span id, and got some
	LimitValue              // a value of identity is longer than max_value_bytes, and was cut
	LimitLinks              // it has more links than are followed
	NumLimits
)

func (l Limit) String() string { return [NumLimits]string{"clock", "ids", "value", "links"}[l] }

// Reached says how often a limit was reached since the start.
func (r *Reader) Reached(l Limit) int64 { return r.limits[l].Load() }

func (r *Reader) reach(l Limit, reached bool) {
	if reached {
		r.limits[l].Add(1)
	}
}

// cut is a value of identity as it is kept.
func (r *Reader) cut(value string) string {
	kept := cut(value, r.maxValue)
	r.reach(LimitValue, len(kept) != len(value))
	return kept
}
