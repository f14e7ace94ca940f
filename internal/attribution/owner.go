package attribution

import (
	"slices"
	"strconv"
	"strings"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// Linked is what is known of a span in another trace: who it is for, and the run that it belongs to.
type Linked struct {
	Run      string // trace id of the run's root
	Identity Identity
	Said     Identity // of it, what spans say, without conversations and resources
	Fact     *Fact    // the span itself
}

// Origin says where a value of identity came from.
type Origin string

const (
	FromSpan     Origin = "span"
	FromAncestor Origin = "ancestor"
	FromTrace    Origin = "trace"
	FromDouble   Origin = "double" // the same call in another trace
	FromLink     Origin = "link"
	FromTalk     Origin = "conversation"
	FromResource Origin = "resource"
	FromNowhere  Origin = ""
)

// owner resolves identity: own span, nearest ancestor, the one value that the trace has, the same call in another trace, linked span, conversation, resource.
type owner struct {
	*tree
	holder  [][numSlots]int32 // nearest node at or above that has the slot, -1
	links   []int32           // nearest node at or above that has links, -1
	agent   []int32           // nearest agent's span at or above
	tool    []int32           // nearest tool's span at or above
	only    [numSlots]string  // the one value that the trace has
	near    Others
	known   map[Place]*Linked
	doubles map[int][]Place    // by node: the same call in other traces
	extras  map[string]string  // the one value of each further dimension
	extraAt map[string][]int32 // by further dimension: nearest node at or above that has it, -1
	top     []int32            // outermost agent's span at or above, -1
	linkAt  map[linkKey]string

	talks         bool // some span may be in a conversation
	conversations map[string]*conversation
}

type linkKey struct {
	holder int32
	what   string
}

func newOwner(t *tree, near Others) *owner {
	if near == nil {
		near = Nobody{}
	}
	n := len(t.nodes)
	o := &owner{
		tree: t, near: near, holder: make([][numSlots]int32, n), links: make([]int32, n), agent: make([]int32, n), tool: make([]int32, n),
		known: map[Place]*Linked{}, doubles: map[int][]Place{}, extras: map[string]string{}, extraAt: map[string][]int32{}, top: make([]int32, n), linkAt: map[linkKey]string{},
	}
	var several [numSlots]bool
	severalExtra := map[string]bool{}
	for _, i := range t.pre {
		f, p := t.nodes[i].Fact, t.nodes[i].parent
		o.links[i], o.agent[i], o.tool[i], o.top[i] = -1, -1, -1, -1
		for s := range o.holder[i] {
			o.holder[i][s] = -1
		}
		if p >= 0 {
			o.links[i], o.agent[i], o.tool[i], o.top[i] = o.links[p], o.agent[p], o.tool[p], o.top[p]
			if !t.rules.off(RuleAncestor) {
				o.holder[i] = o.holder[p]
			}
		}
		if len(f.Links) > 0 {
			o.links[i] = int32(i)
		}
		o.talks = o.talks || len(f.Links) > 0 || f.Own.Slots[SlotConversation] != "" || f.Resource.Slots[SlotConversation] != ""
		switch f.Role {
		case RoleAgent:
			o.agent[i] = int32(i)
			if o.top[i] < 0 {
				o.top[i] = int32(i)
			}
		case RoleTool:
			o.tool[i] = int32(i)
		case RoleNever:
			continue // says nothing about its children either
		}
		for s, v := range f.Own.Slots {
			if v == "" {
				continue
			}
			o.holder[i][s] = int32(i)
			if o.only[s] == "" {
				o.only[s] = v
			} else if o.only[s] != v {
				several[s] = true
			}
		}
		for _, d := range f.Own.Extra {
			if have, ok := o.extras[d.Key]; ok && have != d.Value {
				severalExtra[d.Key] = true
			}
			o.extras[d.Key] = d.Value
		}
	}
	for s := range several {
		if several[s] || t.rules.off(RuleTraceValue) {
			o.only[s] = ""
		}
	}
	for key := range o.extras {
		o.extraAt[key] = t.nearest(func(f *Fact) bool { return f.Own.extra(key) != "" })
	}
	for key := range severalExtra {
		delete(o.extras, key)
	}
	return o
}

var slotKeys = func() (keys [numSlots]string) {
	for s := range keys {
		keys[s] = "slot " + strconv.Itoa(s)
	}
	return keys
}()

// nearest finds for every node the nearest one at or above that has something, or -1.
func (t *tree) nearest(has func(*Fact) bool) []int32 {
	at := make([]int32, len(t.nodes))
	for _, i := range t.pre {
		switch p := t.nodes[i].parent; {
		case has(t.nodes[i].Fact):
			at[i] = int32(i)
		case p >= 0:
			at[i] = at[p]
		default:
			at[i] = -1
		}
	}
	return at
}

// value is one dimension of what spans, which are one thing, belong to: what one of them says itself, else the innermost of
// their ancestors that says something, and so on in the order of owner.
func (o *owner) value(members []int, s Slot) (string, Origin) {
	if v, origin := o.inTrace(members, s); v != "" {
		return v, origin
	}
	if v := o.double(members, func(l *Linked) string { return l.Said.Slots[s] }); v != "" {
		return v, FromDouble
	}
	if v := o.linked(members, slotKeys[s], func(l *Linked) string { return l.Identity.Slots[s] }); v != "" && !o.rules.off(RuleLink) {
		return v, FromLink
	}
	if o.talks && slices.Contains(conversationSlots[:], s) {
		id, _ := o.value(members, SlotConversation)
		if v := o.conversed(id, slotKeys[s]); v != "" {
			return v, FromTalk
		}
	}
	for _, m := range members {
		if v := o.nodes[m].Resource.Slots[s]; v != "" {
			return v, FromResource
		}
	}
	if v := o.double(members, func(l *Linked) string { return l.Identity.Slots[s] }); v != "" {
		return v, FromDouble
	}
	return "", FromNowhere
}

// said is what this trace says itself, and spans that it links to: all that conversations are told of it.
func (o *owner) said(members []int, s Slot) (string, Origin) {
	if v, origin := o.inTrace(members, s); v != "" {
		return v, origin
	}
	if v := o.linked(members, "said "+slotKeys[s], func(l *Linked) string { return l.Said.Slots[s] }); v != "" {
		return v, FromLink
	}
	for _, m := range members {
		if v := o.nodes[m].Resource.Slots[s]; v != "" {
			return v, FromResource
		}
	}
	return "", FromNowhere
}

// inTrace is what spans of this trace say.
func (o *owner) inTrace(members []int, s Slot) (string, Origin) {
	best, own := int32(-1), false
	for _, m := range members {
		h := o.holder[m][s]
		if h < 0 {
			continue
		}
		itself := h == int32(m)
		if best < 0 || itself && !own || itself == own && o.nodes[h].depth > o.nodes[best].depth {
			best, own = h, itself
		}
	}
	if best >= 0 {
		if own {
			return o.nodes[best].Own.Slots[s], FromSpan
		}
		return o.nodes[best].Own.Slots[s], FromAncestor
	}
	if o.only[s] != "" && s != SlotTool && s != SlotNode && s != SlotAgent && s != SlotStep {
		return o.only[s], FromTrace
	}
	return "", FromNowhere
}

// double is the one value that the same call has in other traces.
func (o *owner) double(members []int, get func(*Linked) string) string {
	if len(o.doubles) == 0 {
		return ""
	}
	for _, m := range members {
		if v := o.agreed(o.doubles[m], get); v != "" {
			return v
		}
	}
	return ""
}

// linked is the one value that the nearest links have; what names it.
func (o *owner) linked(members []int, what string, get func(*Linked) string) string {
	for _, m := range members {
		h := o.links[m]
		if h < 0 {
			continue
		}
		v, ok := o.linkAt[linkKey{h, what}]
		if !ok {
			v = o.agreed(o.nodes[h].Links, get)
			o.linkAt[linkKey{h, what}] = v
		}
		if v != "" {
			return v
		}
	}
	return ""
}

// agreed is the one value that places have. Where they have several it is a batch, and none of them is this one's.
func (o *owner) agreed(places []Place, get func(*Linked) string) (value string) {
	for _, place := range places {
		l := o.neighbour(place)
		if l == nil {
			continue
		}
		v := get(l)
		if v != "" && value != "" && v != value {
			return ""
		}
		if v != "" {
			value = v
		}
	}
	return value
}

func (o *owner) neighbour(place Place) *Linked {
	if l, ok := o.known[place]; ok {
		return l
	}
	var l *Linked
	if place.Trace != o.nodes[0].Trace {
		if found, ok := o.near.Span(place); ok {
			l = &found
		}
	}
	o.known[place] = l
	return l
}

func (o *owner) run(members []int) string {
	if run := o.linked(members, "run", func(l *Linked) string { return l.Run }); run != "" && !o.rules.off(RuleLink) {
		return run
	}
	return o.traceOf(members[0])
}

func (o *owner) extra(members []int, key string) string {
	if v := o.extraSaid(members, key); v != "" {
		return v
	}
	if v := o.double(members, func(l *Linked) string { return l.Said.extra(key) }); v != "" {
		return v
	}
	if v := o.linked(members, extraKey(key), func(l *Linked) string { return l.Identity.extra(key) }); v != "" {
		return v
	}
	if o.talks {
		id, _ := o.value(members, SlotConversation)
		if v := o.conversed(id, extraKey(key)); v != "" {
			return v
		}
	}
	for _, m := range members {
		if v := o.nodes[m].Resource.extra(key); v != "" {
			return v
		}
	}
	return o.double(members, func(l *Linked) string { return l.Identity.extra(key) })
}

// extraSaid is what spans of this trace say of a further dimension.
func (o *owner) extraSaid(members []int, key string) string {
	if at, ok := o.extraAt[key]; ok {
		for _, m := range members {
			if at[m] >= 0 {
				return o.nodes[at[m]].Own.extra(key)
			}
		}
	}
	return o.extras[key]
}

// resolved is who and what for, with the origin of each value.
type resolved struct {
	values  [numSlots]string
	origins [numSlots]Origin
	extra   []usage.Dimension
	run     string
}

func (o *owner) resolve(members []int) resolved {
	r := resolved{run: o.run(members)}
	for _, s := range [...]Slot{SlotCustomer, SlotUser, SlotSession, SlotConversation, SlotFeature, SlotAgent, SlotStep} {
		r.values[s], r.origins[s] = o.value(members, s)
	}
	if r.values[SlotFeature] == "" {
		r.values[SlotFeature], r.origins[SlotFeature] = o.value(members, SlotFeatureFallback)
	}
	if r.values[SlotFeature] == "" {
		r.values[SlotFeature], r.origins[SlotFeature] = o.rootAgent(members[0])
	}
	if r.values[SlotStep] == "" {
		r.values[SlotStep], r.origins[SlotStep] = o.step(members)
	}
	seen := map[string]bool{}
	for _, m := range members {
		for _, list := range [...][]usage.Dimension{o.nodes[m].Own.Extra, o.nodes[m].Resource.Extra} {
			for _, d := range list {
				seen[d.Key] = true
			}
		}
	}
	for key := range o.extras {
		seen[key] = true
	}
	o.elsewhere(members, r.values[SlotConversation], seen)
	for _, key := range keysOf(seen) {
		if v := o.extra(members, key); v != "" {
			r.extra = append(r.extra, usage.Dimension{Key: key, Value: v})
		}
	}
	return r
}

// elsewhere adds the further dimensions that other traces tell of.
func (o *owner) elsewhere(members []int, conversation string, seen map[string]bool) {
	add := func(place Place) {
		if l := o.neighbour(place); l != nil {
			for _, d := range l.Identity.Extra {
				seen[d.Key] = true
			}
		}
	}
	for _, m := range members {
		if h := o.links[m]; h >= 0 {
			for _, place := range o.nodes[h].Links {
				add(place)
			}
		}
		for _, place := range o.doubles[m] {
			add(place)
		}
	}
	if !o.talks || conversation == "" {
		return
	}
	o.conversed(conversation, "")
	if c := o.conversations[conversation]; c != nil {
		for _, c := range c.all {
			if key, ok := strings.CutPrefix(c.dimension, extraKey("")); ok {
				seen[key] = true
			}
		}
	}
}

// rootAgent is the outermost agent above a span, which can stand for a feature that nobody declared.
func (o *owner) rootAgent(i int) (string, Origin) {
	name := ""
	if a := o.top[i]; a >= 0 {
		name = o.nodes[a].Own.Slots[SlotAgent]
	}
	if name == "" {
		return "", FromNowhere
	}
	return name, FromAncestor
}

// step is the nearest tool, else the node of the graph, else the agent.
func (o *owner) step(members []int) (string, Origin) {
	best := int32(-1)
	for _, m := range members {
		if t := o.tool[m]; t >= 0 && (best < 0 || o.nodes[t].depth > o.nodes[best].depth) {
			best = t
		}
	}
	if best >= 0 {
		return o.nodes[best].Own.Slots[SlotTool], FromAncestor
	}
	if v, origin := o.value(members, SlotNode); v != "" {
		return v, origin
	}
	return o.value(members, SlotAgent)
}
