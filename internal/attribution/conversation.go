package attribution

import (
	"bytes"
	"slices"

	"github.com/zeebo/xxh3"
)

// conversationSlots are the dimensions that a conversation can give.
var conversationSlots = [...]Slot{SlotCustomer, SlotUser, SlotSession, SlotFeature}

const (
	maxConversations = 256 // of one trace; of more it looks at the smallest by hash
	maxSaid          = 32  // things that a trace says of one conversation
)

// conversation is what is said of one: by this trace's spans, and by others.
type conversation struct {
	topic  Topic
	claims []claim // of this trace
	all    []claim // of all traces
}

// converse collects what the trace says of its conversations: whatever a span says that is in one.
func (o *owner) converse() {
	o.conversations = map[string]*conversation{}
	if !o.talks {
		return
	}
	for i := range o.nodes {
		f := o.nodes[i].Fact
		states := f.Own.Slots[SlotConversation] != "" || len(f.Own.Extra) > 0
		for _, s := range conversationSlots {
			states = states || f.Own.Slots[s] != ""
		}
		if !states && (o.nodes[i].parent >= 0 || f.Resource.Slots[SlotConversation] == "") || f.Role == RoleNever {
			continue
		}
		members := []int{i}
		id, origin := o.value(members, SlotConversation)
		if id == "" || origin == FromTrace { // whoever is in it says so itself
			continue
		}
		c := o.conversations[id]
		if c == nil {
			c = &conversation{topic: topic("conversation", id)}
			o.conversations[id] = c
		}
		if len(c.claims) > 4*maxSaid {
			c.claims = unique(c.claims)
		}
		if len(c.claims) > 4*maxSaid {
			continue
		}
		for _, s := range conversationSlots {
			if v, origin := o.said(members, s); v != "" {
				c.claims = append(c.claims, claim{dimension: slotKeys[s], value: v, weak: origin == FromResource})
			}
		}
		for key := range o.extraAt {
			if v := o.extraSaid(members, key); v != "" {
				c.claims = append(c.claims, claim{dimension: extraKey(key), value: v})
			}
		}
	}
	if len(o.conversations) > maxConversations {
		ids := keysOf(o.conversations)
		slices.SortFunc(ids, func(a, b string) int {
			return bytes.Compare(o.conversations[a].topic[:], o.conversations[b].topic[:])
		})
		for _, id := range ids[maxConversations:] {
			delete(o.conversations, id)
		}
	}
	for _, c := range o.conversations {
		if c.claims = unique(c.claims); len(c.claims) > maxSaid {
			c.claims = c.claims[:maxSaid]
		}
	}
}

// conversed is the one value of a dimension that all who tell of a conversation say. Where they say several, it decides nothing.
func (o *owner) conversed(id, dimension string) string {
	if id == "" || o.rules.off(RuleConversation) {
		return ""
	}
	if o.conversations == nil {
		o.converse()
	}
	c := o.conversations[id]
	if c == nil {
		if len(o.conversations) >= maxConversations {
			return ""
		}
		c = &conversation{topic: topic("conversation", id)}
		o.conversations[id] = c
	}
	if c.all == nil {
		c.all = append(make([]claim, 0, len(c.claims)+1), c.claims...)
		others, ok := o.near.Claims(c.topic, o.nodes[0].Trace)
		for _, b := range others {
			c.all = append(c.all, decodeClaims(b)...)
		}
		if !ok {
			c.all = c.all[:0]
		}
	}
	return one(c.all, dimension)
}

// conversationNotes are what others are told of this trace's conversations, and that it wants to hear of them.
func (o *owner) conversationNotes() (notes []Note) {
	if o.conversations == nil {
		o.converse()
	}
	for _, id := range keysOf(o.conversations) {
		c := o.conversations[id]
		n := Note{Place: Place{Trace: o.nodes[0].Trace}, Topic: c.topic, Kind: NoteConversation, Value: appendClaims(c.claims)}
		n.Sub = xxh3.Hash(n.Value)
		notes = append(notes, n)
	}
	return notes
}

func extraKey(key string) string { return "extra " + key }
