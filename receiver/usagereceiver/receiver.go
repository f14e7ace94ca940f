package usagereceiver

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/receiver"
	"golang.org/x/sync/semaphore"

	"github.com/usagebox/otelcol-usagebox/receiver/usagereceiver/internal/metadata"
)

// usageReceiver is an HTTP server in front of a logs pipeline. It keeps nothing: it answers as the pipeline does.
type usageReceiver struct {
	config    *Config
	settings  receiver.Settings
	next      consumer.Logs
	telemetry *metadata.TelemetryBuilder
	now       func() time.Time
	inflight  *semaphore.Weighted

	server *http.Server
	done   sync.WaitGroup
}

func newReceiver(set receiver.Settings, config *Config, next consumer.Logs, now func() time.Time) (*usageReceiver, error) {
	telemetry, err := metadata.NewTelemetryBuilder(set.TelemetrySettings)
	if err != nil {
		return nil, err
	}
	return &usageReceiver{
		config: config, settings: set, next: next, telemetry: telemetry, now: now, inflight: semaphore.NewWeighted(config.MaxInflightSize),
	}, nil
}

func (r *usageReceiver) Start(ctx context.Context, host component.Host) error {
	server, err := r.config.ServerConfig.ToServer(ctx, host.GetExtensions(), r.settings.TelemetrySettings, r.handler())
	if err != nil {
		return err
	}
	listener, err := r.config.ServerConfig.ToListener(ctx)
	if err != nil {
		return err
	}
	r.server = server
	r.done.Add(1)
	go func() {
		defer r.done.Done()
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			componentstatus.ReportStatus(host, componentstatus.NewFatalErrorEvent(err))
		}
	}()
	return nil
}

// Shutdown lets requests that are being worked on finish, so that every sender learns what became of its events.
func (r *usageReceiver) Shutdown(ctx context.Context) error {
	var err error
	if r.server != nil {
		err = r.server.Shutdown(ctx)
	}
	r.done.Wait()
	r.telemetry.Shutdown()
	return err
}
