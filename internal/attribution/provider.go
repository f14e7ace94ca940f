package attribution

import "strings"

// providers are the conventions' names.
var providers = []string{
	"openai", "anthropic", "aws.bedrock", "azure.ai.openai", "azure.ai.inference", "gcp.gemini", "gcp.vertex_ai", "gcp.gen_ai",
	"cohere", "mistral_ai", "groq", "deepseek", "perplexity", "x_ai", "ibm.watsonx.ai", "moonshot_ai",
}

var renamed = map[string]string{
	"az.ai.openai": "azure.ai.openai", "az.ai.inference": "azure.ai.inference", "azure": "azure.ai.openai", "azure_openai": "azure.ai.openai",
	"gemini": "gcp.gemini", "google": "gcp.gemini", "google_genai": "gcp.gemini", "google-genai": "gcp.gemini", "google.generative-ai": "gcp.gemini",
	"vertex_ai": "gcp.vertex_ai", "vertexai": "gcp.vertex_ai", "google.vertex": "gcp.vertex_ai", "gcp_vertexai": "gcp.vertex_ai",
	"mistralai": "mistral_ai", "mistral": "mistral_ai", "xai": "x_ai", "bedrock": "aws.bedrock", "aws_bedrock": "aws.bedrock", "amazon-bedrock": "aws.bedrock",
	"watsonx": "ibm.watsonx.ai", "openai_chat": "openai", "anthropic_messages": "anthropic",
}

// canonicalProvider is the conventions' name of a provider: some instrumentations add the API, others use older names.
func canonicalProvider(p string) string {
	p = strings.ToLower(p)
	for _, api := range [...]string{".responses", ".chat", ".messages", ".completion", ".embedding", ".embeddings"} {
		p = strings.TrimSuffix(p, api)
	}
	if name, ok := renamed[p]; ok {
		return name
	}
	return p
}

// providerOf is whose model a name is, where the name alone says so.
func providerOf(model string) string {
	model = plainModel(model)
	for _, m := range [...]struct{ prefix, provider string }{
		{"gpt-", "openai"},
		{"o1", "openai"},
		{"o3", "openai"},
		{"o4", "openai"},
		{"chatgpt-", "openai"},
		{"text-embedding-", "openai"},
		{"claude", "anthropic"},
		{"gemini", "gcp.gemini"},
		{"mistral", "mistral_ai"},
		{"command-", "cohere"},
		{"deepseek", "deepseek"},
		{"grok", "x_ai"},
	} {
		if strings.HasPrefix(model, m.prefix) {
			return m.provider
		}
	}
	return ""
}
