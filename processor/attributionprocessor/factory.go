package attributionprocessor

import (
	"context"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/processor"

	"github.com/usagebox/otelcol-usagebox/processor/attributionprocessor/internal/metadata"
)

// NewFactory makes the factory of the attribution processor.
func NewFactory() processor.Factory {
	return processor.NewFactory(
		metadata.Type,
		createDefaultConfig,
		processor.WithTraces(createTraces, metadata.TracesStability),
	)
}

// createTraces never passes spans on as they come: ConsumeTraces answers when their facts are durable, and counted spans follow later.
func createTraces(_ context.Context, set processor.Settings, cfg component.Config, next consumer.Traces) (processor.Traces, error) {
	p, err := newAttribution(set, cfg.(*Config), next, time.Now)
	if err != nil {
		return nil, err
	}
	return p, nil
}

var _ processor.Traces = (*attributionProcessor)(nil)
