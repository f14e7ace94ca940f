// Program agent is a small support agent, instrumented with the OpenTelemetry SDK as any program may be. It works on a ticket of each of two
// customers: it plans with a model, uses tools, lets a sub-agent do research in a goroutine, is refused once and tries again, and streams its answer. No
// network is needed: the model is a stand-in that says how many tokens it used. At the end it prints what it used, to compare with the ledger.
//
//	go run ./examples/agent                                  sends to localhost:4317
//	OTEL_EXPORTER_OTLP_ENDPOINT=http://host:4317 go run ./examples/agent
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"sort"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

func main() {
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	var options []otlptracegrpc.Option
	if os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" {
		options = append(options, otlptracegrpc.WithEndpoint("localhost:4317"), otlptracegrpc.WithInsecure())
	}
	exporter, err := otlptracegrpc.New(ctx, options...)
	if err != nil {
		return err
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(exporter),
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", "support-agent"))),
	)
	a := &agent{tracer: provider.Tracer("example/agent"), model: &model{used: map[string]usage{}}}
	for _, t := range []ticket{{"acme", "refund-assistant", "Where is my refund?"}, {"globex", "ticket-triage", "The app does not start."}} {
		a.answer(ctx, t)
	}
	if err := provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("the spans did not arrive, is the collector running? %w", err)
	}
	a.model.print()
	return nil
}

type ticket struct{ customer, feature, text string }

type agent struct {
	tracer trace.Tracer
	model  *model
}

// answer works on a ticket. Who it is for is said once, on the outermost span; every call below belongs to it.
func (a *agent) answer(ctx context.Context, t ticket) {
	ctx, span := a.tracer.Start(ctx, "POST /tickets", trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
		attribute.String("customer.id", t.customer), attribute.String("feature.name", t.feature)))
	defer span.End()
	ctx = context.WithValue(ctx, customerKey{}, t.customer)

	a.run(ctx, "planner", func(ctx context.Context) {
		a.chat(ctx, "gpt-4o", t.text, false)
		a.tool(ctx, "lookup_order", func(context.Context) {})

		var research sync.WaitGroup
		research.Go(func() {
			a.tool(ctx, "delegate_research", func(ctx context.Context) {
				a.run(ctx, "researcher", func(ctx context.Context) {
					a.chat(ctx, "claude-sonnet-4-5", "Find the policy for: "+t.text, false)
				})
			})
		})
		research.Wait()
		a.chat(ctx, "gpt-4o-mini", "Write the answer.", true)
	})
}

// run is an agent's run: invoke_agent in OpenTelemetry's words.
func (a *agent) run(ctx context.Context, name string, work func(context.Context)) {
	ctx, span := a.tracer.Start(ctx, "invoke_agent "+name, trace.WithAttributes(
		attribute.String("gen_ai.operation.name", "invoke_agent"), attribute.String("gen_ai.agent.name", name)))
	defer span.End()
	work(ctx)
}

func (a *agent) tool(ctx context.Context, name string, work func(context.Context)) {
	ctx, span := a.tracer.Start(ctx, "execute_tool "+name, trace.WithAttributes(
		attribute.String("gen_ai.operation.name", "execute_tool"), attribute.String("gen_ai.tool.name", name)))
	defer span.End()
	work(ctx)
}

// chat is a model call, tried again when it is refused. Each attempt has its span; the refused one used nothing.
func (a *agent) chat(ctx context.Context, name, prompt string, stream bool) {
	for {
		attempt, span := a.tracer.Start(ctx, "chat "+name, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
			attribute.String("gen_ai.operation.name", "chat"), attribute.String("gen_ai.provider.name", providers[name]),
			attribute.String("gen_ai.request.model", name), attribute.Bool("gen_ai.request.stream", stream)))
		used, err := a.model.call(attempt, name, prompt)
		if err != nil {
			span.SetAttributes(attribute.String("error.type", "429"))
			span.SetStatus(codes.Error, err.Error())
			span.End()
			continue
		}
		span.SetAttributes(
			attribute.String("gen_ai.response.model", name),
			attribute.Int64("gen_ai.usage.input_tokens", used.input),
			attribute.Int64("gen_ai.usage.output_tokens", used.output),
			attribute.Int64("gen_ai.usage.cache_read.input_tokens", used.cached))
		span.End()
		return
	}
}

var providers = map[string]string{"gpt-4o": "openai", "gpt-4o-mini": "openai", "claude-sonnet-4-5": "anthropic"}

type customerKey struct{}

type usage struct{ calls, input, cached, output int64 }

// model is the stand-in: it refuses each customer's first call, and keeps its own account.
type model struct {
	mu   sync.Mutex
	used map[string]usage
	seen map[string]bool
}

var errBusy = errors.New("429 too many requests")

func (m *model) call(ctx context.Context, name, prompt string) (usage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	customer := ctx.Value(customerKey{}).(string)
	if !m.seen[customer] {
		if m.seen == nil {
			m.seen = map[string]bool{}
		}
		m.seen[customer] = true
		return usage{}, errBusy
	}
	u := usage{calls: 1, input: int64(1000 + 10*len(prompt) + len(name)), cached: 256, output: int64(50 + len(prompt))}
	total := m.used[customer]
	m.used[customer] = usage{total.calls + 1, total.input + u.input, total.cached + u.cached, total.output + u.output}
	return u, nil
}

func (m *model) print() {
	fmt.Println("The model's own account, to compare with the ledger:")
	customers := make([]string, 0, len(m.used))
	for c := range m.used {
		customers = append(customers, c)
	}
	sort.Strings(customers)
	for _, c := range customers {
		u := m.used[c]
		fmt.Printf("  %-8s llm_requests %d, llm_tokens_in %d, llm_tokens_cache_read %d, llm_tokens_out %d\n", c, u.calls, u.input-u.cached, u.cached, u.output)
	}
}
