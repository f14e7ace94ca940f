package attribution

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"unicode/utf8"
)

// metadataPrefixes are where dialects put what the application says about a call; a '#' looks into JSON text or a map.
var metadataPrefixes = []string{
	"traceloop.association.properties.", "langfuse.observation.metadata.", "langfuse.trace.metadata.", "langsmith.metadata.", "mastra.metadata.",
	"lmnr.association.properties.metadata.", "litellm.metadata.", "ai.telemetry.metadata.", "ai.settings.context.", "metadata.", "metadata#", "agent.context#", "genkit:input#", "baggage.",
}

// defaultIdentity is where each dimension is looked for, best first.
func defaultIdentity() [numSlots][]string {
	under := func(names ...string) (out []string) {
		for _, p := range metadataPrefixes {
			for _, n := range names {
				out = append(out, p+n)
			}
		}
		return out
	}
	join := func(lists ...[]string) (out []string) {
		for _, l := range lists {
			out = append(out, l...)
		}
		return out
	}
	return [numSlots][]string{
		SlotCustomer: join(
			[]string{"usagebox.customer.id", "customer.id", "app.customer.id", "tenant.id"},
			under("customer_id", "customerId", "customer.id", "tenant_id", "tenantId"),
			[]string{"customerId", "langwatch.customer.id", "litellm.team.id", "metadata.user_api_key_team_id"},
		),
		SlotUser: join(
			[]string{"usagebox.user.id", "user.id", "enduser.id", "langfuse.user.id", "litellm.end_user.id", "metadata.user_api_key_end_user_id", "metadata.user_api_key_user_id", "lmnr.association.properties.user_id", "langwatch.user.id"},
			under("user_id", "userId"),
		),
		SlotSession:         join([]string{"usagebox.session.id", "session.id", "langfuse.session.id", "lmnr.association.properties.session_id", "gcp.vertex.agent.session_id"}, under("session_id", "sessionId")),
		SlotConversation:    join([]string{"gen_ai.conversation.id", "conversation.id", "spring.ai.chat.client.conversation.id", "langwatch.thread.id"}, under("conversation_id", "conversationId", "thread_id", "threadId")),
		SlotFeature:         join([]string{"usagebox.feature", "feature.name", "feature", "app.feature"}, under("feature")),
		SlotFeatureFallback: {"gen_ai.workflow.name", "traceloop.workflow.name", "ai.telemetry.functionId"},
		SlotStep:            {"usagebox.step"},
	}
}

// cut shortens a value to max bytes; a shortened one ends in a hash of the whole, so that two long values stay two.
func cut(value string, limit int) string {
	if len(value) <= limit && utf8.ValidString(value) {
		return value
	}
	sum := sha256.Sum256([]byte(value))
	suffix := "~" + hex.EncodeToString(sum[:8])
	if len(value) > limit {
		value = value[:max(0, limit-len(suffix))]
	}
	value = strings.ToValidUTF8(value, "")
	return value + suffix
}
