package attribution

import "github.com/usagebox/otelcol-usagebox/usage"

// Bucket is one of the disjoint counts of tokens.
type Bucket uint8

const (
	BucketIn Bucket = iota // uncached
	BucketCacheRead
	BucketCacheWrite
	BucketOut // without reasoning
	BucketReasoning
	BucketInAudio
	BucketOutAudio
	BucketInImage
	BucketOutImage
	numBuckets
)

var bucketMeters = [numBuckets]string{
	usage.MeterTokensIn, usage.MeterTokensCacheRead, usage.MeterTokensCacheWrite, usage.MeterTokensOut, usage.MeterTokensReasoning,
	usage.MeterTokensInAudio, usage.MeterTokensOutAudio, usage.MeterTokensInImage, usage.MeterTokensOutImage,
}

// Vector is a call's tokens in disjoint buckets: their sum counts no token twice.
type Vector [numBuckets]int64

func (v *Vector) input() int64 {
	return v[BucketIn] + v[BucketCacheRead] + v[BucketCacheWrite] + v[BucketInAudio] + v[BucketInImage]
}

func (v *Vector) output() int64 {
	return v[BucketOut] + v[BucketReasoning] + v[BucketOutAudio] + v[BucketOutImage]
}

func (v *Vector) zero() bool { return *v == Vector{} }

// Named gives the buckets that are not zero by meter.
func (v *Vector) Named() map[string]int64 {
	m := map[string]int64{}
	for b, n := range v {
		if n != 0 {
			m[bucketMeters[b]] = n
		}
	}
	return m
}

func (v *Vector) plus(w Vector) Vector {
	sum := *v
	for i := range sum {
		sum[i] += w[i]
	}
	return sum
}

// Reading is a vector and why it was read so.
type Reading struct {
	Vector
	Cache   string // where cached tokens were taken to be, and the proof
	Thought string // the same for reasoning
	Total   bool   // only a total is known: it is taken as input
}

// Reading is what f's own numbers mean.
func (f *Fact) Reading() Reading { return f.read(0) }

// Named gives the numbers that are there by the names of the dialect table.
func (r *Reported) Named() map[string]int64 {
	m := map[string]int64{}
	for name, f := range tokenFields {
		if r.has(f) {
			m[name] = r.N[f]
		}
	}
	return m
}

// read makes disjoint buckets of what a span reports. The proofs go first, then the dialect's rule, then inside.
func (f *Fact) read(rules Rules) Reading {
	u := &f.Usage
	r := Reading{Cache: "none reported", Thought: "none reported"}
	in, out, total := u.N[FieldInput], u.N[FieldOutput], u.N[FieldTotal]
	cached := u.N[FieldCacheRead] + u.N[FieldCacheWrite]
	thought := u.N[FieldReasoning]
	r.Vector[BucketCacheRead], r.Vector[BucketCacheWrite], r.Vector[BucketReasoning] = u.N[FieldCacheRead], u.N[FieldCacheWrite], thought

	thoughtOutside := f.is(TraitThoughtOutside)
	switch {
	case thought == 0:
		thoughtOutside = false
	case thought > out:
		thoughtOutside, r.Thought = true, "outside output: it is more than output"
	case !rules.off(RuleTotals) && total > 0 && u.has(FieldInput) && total == in+out:
		thoughtOutside, r.Thought = false, "inside output: total = input + output"
	case !rules.off(RuleTotals) && total > 0 && u.has(FieldInput) && (total == in+out+thought || total == in+out+thought+cached):
		thoughtOutside, r.Thought = true, "outside output: total = input + output + reasoning"
	case thoughtOutside:
		r.Thought = "outside output: so the dialect says"
	default:
		r.Thought = "inside output: the default"
	}
	if thoughtOutside {
		r.Vector[BucketOut] = out
	} else {
		r.Vector[BucketOut] = out - thought
	}

	switch {
	case u.has(FieldInputUncached):
		r.Vector[BucketIn] = u.N[FieldInputUncached]
		if cached > 0 {
			r.Cache = "outside: the uncached input is reported"
		}
	case cached == 0:
		r.Vector[BucketIn] = in
	default:
		var outside bool
		outside, r.Cache = f.cacheOutside(rules, in, out, total, cached, thought, thoughtOutside)
		r.Vector[BucketIn] = in
		if !outside {
			r.Vector[BucketIn] = in - cached
		}
	}
	if total > 0 && !u.has(FieldInput) && !u.has(FieldInputUncached) && !u.has(FieldOutput) {
		r.Vector[BucketIn], r.Total = total-cached, true
	}
	r.media(u)
	for i := range r.Vector {
		r.Vector[i] = max(0, r.Vector[i])
	}
	return r
}

func (f *Fact) cacheOutside(rules Rules, in, out, total, cached, thought int64, thoughtOutside bool) (outside bool, why string) {
	if !rules.off(RuleCacheBeyondInput) && cached > in {
		return true, "outside input: it is more than input"
	}
	if !rules.off(RuleTotals) && total > 0 {
		all := in + out + cached
		if total == all || thoughtOutside && total == all+thought {
			return true, "outside input: total = input + output + cache"
		}
	}
	if f.is(TraitCacheOutside) && !rules.off(RuleDialectInclusion) {
		return true, "outside input: so the dialect says"
	}
	return false, "inside input: the default"
}

// media takes tokens of sound and pictures out of input and output, where they are inside.
func (r *Reading) media(u *Reported) {
	for _, m := range [...]struct {
		field  Field
		bucket Bucket
		inside Bucket
	}{
		{FieldInputAudio, BucketInAudio, BucketIn},
		{FieldInputImage, BucketInImage, BucketIn},
		{FieldOutputAudio, BucketOutAudio, BucketOut},
		{FieldOutputImage, BucketOutImage, BucketOut},
	} {
		if n := u.N[m.field]; n > 0 && n <= r.Vector[m.inside] {
			r.Vector[m.bucket] = n
			r.Vector[m.inside] -= n
		}
	}
}

// summary is what a span is compared by.
type summary struct {
	done          bool
	totalOnly     bool
	in, out       [4]int64 // what input and output may be
	input, output int64
	models        [2]string // of the response and of the request, plain
}

func (f *Fact) summarize(rules Rules) summary {
	r := f.read(rules)
	return summary{
		done: true, totalOnly: r.Total, in: f.inputs(&r), out: f.outputs(&r), input: r.input(), output: r.output(),
		models: [2]string{plainModel(f.Model), plainModel(f.Requested)},
	}
}

// agrees says whether two reports can be of one call: some reading of each gives the same input and the same output. One token more of
// output is what instrumentations of streams add.
func (x *summary) agrees(y *summary) bool {
	if x.totalOnly || y.totalOnly {
		return x.input+x.output == y.input+y.output
	}
	return meets(&x.out, &y.out, 1) && meets(&x.in, &y.in, 0)
}

// sameModel says whether two spans can be about one model: a name may be an alias of its dated form, or missing.
func (x *summary) sameModel(y *summary) bool {
	for _, a := range x.models {
		for _, b := range y.models {
			if a != "" && b != "" && related(a, b) {
				return true
			}
		}
	}
	return x.models == [2]string{} || y.models == [2]string{}
}

// inputs are what a span's whole input may be, whatever its dialect does about cached tokens.
func (f *Fact) inputs(r *Reading) [4]int64 {
	all := [4]int64{r.input(), r.Vector[BucketIn], r.input(), r.input()}
	if in := f.Usage.N[FieldInput]; in > 0 {
		all[2], all[3] = in, in+f.Usage.N[FieldCacheRead]+f.Usage.N[FieldCacheWrite]
	}
	return all
}

func (f *Fact) outputs(r *Reading) [4]int64 {
	all := [4]int64{r.output(), r.output(), r.output(), r.output()}
	if out := f.Usage.N[FieldOutput]; out > 0 {
		all[1], all[2] = out, out+f.Usage.N[FieldReasoning]
	}
	return all
}

func meets(a, b *[4]int64, slack int64) bool {
	for _, x := range a {
		for _, y := range b {
			if d := x - y; d <= slack && -d <= slack {
				return true
			}
		}
	}
	return false
}
