package attribution

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// attrs are a span's attributes.
type attrs map[string]any

// source says what a row of the table was written from.
const (
	recorded  = "a recording in test/testdata/captures"
	tried     = "spans that the package sent to a local server"
	published = "the package's published code; no recording"
)

type dialectRow struct {
	dialect, from, scope, name string
	kind                       ptrace.SpanKind
	attributes                 attrs
	role                       Role
	want                       string // the tokens as they are read
}

// A row for each way in which an instrumentation writes a thing down.
var dialectRows = []dialectRow{
	{"opentelemetry", recorded, "any", "chat gpt-4o", ptrace.SpanKindClient, attrs{"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 2}, RoleCall, "llm_tokens_in=10 llm_tokens_out=2"},
	{"opentelemetry", published, "any", "generate_content g", ptrace.SpanKindClient, attrs{"gen_ai.operation.name": "generate_content", "gen_ai.usage.input_tokens": "10", "gen_ai.usage.output_tokens": 2.0, "gen_ai.usage.cache_read.input_tokens": 4, "gen_ai.usage.reasoning.output_tokens": 1}, RoleCall, "llm_tokens_cache_read=4 llm_tokens_in=6 llm_tokens_out=1 llm_tokens_reasoning=1"},
	{"opentelemetry", recorded, "any", "embeddings e", ptrace.SpanKindClient, attrs{"gen_ai.operation.name": "embeddings", "gen_ai.usage.input_tokens": 10}, RoleEmbedding, "llm_tokens_in=10"},
	{"opentelemetry", published, "any", "retrieval d", ptrace.SpanKindClient, attrs{"gen_ai.operation.name": "retrieval"}, RoleRetrieval, ""},
	{"opentelemetry", published, "any", "search_memory", ptrace.SpanKindClient, attrs{"gen_ai.operation.name": "search_memory"}, RoleMemory, ""},
	{"opentelemetry", published, "any", "create_memory_store", ptrace.SpanKindClient, attrs{"gen_ai.operation.name": "create_memory_store"}, RoleMemory, ""},
	{"opentelemetry", recorded, "any", "execute_tool t", ptrace.SpanKindInternal, attrs{"gen_ai.operation.name": "execute_tool"}, RoleTool, ""},
	{"opentelemetry", recorded, "any", "invoke_agent a", ptrace.SpanKindInternal, attrs{"gen_ai.operation.name": "invoke_agent"}, RoleAgent, ""},
	{"opentelemetry", published, "any", "invoke_workflow", ptrace.SpanKindInternal, attrs{"gen_ai.operation.name": "invoke_workflow"}, RoleWrapper, ""},
	{"opentelemetry", published, "any", "fetch_response", ptrace.SpanKindClient, attrs{"gen_ai.operation.name": "fetch_response"}, RoleWrapper, ""},
	{"opentelemetry", published, "any", "create_agent", ptrace.SpanKindClient, attrs{"gen_ai.operation.name": "create_agent"}, RolePlain, ""},
	{"opentelemetry", published, "any", "count_tokens", ptrace.SpanKindClient, attrs{"gen_ai.operation.name": "count_tokens", "gen_ai.usage.input_tokens": 10}, RoleNever, ""},
	{"opentelemetry", published, "any", "think_hard", ptrace.SpanKindClient, attrs{"gen_ai.operation.name": "think_hard", "gen_ai.request.model": "x", "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 1}, RoleCall, "llm_tokens_in=10 llm_tokens_out=1"},
	{"mcp", published, "mcp", "tools/call look", ptrace.SpanKindServer, attrs{"mcp.method.name": "tools/call", "gen_ai.tool.name": "look"}, RoleTool, ""},
	{"mcp", published, "mcp", "tools/list", ptrace.SpanKindServer, attrs{"mcp.method.name": "tools/list"}, RolePlain, ""},

	{"openllmetry", recorded, "@traceloop/instrumentation-anthropic", "anthropic.chat", ptrace.SpanKindClient, attrs{"gen_ai.operation.name": "chat", "gen_ai.request.model": "claude-sonnet-4-5", "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 2, "gen_ai.usage.cache_read_input_tokens": 4}, RoleCall, "llm_tokens_cache_read=4 llm_tokens_in=10 llm_tokens_out=2"},
	{"opentelemetry-python", published, "opentelemetry.instrumentation.openai.v1", "openai.chat", ptrace.SpanKindClient, attrs{"llm.request.type": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.prompt_tokens": 10, "gen_ai.usage.completion_tokens": 2, "llm.usage.total_tokens": 12}, RoleCall, "llm_tokens_in=10 llm_tokens_out=2"},
	{"openllmetry-1", published, "instrumentation.of.old", "bedrock.completion", ptrace.SpanKindClient, attrs{"llm.request.type": "completion", "gen_ai.usage.prompt_tokens": 10, "gen_ai.usage.completion_tokens": 2}, RoleCall, "llm_tokens_in=10 llm_tokens_out=2"},
	{"openllmetry-langchain", recorded, "@traceloop/instrumentation-langchain", "chat gpt-4o", ptrace.SpanKindClient, attrs{"llm.request.type": "chat", "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 2}, RoleCall, "llm_tokens_in=10 llm_tokens_out=2"},
	{"traceloop", recorded, "@traceloop/node-server-sdk", "refund.workflow", ptrace.SpanKindInternal, attrs{"traceloop.span.kind": "workflow"}, RoleWrapper, ""},
	{"traceloop", published, "opentelemetry.instrumentation.crewai", "Researcher.agent", ptrace.SpanKindClient, attrs{"traceloop.span.kind": "agent"}, RoleAgent, ""},
	{"crewai", published, "opentelemetry.instrumentation.crewai", "Crew Created", ptrace.SpanKindInternal, attrs{"gen_ai.system": "crewai"}, RoleWrapper, ""},

	{"openinference", recorded, "@arizeai/openinference-instrumentation-openai", "OpenAI Chat Completions", ptrace.SpanKindInternal, attrs{"openinference.span.kind": "LLM", "llm.model_name": "gpt-4o", "llm.token_count.prompt": 10, "llm.token_count.completion": 2, "llm.token_count.total": 12, "llm.token_count.prompt_details.cache_read": 4}, RoleCall, "llm_tokens_cache_read=4 llm_tokens_in=6 llm_tokens_out=2"},
	{"openinference", recorded, "x", "e", ptrace.SpanKindInternal, attrs{"openinference.span.kind": "EMBEDDING", "embedding.model_name": "e"}, RoleEmbedding, ""},
	{"openinference", recorded, "x", "a", ptrace.SpanKindInternal, attrs{"openinference.span.kind": "AGENT"}, RoleAgent, ""},
	{"openinference", published, "openinference.instrumentation.crewai", "Crew_1.kickoff", ptrace.SpanKindInternal, attrs{"openinference.span.kind": "CHAIN", "llm.token_count.prompt": 100, "llm.token_count.completion": 10}, RoleWrapper, "llm_tokens_in=100 llm_tokens_out=10"},
	{"openinference", published, "x", "CountTokens", ptrace.SpanKindInternal, attrs{"openinference.span.kind": "TOKEN_COUNTER", "llm.token_count.prompt": 10}, RoleNever, ""},

	{"vercel-ai-sdk", recorded, "ai", "ai.generateText.doGenerate", ptrace.SpanKindInternal, attrs{"ai.operationId": "ai.generateText.doGenerate", "ai.model.id": "gpt-4o", "ai.usage.promptTokens": 10, "ai.usage.completionTokens": 2}, RoleCall, "llm_tokens_in=10 llm_tokens_out=2"},
	{"vercel-ai-sdk", tried, "ai", "ai.generateText.doGenerate", ptrace.SpanKindInternal, attrs{"ai.operationId": "ai.generateText.doGenerate", "ai.model.id": "claude-sonnet-4-5", "ai.model.provider": "anthropic.messages", "ai.usage.promptTokens": 10, "ai.usage.completionTokens": 2, "ai.response.providerMetadata": `{"anthropic":{"usage":{"cache_read_input_tokens":4},"cacheCreationInputTokens":3}}`}, RoleCall, "llm_tokens_cache_read=4 llm_tokens_cache_write=3 llm_tokens_in=10 llm_tokens_out=2"},
	{"vercel-ai-sdk", recorded, "ai", "ai.streamText", ptrace.SpanKindInternal, attrs{"ai.operationId": "ai.streamText", "ai.usage.inputTokens": 10, "ai.usage.outputTokens": 2}, RoleWrapper, "llm_tokens_in=10 llm_tokens_out=2"},
	{"vercel-ai-sdk", recorded, "ai", "ai.embed.doEmbed", ptrace.SpanKindInternal, attrs{"ai.operationId": "ai.embed.doEmbed", "ai.usage.tokens": 10}, RoleEmbedding, "llm_tokens_in=10"},
	{"openinference-agents", tried, "@arizeai/openinference-instrumentation-openai-agents", "Agent workflow", ptrace.SpanKindInternal, attrs{"openinference.span.kind": "AGENT"}, RoleWrapper, ""},
	{"openinference-agents", tried, "@arizeai/openinference-instrumentation-openai-agents", "handoff to writer", ptrace.SpanKindInternal, attrs{"openinference.span.kind": "TOOL"}, RolePlain, ""},
	{"openinference-agents", tried, "@arizeai/openinference-instrumentation-openai-agents", "search", ptrace.SpanKindInternal, attrs{"openinference.span.kind": "TOOL", "tool.name": "search"}, RoleTool, ""},
	{"openinference-agents", published, "openinference.instrumentation.openai_agents", "planner", ptrace.SpanKindInternal, attrs{"openinference.span.kind": "AGENT", "llm.system": "openai"}, RoleAgent, ""},
	{"openinference-agents", tried, "@arizeai/openinference-instrumentation-openai-agents", "planner", ptrace.SpanKindInternal, attrs{"openinference.span.kind": "AGENT", "graph.node.id": "planner"}, RoleAgent, ""},
	{"openinference-agents", tried, "@arizeai/openinference-instrumentation-openai-agents", "response", ptrace.SpanKindInternal, attrs{"openinference.span.kind": "LLM", "llm.model_name": "gpt-4o", "llm.token_count.prompt": 10, "llm.token_count.completion": 2, "llm.token_count.total": 12, "llm.token_count.prompt_details.cache_read": 4, "llm.token_count.completion_details.reasoning": 1}, RoleCall, "llm_tokens_cache_read=4 llm_tokens_in=6 llm_tokens_out=1 llm_tokens_reasoning=1"},
	{"openinference-bedrock", tried, "@arizeai/openinference-instrumentation-bedrock", "bedrock.converse", ptrace.SpanKindInternal, attrs{"openinference.span.kind": "LLM", "llm.model_name": "claude-sonnet-4-5", "llm.token_count.prompt": 10, "llm.token_count.completion": 2, "llm.token_count.total": 19, "output.value": `{"usage":{"inputTokens":10,"outputTokens":2,"cacheReadInputTokens":4,"cacheWriteInputTokens":3}}`}, RoleCall, "llm_tokens_cache_read=4 llm_tokens_cache_write=3 llm_tokens_in=10 llm_tokens_out=2"},
	{"openllmetry", tried, "@traceloop/instrumentation-bedrock", "bedrock.completion", ptrace.SpanKindClient, attrs{"gen_ai.provider.name": "aws.bedrock", "gen_ai.request.model": "claude-sonnet-4-5"}, RoleCall, ""},
	{"openllmetry", tried, "@traceloop/instrumentation-together-ai", "together.chat", ptrace.SpanKindClient, attrs{"gen_ai.system": "TogetherAI", "llm.request.type": "chat", "gen_ai.request.model": "meta-llama/Llama-3", "gen_ai.usage.prompt_tokens": 10, "gen_ai.usage.completion_tokens": 2, "llm.usage.total_tokens": 12}, RoleCall, "llm_tokens_in=10 llm_tokens_out=2"},
	{"vercel-ai-sdk", recorded, "ai", "ai.toolCall", ptrace.SpanKindInternal, attrs{"ai.operationId": "ai.toolCall"}, RoleTool, ""},
	{"opentelemetry", recorded, "ai", "step 1", ptrace.SpanKindInternal, attrs{"gen_ai.operation.name": "agent_step"}, RoleWrapper, ""},

	{"litellm", published, "litellm", "litellm_request", ptrace.SpanKindInternal, attrs{"gen_ai.operation.name": "acompletion", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.prompt_tokens": 10, "gen_ai.usage.completion_tokens": 2, "gen_ai.usage.total_tokens": 12}, RoleCall, "llm_tokens_in=10 llm_tokens_out=2"},
	{"litellm", published, "litellm", "litellm_request", ptrace.SpanKindInternal, attrs{"gen_ai.operation.name": "aembedding", "gen_ai.usage.prompt_tokens": 10}, RoleEmbedding, "llm_tokens_in=10"},
	{"litellm", published, "litellm", "chat gpt-4o", ptrace.SpanKindClient, attrs{"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 2}, RoleCall, "llm_tokens_in=10 llm_tokens_out=2"},
	{"litellm", published, "litellm", "Received Proxy Server Request", ptrace.SpanKindServer, attrs{"gen_ai.usage.prompt_tokens": 10, "gen_ai.usage.completion_tokens": 2}, RoleWrapper, "llm_tokens_in=10 llm_tokens_out=2"},

	{"logfire", published, "pydantic-ai", "chat gpt-4o", ptrace.SpanKindInternal, attrs{"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 2, "gen_ai.usage.details.cache_read_tokens": 4, "gen_ai.usage.cache_read.input_tokens": 4}, RoleCall, "llm_tokens_cache_read=4 llm_tokens_in=6 llm_tokens_out=2"},
	{"logfire", published, "pydantic-ai", "agent run", ptrace.SpanKindInternal, attrs{"agent_name": "a", "gen_ai.aggregated_usage.input_tokens": 10, "gen_ai.aggregated_usage.output_tokens": 2}, RoleAgent, "llm_tokens_in=10 llm_tokens_out=2"},
	{"logfire", published, "pydantic-ai", "running tool", ptrace.SpanKindInternal, attrs{"gen_ai.tool.name": "t"}, RoleTool, ""},
	{"placeholder", published, "logfire", "chat gpt-4o", ptrace.SpanKindInternal, attrs{"logfire.span_type": "pending_span", "gen_ai.operation.name": "chat"}, RoleNever, ""},

	{"openai-agents", published, "openai-agents", "generation", ptrace.SpanKindClient, attrs{"gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 2}, RoleCall, "llm_tokens_in=10 llm_tokens_out=2"},
	{"openai-agents", published, "opentelemetry.instrumentation.openai_agents", "openai.response", ptrace.SpanKindClient, attrs{"gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 2}, RoleCall, "llm_tokens_in=10 llm_tokens_out=2"},
	{"openai-agents", published, "openai-agents", "turn", ptrace.SpanKindInternal, attrs{"gen_ai.usage.input_tokens": 10}, RoleWrapper, "llm_tokens_in=10"},

	{"langsmith", tried, "langsmith", "ChatOpenAI", ptrace.SpanKindInternal, attrs{"langsmith.span.kind": "llm", "gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 2, "gen_ai.usage.total_tokens": 12, "langsmith.usage_metadata": `{"input_token_details":{"cache_read":4},"output_token_details":{"reasoning":1}}`}, RoleCall, "llm_tokens_cache_read=4 llm_tokens_in=6 llm_tokens_out=1 llm_tokens_reasoning=1"},
	{"langsmith", tried, "langsmith", "ChatAnthropic", ptrace.SpanKindInternal, attrs{"langsmith.span.kind": "llm", "gen_ai.usage.input_tokens": 20, "gen_ai.usage.output_tokens": 2, "langsmith.usage_metadata": `{"input_token_details":{"ephemeral_5m_input_tokens":3,"ephemeral_1hr_input_tokens":5,"cache_read":4}}`}, RoleCall, "llm_tokens_cache_read=4 llm_tokens_cache_write=8 llm_tokens_in=8 llm_tokens_out=2"},
	{"langsmith", published, "langsmith", "ChatAnthropic", ptrace.SpanKindInternal, attrs{"langsmith.span.kind": "llm", "gen_ai.usage.input_tokens": 20, "gen_ai.usage.output_tokens": 2, "langsmith.usage_metadata": `{"input_token_details":{"ephemeral_5m_input_tokens":3,"cache_creation":0}}`}, RoleCall, "llm_tokens_cache_write=3 llm_tokens_in=17 llm_tokens_out=2"},
	{"langsmith", published, "langsmith", "ChatOpenAI", ptrace.SpanKindInternal, attrs{"langsmith.span.kind": "llm", "gen_ai.usage.input_tokens": 20, "gen_ai.usage.output_tokens": 2, "langsmith.usage_metadata": `{"input_token_details":{"priority_cache_read":4},"output_token_details":{"priority_reasoning":1}}`}, RoleCall, "llm_tokens_cache_read=4 llm_tokens_in=16 llm_tokens_out=1 llm_tokens_reasoning=1"},
	{"langsmith", published, "langsmith", "Prompt", ptrace.SpanKindInternal, attrs{"langsmith.span.kind": "prompt", "gen_ai.operation.name": "chat"}, RolePlain, ""},
	{"langsmith", published, "langsmith", "Retriever", ptrace.SpanKindInternal, attrs{"langsmith.span.kind": "retriever", "gen_ai.operation.name": "embeddings"}, RoleRetrieval, ""},

	{"langfuse", recorded, "langfuse-sdk", "OpenAI.chat", ptrace.SpanKindInternal, attrs{"langfuse.observation.type": "generation", "langfuse.observation.usage_details": `{"input":6,"input_cached_tokens":4,"output":1,"output_reasoning_tokens":1,"total":12}`}, RoleCall, "llm_tokens_cache_read=4 llm_tokens_in=6 llm_tokens_out=1 llm_tokens_reasoning=1"},
	{"langfuse", published, "langfuse-sdk", "a", ptrace.SpanKindInternal, attrs{"langfuse.observation.type": "agent"}, RoleAgent, ""},

	{"google-adk", published, "gcp.vertex.agent", "call_llm", ptrace.SpanKindInternal, attrs{"gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 2, "gcp.vertex.agent.llm_response": `{"usage_metadata":{"prompt_token_count":10,"cached_content_token_count":4,"candidates_token_count":2,"thoughts_token_count":3,"total_token_count":15}}`}, RoleCall, "llm_tokens_cache_read=4 llm_tokens_in=6 llm_tokens_out=2 llm_tokens_reasoning=3"},
	{"google-adk", tried, "gcp.vertex.agent", "call_llm", ptrace.SpanKindInternal, attrs{"gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 2, "gcp.vertex.agent.llm_response": `{"usageMetadata":{"promptTokenCount":10,"cachedContentTokenCount":4,"candidatesTokenCount":2,"thoughtsTokenCount":3,"totalTokenCount":15}}`}, RoleCall, "llm_tokens_cache_read=4 llm_tokens_in=6 llm_tokens_out=2 llm_tokens_reasoning=3"},
	{"google-adk", tried, "gcp.vertex.agent", "invocation", ptrace.SpanKindInternal, attrs{"gcp.vertex.agent.invocation_id": "i", "gen_ai.request.model": "g"}, RoleWrapper, ""},
	{"microsoft-agents", published, "agent_framework", "chat gpt-4o", ptrace.SpanKindClient, attrs{"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 2}, RoleCall, "llm_tokens_in=10 llm_tokens_out=2"},
	{"microsoft-agents", published, "agent_framework", "workflow.run", ptrace.SpanKindInternal, attrs{"gen_ai.operation.name": "workflow.run", "gen_ai.usage.input_tokens": 10}, RoleWrapper, "llm_tokens_in=10"},
	{"strands", recorded, "strands-agents", "chat", ptrace.SpanKindInternal, attrs{"gen_ai.operation.name": "chat", "gen_ai.request.model": "claude-sonnet-4-5", "gen_ai.usage.input_tokens": 10, "gen_ai.usage.prompt_tokens": 10, "gen_ai.usage.output_tokens": 2, "gen_ai.usage.cache_read_input_tokens": 4}, RoleCall, "llm_tokens_cache_read=4 llm_tokens_in=10 llm_tokens_out=2"},
	{"spring-ai-model", published, "org.springframework.boot", "chat gpt-4o", ptrace.SpanKindClient, attrs{"gen_ai.operation.name": "chat", "gen_ai.system": "openai", "gen_ai.usage.input_tokens": "10", "gen_ai.usage.output_tokens": "2", "gen_ai.usage.total_tokens": "12"}, RoleCall, "llm_tokens_in=10 llm_tokens_out=2"},
	{"spring-ai", published, "org.springframework.boot", "spring_ai chat_client", ptrace.SpanKindInternal, attrs{"spring.ai.kind": "chat_client", "gen_ai.operation.name": "framework", "gen_ai.usage.input_tokens": "10"}, RoleWrapper, "llm_tokens_in=10"},
	{"spring-ai", published, "org.springframework.boot", "tool_call look", ptrace.SpanKindInternal, attrs{"spring.ai.kind": "tool_call", "gen_ai.operation.name": "framework", "spring.ai.tool.definition.name": "look"}, RoleTool, ""},
	{"mastra", recorded, "@mastra/otel-exporter", "chat gpt-4o", ptrace.SpanKindClient, attrs{"mastra.span.type": "model_inference", "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 2, "gen_ai.usage.reasoning_tokens": 1}, RoleCall, "llm_tokens_in=10 llm_tokens_out=1 llm_tokens_reasoning=1"},
	{"mastra-0", tried, "@mastra/otel", "chat claude", ptrace.SpanKindClient, attrs{"mastra.span.type": "model_generation", "gen_ai.request.model": "claude-sonnet-4-5", "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 2, "gen_ai.usage.cached_input_tokens": 4}, RoleWrapper, "llm_tokens_cache_read=4 llm_tokens_in=10 llm_tokens_out=2"},
	{"mastra-0", tried, "@mastra/otel", "step: 0", ptrace.SpanKindInternal, attrs{"mastra.span.type": "model_step", "modelId": "claude-sonnet-4-5", "body": `{"id":"m","usage":{"input_tokens":10,"cache_read_input_tokens":4,"cache_creation_input_tokens":3,"output_tokens":2}}`}, RoleCall, "llm_tokens_cache_read=4 llm_tokens_cache_write=3 llm_tokens_in=10 llm_tokens_out=2"},
	{"openlit", tried, "@openlit/instrumentation-anthropic", "chat claude-sonnet-4-5", ptrace.SpanKindClient, attrs{"gen_ai.operation.name": "chat", "gen_ai.request.model": "claude-sonnet-4-5", "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 2, "gen_ai.usage.cache_creation.input_tokens": 4}, RoleCall, "llm_tokens_cache_write=4 llm_tokens_in=10 llm_tokens_out=2"},
	{"genkit", tried, "genkit-tracer", "openai/gpt-4o", ptrace.SpanKindInternal, attrs{"genkit:type": "action", "genkit:metadata:subtype": "model", "genkit:name": "openai/gpt-4o", "genkit:output": `{"usage":{"inputTokens":10,"outputTokens":2,"totalTokens":12},"raw":{"usage":{"prompt_tokens_details":{"cached_tokens":4}}}}`}, RoleCall, "llm_tokens_cache_read=4 llm_tokens_in=6 llm_tokens_out=2"},
	{"genkit", tried, "genkit-tracer", "generate", ptrace.SpanKindInternal, attrs{"genkit:type": "util", "genkit:output": `{"usage":{"inputTokens":10,"outputTokens":2}}`}, RoleWrapper, "llm_tokens_in=10 llm_tokens_out=2"},
	{"voltagent", tried, "@voltagent/core", "boss", ptrace.SpanKindInternal, attrs{"entity.type": "agent", "span.type": "agent", "usage.prompt_tokens": 10, "usage.completion_tokens": 2, "usage.cached_tokens": 4}, RoleAgent, "llm_tokens_cache_read=4 llm_tokens_in=6 llm_tokens_out=2"},
	{"voltagent", tried, "@voltagent/core", "memory.read", ptrace.SpanKindInternal, attrs{"entity.type": "agent", "span.type": "memory"}, RoleMemory, ""},
	{"voltagent-step", tried, "@voltagent/core", "llm:generateText", ptrace.SpanKindClient, attrs{"entity.type": "agent", "span.type": "llm", "llm.usage.prompt_tokens": 10}, RolePlain, ""},
	{"claude-code", recorded, "com.anthropic.claude_code.tracing", "claude_code.llm_request", ptrace.SpanKindInternal, attrs{"model": "claude-sonnet-4-5", "input_tokens": 10, "output_tokens": 2, "cache_read_tokens": 4, "cache_creation_tokens": 1}, RoleCall, "llm_tokens_cache_read=4 llm_tokens_cache_write=1 llm_tokens_in=10 llm_tokens_out=2"},
	{"anthropic-sdk", recorded, "com.anthropic.sdk.typescript", "anthropic.messages.create", ptrace.SpanKindClient, attrs{"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 2, "gen_ai.usage.cache_write.input_tokens": 4}, RoleCall, "llm_tokens_cache_write=4 llm_tokens_in=6 llm_tokens_out=2"},
	{"openinference", published, "envoyproxy/ai-gateway", "ChatCompletion", ptrace.SpanKindInternal, attrs{"openinference.span.kind": "LLM", "llm.token_count.prompt": 10, "llm.token_count.completion": 2}, RoleCall, "llm_tokens_in=10 llm_tokens_out=2"},
	{"envoy-ai-gateway", published, "envoyproxy/ai-gateway", "chat claude", ptrace.SpanKindClient, attrs{"gen_ai.operation.name": "chat", "gen_ai.request.model": "claude-sonnet-4-5", "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 2, "gen_ai.usage.cache_read.input_tokens": 4}, RoleCall, "llm_tokens_cache_read=4 llm_tokens_in=10 llm_tokens_out=2"},
	{"envoy-ai-gateway", published, "envoyproxy/ai-gateway", "tokenize", ptrace.SpanKindClient, attrs{"gen_ai.operation.name": "tokenize", "gen_ai.usage.input_tokens": 10}, RoleNever, ""},
	{"vllm", published, "vllm.llm_engine", "llm_request", ptrace.SpanKindServer, attrs{"gen_ai.response.model": "m", "gen_ai.usage.prompt_tokens": 10, "gen_ai.usage.completion_tokens": 2}, RoleCall, "llm_tokens_in=10 llm_tokens_out=2"},
	{"merged-tools", published, "gcp.vertex.agent", "execute_tool (merged tools)", ptrace.SpanKindInternal, attrs{"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "(merged tools)"}, RoleNever, ""},
	{"unknown", published, "brand.new", "infer", ptrace.SpanKindInternal, attrs{"model": "m", "usage.prompt_tokens": 10, "usage.completion_tokens": 2}, RoleCall, "llm_tokens_in=10 llm_tokens_out=2"},
}

func put(s ptrace.Span, attributes attrs) {
	for k, v := range attributes {
		switch v := v.(type) {
		case string:
			s.Attributes().PutStr(k, v)
		case int:
			s.Attributes().PutInt(k, int64(v))
		case float64:
			s.Attributes().PutDouble(k, v)
		}
	}
}

func readOne(t *testing.T, r *Reader, scope, name string, kind ptrace.SpanKind, attributes attrs) Fact {
	t.Helper()
	td := ptrace.NewTraces()
	ss := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty()
	ss.Scope().SetName(scope)
	s := ss.Spans().AppendEmpty()
	s.SetTraceID([16]byte{1})
	s.SetSpanID([8]byte{1})
	s.SetName(name)
	s.SetKind(kind)
	s.SetEndTimestamp(1_000_000)
	put(s, attributes)
	facts := r.Read(td, arrival)
	if len(facts) != 1 {
		t.Fatalf("%d facts of one span", len(facts))
	}
	return facts[0]
}

func TestEachDialectIsReadAsItsInstrumentationWrites(t *testing.T) {
	r := newReader(t)
	rows := map[string]bool{}
	for _, row := range slices.Concat(dialectRows, publishedRows) {
		rows[row.dialect] = true
		t.Run(row.dialect+" "+row.name, func(t *testing.T) {
			f := readOne(t, r, row.scope, row.name, row.kind, row.attributes)
			if f.Dialect != row.dialect || f.Role != row.role {
				t.Fatalf("read by %q as %s, want %q as %s (%s)", f.Dialect, f.Role, row.dialect, row.role, row.from)
			}
			if f.Role == RoleNever {
				return
			}
			reading := f.Reading()
			var got []string
			for meter, n := range reading.Vector.Named() {
				got = append(got, fmt.Sprintf("%s=%d", meter, n))
			}
			slices.Sort(got)
			if strings.Join(got, " ") != row.want {
				t.Errorf("got %s, want %s", strings.Join(got, " "), row.want)
			}
		})
	}
	for _, d := range r.dialects {
		if !rows[d.Name] && d.Signal != signalLog {
			t.Errorf("the dialect %s has no row in this test", d.Name)
		}
	}
}

func TestLogRecordsOfCodingAgentsAreCalls(t *testing.T) {
	r := newReader(t)
	for _, row := range []struct {
		from, body string
		attributes attrs
		want       string
	}{
		{recorded, "claude_code.api_request", attrs{"event.name": "api_request", "model": "claude-sonnet-4-5", "input_tokens": "10", "output_tokens": "2", "cache_read_tokens": "4", "cache_creation_tokens": "1", "duration_ms": "1500"}, "llm_tokens_cache_read=4 llm_tokens_cache_write=1 llm_tokens_in=10 llm_tokens_out=2"},
		{published, "", attrs{"event.name": "codex.sse_event", "event.kind": "response.completed", "model": "gpt-5", "input_token_count": "10", "cached_token_count": 4, "output_token_count": 5, "reasoning_token_count": 3}, "llm_tokens_cache_read=4 llm_tokens_in=6 llm_tokens_out=2 llm_tokens_reasoning=3"},
		{published, "API response from gemini", attrs{"event.name": "gemini_cli.api_response", "model": "gemini-2.5-pro", "input_token_count": 10, "cached_content_token_count": 4, "output_token_count": 2, "thoughts_token_count": 3, "total_token_count": 15}, "llm_tokens_cache_read=4 llm_tokens_in=6 llm_tokens_out=2 llm_tokens_reasoning=3"},
	} {
		ld := plog.NewLogs()
		records := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords()
		l := records.AppendEmpty()
		l.SetTimestamp(5_000_000_000)
		l.Body().SetStr(row.body)
		span := ptrace.NewSpan()
		put(span, row.attributes)
		span.Attributes().CopyTo(l.Attributes())
		l.CopyTo(records.AppendEmpty()) // sent twice
		records.AppendEmpty().Body().SetStr("something else")
		facts := r.ReadLogs(ld, arrival)
		if len(facts) != 2 || facts[0].Place != facts[1].Place {
			t.Fatalf("%s: %d facts, want two of one call", row.body, len(facts))
		}
		d := Decide(facts, nil)
		if len(d.Events) != 1 || d.Events[0].Event.Source != "log" {
			t.Fatalf("%s: %d events, want one from a log", row.body, len(d.Events))
		}
		var got []string
		for meter, n := range d.Events[0].Reading.Vector.Named() {
			got = append(got, fmt.Sprintf("%s=%d", meter, n))
		}
		slices.Sort(got)
		if strings.Join(got, " ") != row.want {
			t.Errorf("%v: got %s, want %s (%s)", row.attributes, strings.Join(got, " "), row.want, row.from)
		}
	}
}

// A callback's context may be another request's: the trace is then the wrong one, and the observation's own metadata the right one.
func TestWhatAnObservationSaysOfItselfGoesBeforeWhatItsTraceSays(t *testing.T) {
	f := readOne(t, newReader(t), "langfuse-sdk", "ChatOpenAI", ptrace.SpanKindInternal, attrs{
		"langfuse.observation.type": "generation", "langfuse.trace.metadata.customerId": "acme", "langfuse.observation.metadata.customer_id": "globex", "langfuse.trace.metadata.feature": "refunds",
	})
	if f.Own.Slots[SlotCustomer] != "globex" || f.Own.Slots[SlotFeature] != "refunds" {
		t.Errorf("it is of %q for %q", f.Own.Slots[SlotCustomer], f.Own.Slots[SlotFeature])
	}
}

// Codex tells of the end of a stream before it tells of its tokens, under the same name.
func TestTheEventOfAStreamsEndIsNoCall(t *testing.T) {
	ld := plog.NewLogs()
	l := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
	for k, v := range map[string]string{"event.name": "codex.sse_event", "event.kind": "response.completed", "model": "gpt-5", "duration_ms": "12"} {
		l.Attributes().PutStr(k, v)
	}
	if facts := newReader(t).ReadLogs(ld, arrival); len(facts) != 0 {
		t.Errorf("%d facts of an event without tokens", len(facts))
	}
}

func TestNumbersThatCannotBeTokensAreRefused(t *testing.T) {
	r := newReader(t)
	for _, bad := range []any{-1, 1.5, "-3", "ten", "1e40", true} {
		f := readOne(t, r, "x", "chat m", ptrace.SpanKindClient, attrs{"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": bad, "gen_ai.usage.output_tokens": 5})
		if _, isBool := bad.(bool); isBool {
			continue
		}
		if f.Usage.has(FieldInput) || !f.is(TraitInvalid) || f.Refused != fmt.Sprintf("input %q", fmt.Sprint(bad)) {
			t.Errorf("%v is taken as %d tokens, refused is %s", bad, f.Usage.N[FieldInput], f.Refused)
		}
		events := Decide([]Fact{f}, nil).Events
		if len(events) != 1 {
			t.Fatal(events)
		}
		e := &events[0].Event
		if refusals := usage.RefusedNumbers([]usage.Event{*e}); len(refusals) != 1 || !strings.Contains(refusals[0].Detail, f.Refused) || e.Line(usage.MeterTokensOut) == nil || e.Line(usage.MeterTokensIn) != nil {
			t.Errorf("%v: %+v of %+v", bad, refusals, e)
		}
	}
	for text, want := range map[any]int64{"12": 12, 12.0: 12, "1.2e1": 12} {
		f := readOne(t, r, "x", "chat m", ptrace.SpanKindClient, attrs{"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": text})
		if f.Usage.N[FieldInput] != want {
			t.Errorf("%v is taken as %d tokens, want %d", text, f.Usage.N[FieldInput], want)
		}
	}
}

func TestOwnDialectsGoBeforeTheBuiltIn(t *testing.T) {
	file := filepath.Join(t.TempDir(), "own.yaml")
	text := "version: 1\ndialects:\n  - name: inhouse\n    match: {scopes: [acme.llm]}\n    rank: 70\n    default_role: call\n    tokens: {input: [acme.in], output: ['acme.usage#out']}\n    texts: {requested: [acme.model]}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := NewReader(Config{Dialects: []string{file}, Dimensions: map[string][]string{"customer": {"acme.account"}, "region": {"acme.region"}}})
	if err != nil {
		t.Fatal(err)
	}
	f := readOne(t, r, "acme.llm", "infer", ptrace.SpanKindInternal, attrs{"acme.in": 7, "acme.usage": `{"out":"3"}`, "acme.model": "m", "acme.account": "c", "acme.region": "eu"})
	d := Decide([]Fact{f}, nil)
	if len(d.Events) != 1 {
		t.Fatalf("%d events", len(d.Events))
	}
	e := d.Events[0].Event
	if e.Customer != "c" || e.Model != "m" || e.Line(usage.MeterTokensIn).Quantity != usage.Units(7) || e.Line(usage.MeterTokensOut).Quantity != usage.Units(3) || !slices.Contains(e.Dimensions, usage.Dimension{Key: "region", Value: "eu"}) {
		t.Errorf("%+v", e)
	}
}

func TestErrorsInADialectFileNameFieldAndAcceptedValues(t *testing.T) {
	for text, want := range map[string]string{
		"":                                  "is empty",
		"version: 2":                        "version is 2, this program reads 1",
		"version: 1\nfoo: 1":                "field foo not found",
		"version: 1\ndialects: [{name: x}]": "dialect x: match has no condition, expected scopes, names, any, values or shape",
		"version: 1\ndialects: [{match: {any: [a]}}]":                                                        "dialects[0]: name is missing",
		"version: 1\ndialects: [{name: x, match: {any: [a]}, cache: sideways}]":                              `cache is "sideways", expected one of inside, outside, outside_anthropic`,
		"version: 1\ndialects: [{name: x, match: {any: [a]}, tokens: {inputs: [b]}}]":                        `tokens is "inputs", expected one of cache_read`,
		"version: 1\ndialects: [{name: x, match: {any: [a]}, default_role: leaf}]":                           `default_role is "leaf", expected one of agent, call`,
		"version: 1\ndialects: [{name: x, match: {any: [a]}, roles: [{role: call}]}]":                        "roles[0] has no condition",
		"version: 1\ndialects: [{name: x, match: {any: [a]}, rank: 200}]":                                    "rank is 200, expected 0 to 100",
		"version: 1\ndialects: [{name: x, match: {any: [a]}, signal: metric}]":                               `signal is "metric", expected one of log, span`,
		"version: 1\ndialects: [{name: x, match: {any: [a]}, roles: [{role: call, values: [b], any: [c]}]}]": "roles[0] has values without an attribute",
	} {
		_, err := parseTable("own.yaml", []byte(text))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "own.yaml: ") {
			t.Errorf("%q: error is %v, want %q in it", text, err, want)
		}
	}
	if _, err := NewReader(Config{Dialects: []string{"/does/not/exist.yaml"}}); err == nil || !strings.Contains(err.Error(), "dialects: ") {
		t.Errorf("error of a missing file is %v", err)
	}
}

// No instrumentation is named where the algorithm is.
func TestOnlyTheTableNamesInstrumentations(t *testing.T) {
	var names []string
	for _, d := range newReader(t).dialects {
		if d.Name != "unknown" && d.Name != "placeholder" && d.Name != "mcp" && d.Name != "opentelemetry" {
			names = append(names, strings.Split(d.Name, "-")[0])
		}
	}
	for _, file := range []string{"calls.go", "aggregate.go", "decide.go", "tools.go", "tree.go", "vector.go", "revise.go", "owner.go"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			if n != "merged" && strings.Contains(strings.ToLower(string(text)), strings.ToLower(n)) {
				t.Errorf("%s names %s", file, n)
			}
		}
	}
}

func TestLimitsThatChangeWhatIsKeptOfASpanAreCounted(t *testing.T) {
	r := newReader(t)
	td := ptrace.NewTraces()
	s := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty()
	s.Attributes().PutStr("customer.id", strings.Repeat("x", DefaultMaxValueBytes+1))
	for range maxLinks + 1 {
		s.Links().AppendEmpty()
	}
	r.Read(td, arrival)
	for l := range NumLimits {
		if got := r.Reached(l); got != 1 {
			t.Errorf("%s: %d, want 1", l, got)
		}
	}
}
