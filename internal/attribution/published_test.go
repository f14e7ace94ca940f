package attribution

import "go.opentelemetry.io/collector/pdata/ptrace"

const (
	client   = ptrace.SpanKindClient
	internal = ptrace.SpanKindInternal
)

// publishedRows are instrumentations without a recording. from says which project, and where in it the names and numbers stand.
var publishedRows = []dialectRow{
	{
		"opentelemetry-python", "OpenLLMetry, instrumentation-anthropic, _set_token_usage: input is the sum of three counts", "opentelemetry.instrumentation.anthropic", "anthropic.chat", client,
		attrs{"gen_ai.operation.name": "chat", "gen_ai.provider.name": "anthropic", "gen_ai.request.model": "claude-sonnet-4-5", "gen_ai.usage.input_tokens": 17, "gen_ai.usage.output_tokens": 2, "gen_ai.usage.total_tokens": 19, "gen_ai.usage.cache_read.input_tokens": 4, "gen_ai.usage.cache_creation.input_tokens": 3},
		RoleCall, "llm_tokens_cache_read=4 llm_tokens_cache_write=3 llm_tokens_in=10 llm_tokens_out=2",
	},
	{
		"opentelemetry-python", "OpenLLMetry, instrumentation-openai, embeddings_wrappers", "opentelemetry.instrumentation.openai.v1", "openai.embeddings", client,
		attrs{"llm.request.type": "embedding", "gen_ai.request.model": "e", "gen_ai.usage.input_tokens": 10, "llm.usage.total_tokens": 10},
		RoleEmbedding, "llm_tokens_in=10",
	},
	{
		"opentelemetry-python", "OpenLLMetry, instrumentation-litellm, _set_response_attributes", "opentelemetry.instrumentation.litellm", "litellm.chat", client,
		attrs{"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 2, "gen_ai.usage.cache_read.input_tokens": 4},
		RoleCall, "llm_tokens_cache_read=4 llm_tokens_in=6 llm_tokens_out=2",
	},
	{
		"opentelemetry-python", "OpenLLMetry, instrumentation-haystack, wrap_openai", "opentelemetry.instrumentation.haystack", "haystack.openai.chat", client,
		attrs{"llm.request.type": "chat", "gen_ai.system": "OpenAI", "gen_ai.request.model": "gpt-4o"},
		RoleCall, "",
	},
	{
		"openllmetry-bedrock", "OpenLLMetry, instrumentation-bedrock, span_utils: Converse's counts as they are", "opentelemetry.instrumentation.bedrock", "bedrock.converse", client,
		attrs{"gen_ai.operation.name": "chat", "gen_ai.request.model": "amazon.nova-pro", "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 2, "gen_ai.usage.cache_read.input_tokens": 4},
		RoleCall, "llm_tokens_cache_read=4 llm_tokens_in=10 llm_tokens_out=2",
	},
	{
		"openllmetry-google", "OpenLLMetry, instrumentation-google-generativeai, span_utils: the thoughts are in the total alone", "opentelemetry.instrumentation.google_generativeai", "gemini.generate_content", client,
		attrs{"gen_ai.operation.name": "generate_content", "gen_ai.request.model": "gemini-2.5-pro", "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 2, "gen_ai.usage.total_tokens": 15, "gen_ai.usage.cache_read.input_tokens": 4},
		RoleCall, "llm_tokens_cache_read=4 llm_tokens_in=6 llm_tokens_out=2 llm_tokens_reasoning=3",
	},
	{
		"openllmetry-google", "OpenLLMetry for JavaScript, instrumentation-google-generativeai", "@traceloop/instrumentation-google-generativeai", "generate_content gemini-2.5-pro", client,
		attrs{"gen_ai.operation.name": "generate_content", "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 2, "gen_ai.usage.total_tokens": 15, "gen_ai.usage.reasoning_tokens": 3},
		RoleCall, "llm_tokens_in=10 llm_tokens_out=2 llm_tokens_reasoning=3",
	},
	{
		"openllmetry-google", "OpenLLMetry for JavaScript, instrumentation-vertexai", "@traceloop/instrumentation-vertexai", "vertexai.completion", client,
		attrs{"llm.request.type": "completion", "gen_ai.usage.prompt_tokens": 10, "gen_ai.usage.completion_tokens": 2, "llm.usage.total_tokens": 15},
		RoleCall, "llm_tokens_in=10 llm_tokens_out=2 llm_tokens_reasoning=3",
	},
	{
		"traceloop", "OpenLLMetry, instrumentation-llamaindex, dispatcher_wrapper and span_utils: a call is a task too", "opentelemetry.instrumentation.llamaindex", "OpenAI.task", internal,
		attrs{"traceloop.span.kind": "task", "gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 2, "gen_ai.usage.total_tokens": 12},
		RoleCall, "llm_tokens_in=10 llm_tokens_out=2",
	},
	{
		"traceloop", "OpenLLMetry, instrumentation-llamaindex, dispatcher_wrapper", "opentelemetry.instrumentation.llamaindex", "RetrieverQueryEngine.workflow", internal,
		attrs{"traceloop.span.kind": "workflow"},
		RoleWrapper, "",
	},
	{
		"traceloop", "OpenLLMetry, instrumentation-crewai, wrap_task_execute", "opentelemetry.instrumentation.crewai.instrumentation", "Find it.task", internal,
		attrs{"traceloop.span.kind": "task", "gen_ai.operation.name": "invoke_agent"},
		RoleWrapper, "",
	},
	{
		"traceloop", "OpenLLMetry, instrumentation-crewai, wrap_agent_execute_task: a sum since the agent was made", "opentelemetry.instrumentation.crewai.instrumentation", "Researcher.agent", internal,
		attrs{"traceloop.span.kind": "agent", "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "Researcher", "gen_ai.usage.input_tokens": 300, "gen_ai.usage.output_tokens": 30},
		RoleAgent, "llm_tokens_in=300 llm_tokens_out=30",
	},
	{
		"opentelemetry-python", "OpenLLMetry, instrumentation-crewai, wrap_llm_call", "opentelemetry.instrumentation.crewai.instrumentation", "gpt-4o.llm", client,
		attrs{"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o"},
		RoleCall, "",
	},
	{
		"crewai", "OpenLLMetry, instrumentation-crewai, wrap_kickoff", "opentelemetry.instrumentation.crewai.instrumentation", "crewai.workflow", internal,
		attrs{"gen_ai.operation.name": "invoke_agent", "gen_ai.provider.name": "crewai"},
		RoleWrapper, "",
	},
	{
		"openai-agents", "OpenLLMetry, instrumentation-openai-agents, realtime: the one with the usage", "opentelemetry.instrumentation.openai_agents", "openai.realtime", client,
		attrs{"gen_ai.operation.name": "realtime", "gen_ai.request.model": "gpt-realtime", "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 2},
		RoleCall, "llm_tokens_in=10 llm_tokens_out=2",
	},
	{
		"openai-agents", "OpenLLMetry, instrumentation-openai-agents, realtime: audio alone", "opentelemetry.instrumentation.openai_agents", "openai.realtime", client,
		attrs{"gen_ai.operation.name": "realtime"},
		RolePlain, "",
	},

	{
		"openinference-bedrock", "OpenInference, instrumentation-bedrock, Anthropic's answer as it is", "@arizeai/openinference-instrumentation-bedrock", "bedrock.invoke_model", internal,
		attrs{"openinference.span.kind": "LLM", "llm.model_name": "anthropic.claude-sonnet-4", "llm.token_count.prompt": 10, "llm.token_count.completion": 2, "llm.token_count.total": 12, "llm.token_count.prompt_details.cache_read": 4, "llm.token_count.prompt_details.cache_write": 3},
		RoleCall, "llm_tokens_cache_read=4 llm_tokens_cache_write=3 llm_tokens_in=10 llm_tokens_out=2",
	},
	{
		"openinference-raw", "OpenInference, instrumentation-agno: Agno's metrics, Anthropic's without the cache", "openinference.instrumentation.agno", "Claude.invoke", internal,
		attrs{"openinference.span.kind": "LLM", "llm.model_name": "claude-sonnet-4-5", "llm.token_count.prompt": 10, "llm.token_count.completion": 2, "llm.token_count.prompt_details.cache_read": 4},
		RoleCall, "llm_tokens_cache_read=4 llm_tokens_in=10 llm_tokens_out=2",
	},
	{
		"openinference-raw", "OpenInference, instrumentation-claude-agent-sdk: the sum of a query on its agent", "openinference.instrumentation.claude_agent_sdk", "ClaudeAgent.query", internal,
		attrs{"openinference.span.kind": "AGENT", "llm.model_name": "claude-sonnet-4-5", "llm.token_count.prompt": 10, "llm.token_count.completion": 2, "llm.token_count.total": 12, "llm.token_count.prompt_details.cache_read": 4},
		RoleAgent, "llm_tokens_cache_read=4 llm_tokens_in=10 llm_tokens_out=2",
	},
	{
		"openinference", "OpenInference, instrumentation-llama-index, _get_token_counts: input is the sum", "openinference.instrumentation.llama_index", "Anthropic.chat", internal,
		attrs{"openinference.span.kind": "LLM", "llm.model_name": "claude-sonnet-4-5", "llm.token_count.prompt": 17, "llm.token_count.completion": 2, "llm.token_count.prompt_details.cache_read": 4, "llm.token_count.prompt_details.cache_write": 3},
		RoleCall, "llm_tokens_cache_read=4 llm_tokens_cache_write=3 llm_tokens_in=10 llm_tokens_out=2",
	},
	{
		"openinference", "OpenInference, instrumentation-google-adk: completion holds the thoughts", "openinference.instrumentation.google_adk", "call_llm", internal,
		attrs{"openinference.span.kind": "LLM", "llm.token_count.prompt": 10, "llm.token_count.completion": 5, "llm.token_count.total": 15, "llm.token_count.completion_details.reasoning": 3},
		RoleCall, "llm_tokens_in=10 llm_tokens_out=2 llm_tokens_reasoning=3",
	},
	{
		"openinference", "OpenInference, instrumentation-smolagents: an agent's counters since it was made", "openinference.instrumentation.smolagents", "ToolCallingAgent.run", internal,
		attrs{"openinference.span.kind": "AGENT", "llm.token_count.prompt": 300, "llm.token_count.completion": 30, "llm.token_count.total": 330},
		RoleAgent, "llm_tokens_in=300 llm_tokens_out=30",
	},
	{
		"openinference", "OpenInference, instrumentation-haystack, reranker", "openinference.instrumentation.haystack", "Ranker.run", internal,
		attrs{"openinference.span.kind": "RERANKER"},
		RolePlain, "",
	},
	{
		"openinference", "Envoy AI Gateway, tracing/openinference: creation for write", "envoyproxy/ai-gateway", "Message", internal,
		attrs{"openinference.span.kind": "LLM", "llm.model_name": "claude-sonnet-4-5", "llm.token_count.prompt": 17, "llm.token_count.completion": 2, "llm.token_count.total": 19, "llm.token_count.prompt_details.cache_read": 4, "llm.token_count.prompt_details.cache_creation": 3},
		RoleCall, "llm_tokens_cache_read=4 llm_tokens_cache_write=3 llm_tokens_in=10 llm_tokens_out=2",
	},
	{
		"openinference", "Envoy AI Gateway, tracing/openinference, responses_input_tokens", "envoyproxy/ai-gateway", "ResponsesInputTokens", internal,
		attrs{"openinference.span.kind": "TOKEN_COUNTER", "llm.token_count.prompt": 10},
		RoleNever, "",
	},

	{
		"litellm", "LiteLLM, integrations/otel, mappers/genai: its second version", "litellm", "chat claude-sonnet-4-5", client,
		attrs{"gen_ai.operation.name": "chat", "gen_ai.provider.name": "anthropic", "gen_ai.request.model": "claude-sonnet-4-5", "gen_ai.usage.input_tokens": 17, "gen_ai.usage.output_tokens": 2, "gen_ai.usage.cache_read.input_tokens": 4, "gen_ai.usage.cache_creation.input_tokens": 3, "litellm.cost.total": 0.001},
		RoleCall, "llm_tokens_cache_read=4 llm_tokens_cache_write=3 llm_tokens_in=10 llm_tokens_out=2",
	},
	{
		"litellm", "LiteLLM, integrations/otel, model/semconv: a look at a response that was counted before", "litellm", "litellm.responses_management r1", client,
		attrs{"gen_ai.operation.name": "litellm.responses_management", "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 2},
		RolePlain, "",
	},
	{
		"litellm", "LiteLLM, integrations/opentelemetry: the provider's request inside", "litellm", "raw_gen_ai_request", internal,
		attrs{"llm.request.type": "completion", "gen_ai.system": "openai"},
		RolePlain, "",
	},
	{
		"litellm", "LiteLLM, integrations/opentelemetry: messages are not logged, so there is no operation", "litellm", "litellm_request", internal,
		attrs{"llm.request.type": "aembedding", "gen_ai.request.model": "e", "gen_ai.usage.input_tokens": 10},
		RoleEmbedding, "llm_tokens_in=10",
	},

	{
		"logfire", "Pydantic AI, usage.py and models/instrumented.py: the run's usage under names of its own", "pydantic-ai", "invoke_agent a", internal,
		attrs{"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "a", "gen_ai.aggregated_usage.input_tokens": 10, "gen_ai.aggregated_usage.output_tokens": 2, "gen_ai.aggregated_usage.cache_read.input_tokens": 4},
		RoleAgent, "llm_tokens_cache_read=4 llm_tokens_in=6 llm_tokens_out=2",
	},
	{
		"logfire", "Pydantic AI, embeddings/instrumented.py", "pydantic-ai", "embeddings e", internal,
		attrs{"gen_ai.operation.name": "embeddings", "gen_ai.usage.input_tokens": 10},
		RoleEmbedding, "llm_tokens_in=10",
	},
	{
		"logfire", "Logfire, llm_providers/usage.py: the split is in the provider's own usage", "logfire.anthropic", "Message with 'claude-sonnet-4-5'", client,
		attrs{"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 17, "gen_ai.usage.output_tokens": 2, "gen_ai.usage.raw": `{"input_tokens":10,"cache_read_input_tokens":4,"cache_creation_input_tokens":3,"output_tokens":2}`},
		RoleCall, "llm_tokens_cache_read=4 llm_tokens_cache_write=3 llm_tokens_in=10 llm_tokens_out=2",
	},

	{
		"spring-ai-model", "Spring AI, AnthropicChatModel.getDefaultUsage: input without the cache", "org.springframework.boot", "chat claude-sonnet-4-5", client,
		attrs{"gen_ai.operation.name": "chat", "gen_ai.system": "anthropic", "gen_ai.request.model": "claude-sonnet-4-5", "gen_ai.usage.input_tokens": "10", "gen_ai.usage.output_tokens": "2", "gen_ai.usage.total_tokens": "12", "gen_ai.usage.cache_read.input_tokens": "4"},
		RoleCall, "llm_tokens_cache_read=4 llm_tokens_in=10 llm_tokens_out=2",
	},
	{
		"spring-ai-model", "Spring AI, DefaultEmbeddingModelObservationConvention", "org.springframework.boot", "embedding e", client,
		attrs{"gen_ai.operation.name": "embedding", "gen_ai.usage.input_tokens": "10", "gen_ai.usage.total_tokens": "10"},
		RoleEmbedding, "llm_tokens_in=10",
	},
	{
		"spring-ai", "Spring AI, DefaultVectorStoreObservationConvention", "org.springframework.boot", "pg_vector query", client,
		attrs{"spring.ai.kind": "vector_store", "db.operation.name": "query"},
		RoleRetrieval, "",
	},
	{
		"spring-ai", "Spring AI, DefaultVectorStoreObservationConvention", "org.springframework.boot", "pg_vector add", client,
		attrs{"spring.ai.kind": "vector_store", "db.operation.name": "add"},
		RolePlain, "",
	},

	{
		"microsoft-agents", "Microsoft Agent Framework, packages/anthropic, _parse_usage: Anthropic's count as it is", "agent_framework", "chat claude-sonnet-4-5", client,
		attrs{"gen_ai.operation.name": "chat", "gen_ai.provider.name": "anthropic", "gen_ai.request.model": "claude-sonnet-4-5", "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 2, "gen_ai.usage.cache_read.input_tokens": 4},
		RoleCall, "llm_tokens_cache_read=4 llm_tokens_in=10 llm_tokens_out=2",
	},
	{
		"microsoft-agents", "Microsoft Agent Framework, observability.py", "agent_framework", "invoke_agent a", client,
		attrs{"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "a", "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 2},
		RoleAgent, "llm_tokens_in=10 llm_tokens_out=2",
	},
	{
		"opentelemetry", "Semantic Kernel, model_diagnostics/decorators.py", "semantic_kernel.utils.telemetry.model_diagnostics.decorators", "text_completions gpt", client,
		attrs{"gen_ai.operation.name": "text_completions", "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 2},
		RoleCall, "llm_tokens_in=10 llm_tokens_out=2",
	},
	{
		"opentelemetry-python", "OpenTelemetry for Python, instrumentation-google-genai: output is the sum with the thoughts", "opentelemetry.instrumentation.google_genai", "generate_content gemini-2.5-pro", client,
		attrs{"gen_ai.operation.name": "generate_content", "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 5, "gen_ai.usage.reasoning.output_tokens": 3},
		RoleCall, "llm_tokens_in=10 llm_tokens_out=2 llm_tokens_reasoning=3",
	},
	{
		"opentelemetry", "Gemini CLI, telemetry/constants.ts and trace.ts", "gemini-cli", "llm_call", internal,
		attrs{"gen_ai.operation.name": "llm_call", "gen_ai.request.model": "gemini-2.5-pro", "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 2},
		RoleCall, "llm_tokens_in=10 llm_tokens_out=2",
	},
	{
		"opentelemetry", "Gemini CLI, telemetry/constants.ts and trace.ts", "gemini-cli", "schedule_tool_calls", internal,
		attrs{"gen_ai.operation.name": "schedule_tool_calls"},
		RolePlain, "",
	},
	{
		"openlit", "OpenLIT, semantic-convention.ts: older names of the split", "@openlit/instrumentation-openai", "chat gpt-4o", client,
		attrs{"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 2, "gen_ai.usage.total_tokens": 12, "gen_ai.usage.prompt_tokens_details.cache_read": 4, "gen_ai.usage.completion_tokens_details.reasoning": 1},
		RoleCall, "llm_tokens_cache_read=4 llm_tokens_in=6 llm_tokens_out=1 llm_tokens_reasoning=1",
	},
	{
		"openlit", "OpenLIT, semantic-convention.ts", "openlit.instrumentation.crewai", "execute_task t", internal,
		attrs{"gen_ai.operation.name": "execute_task"},
		RoleWrapper, "",
	},
	{
		"strands", "Strands for Python, telemetry/tracer.py: Bedrock's total proves where the cache is", "strands.telemetry.tracer", "chat", internal,
		attrs{"gen_ai.operation.name": "chat", "gen_ai.request.model": "us.amazon.nova-pro", "gen_ai.usage.prompt_tokens": 10, "gen_ai.usage.input_tokens": 10, "gen_ai.usage.completion_tokens": 2, "gen_ai.usage.output_tokens": 2, "gen_ai.usage.total_tokens": 19, "gen_ai.usage.cache_read_input_tokens": 4, "gen_ai.usage.cache_write_input_tokens": 3},
		RoleCall, "llm_tokens_cache_read=4 llm_tokens_cache_write=3 llm_tokens_in=10 llm_tokens_out=2",
	},
	{
		"langfuse", "Langfuse for JavaScript, langchain/CallbackHandler: every part is taken out of its sum", "langfuse-sdk", "ChatOpenAI", internal,
		attrs{"langfuse.observation.type": "generation", "langfuse.observation.usage_details": `{"input":5,"output":1,"total":12,"input_cache_read":4,"input_audio":1,"output_reasoning":1}`},
		RoleCall, "llm_tokens_cache_read=4 llm_tokens_in=4 llm_tokens_in_audio=1 llm_tokens_out=1 llm_tokens_reasoning=1",
	},
	{
		"langfuse", "Langfuse for JavaScript, tracing: usage as an application gives it", "langfuse-sdk", "answer", internal,
		attrs{"langfuse.observation.type": "generation", "langfuse.observation.usage_details": `{"promptTokens":10,"completionTokens":2,"totalTokens":12}`},
		RoleCall, "llm_tokens_in=10 llm_tokens_out=2",
	},

	{
		"mlflow", "MLflow, anthropic/autolog.py: Anthropic's count as it is, in JSON", "mlflow.anthropic.autolog", "Messages.create", internal,
		attrs{"mlflow.spanType": `"CHAT_MODEL"`, "mlflow.llm.model": "claude-sonnet-4-5", "mlflow.chat.tokenUsage": `{"input_tokens":10,"output_tokens":2,"total_tokens":12,"cache_read_input_tokens":4}`},
		RoleCall, "llm_tokens_cache_read=4 llm_tokens_in=10 llm_tokens_out=2",
	},
	{"mlflow", "MLflow, entities/span.py", "mlflow", "predict", internal, attrs{"mlflow.spanType": `"CHAIN"`}, RoleWrapper, ""},
	{
		"laminar", "Laminar for JavaScript, tracing/attributes.ts", "lmnr", "openai.chat", client,
		attrs{"lmnr.span.type": "LLM", "gen_ai.system": "openai", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 2, "llm.usage.total_tokens": 12, "gen_ai.usage.cache_read_input_tokens": 4},
		RoleCall, "llm_tokens_cache_read=4 llm_tokens_in=6 llm_tokens_out=2",
	},
	{
		"laminar", "Laminar for JavaScript, debug/replay.ts: nobody was asked", "lmnr", "openai.chat", client,
		attrs{"lmnr.span.type": "CACHED", "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 2},
		RoleNever, "",
	},
	{
		"agentops", "AgentOps, semconv/span_attributes.py", "agentops.instrumentation.providers.openai", "openai.chat.completion", client,
		attrs{"agentops.span.kind": "llm", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.prompt_tokens": 10, "gen_ai.usage.completion_tokens": 2, "gen_ai.usage.total_tokens": 12},
		RoleCall, "llm_tokens_in=10 llm_tokens_out=2",
	},
	{"agentops", "AgentOps, sdk/decorators", "agentops", "run.session", internal, attrs{"agentops.span.kind": "session"}, RoleWrapper, ""},
	{
		"langtrace", "Langtrace for Python, instrumentation/anthropic/patch.py", "langtrace_python_sdk.instrumentation.anthropic.instrumentation", "anthropic.messages.create", client,
		attrs{"langtrace.service.type": "llm", "gen_ai.operation.name": "chat", "gen_ai.request.model": "claude-sonnet-4-5", "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 2},
		RoleCall, "llm_tokens_in=10 llm_tokens_out=2",
	},
	{
		"langtrace", "Langtrace for Python, instrumentation/crewai/patch.py", "langtrace_python_sdk.instrumentation.crewai.instrumentation", "crewai.Crew.kickoff", client,
		attrs{"langtrace.service.type": "framework"},
		RoleWrapper, "",
	},
	{
		"langtrace", "Langtrace for Python, instrumentation/chroma/patch.py", "langtrace_python_sdk.instrumentation.chroma.instrumentation", "chroma query", client,
		attrs{"langtrace.service.type": "vectordb"},
		RolePlain, "",
	},
}
