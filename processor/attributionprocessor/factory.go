package attributionprocessor

import (
	"go.opentelemetry.io/collector/processor"

	"github.com/usagebox/otelcol-usagebox/processor/attributionprocessor/internal/metadata"
)

// NewFactory makes the factory of the attribution processor.
func NewFactory() processor.Factory {
	s := newSharing()
	return processor.NewFactory(
		metadata.Type,
		createDefaultConfig,
		processor.WithTraces(s.createTraces, metadata.TracesStability),
		processor.WithLogs(s.createLogs, metadata.LogsStability),
	)
}
