package usagereceiver

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/receiver"
	"golang.org/x/sync/semaphore"

	"github.com/usagebox/otelcol-usagebox/receiver/usagereceiver/internal/metadata"
)

// stopGrace is how long a request that is still on its way in may hold up a stop. One that is in the pipeline is waited for as long as it takes.
const stopGrace = 10 * time.Second

// usageReceiver is an HTTP server in front of a logs pipeline. It keeps nothing: it answers as the pipeline does.
type usageReceiver struct {
	config    *Config
	settings  receiver.Settings
	next      consumer.Logs
	telemetry *metadata.TelemetryBuilder
	now       func() time.Time
	room      *semaphore.Weighted // for bodies, in bytes
	stopGrace time.Duration

	server   *http.Server
	address  net.Addr
	serving  sync.WaitGroup
	requests sync.WaitGroup
}

func newReceiver(set receiver.Settings, config *Config, next consumer.Logs, now func() time.Time) (*usageReceiver, error) {
	telemetry, err := metadata.NewTelemetryBuilder(set.TelemetrySettings)
	if err != nil {
		return nil, err
	}
	return &usageReceiver{
		config: config, settings: set, next: next, telemetry: telemetry, now: now,
		room: semaphore.NewWeighted(config.inflightSize()), stopGrace: stopGrace,
	}, nil
}

func (r *usageReceiver) Start(ctx context.Context, host component.Host) error {
	server, err := r.config.ServerConfig.ToServer(ctx, host.GetExtensions(), r.settings.TelemetrySettings, r.handler(), confighttp.WithErrorHandler(serverError))
	if err != nil {
		return err
	}
	listener, err := r.config.ServerConfig.ToListener(ctx)
	if err != nil {
		return err
	}
	r.server, r.address = server, listener.Addr()
	r.serving.Go(func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			componentstatus.ReportStatus(host, componentstatus.NewFatalErrorEvent(err))
		}
	})
	return nil
}

// serverError answers what confighttp refuses before a request comes here: a wrong token, a compression that is unknown or broken.
func serverError(w http.ResponseWriter, _ *http.Request, message string, status int) {
	switch {
	case status == http.StatusBadRequest && strings.HasPrefix(message, "unsupported Content-Encoding"):
		status = http.StatusUnsupportedMediaType
	case status == http.StatusUnauthorized:
		message = "the request carries no token that is known here: " + message
	}
	fail(w, status, message+": nothing was taken")
}

// Shutdown lets requests that are being worked on finish, so that every sender learns what became of its events.
func (r *usageReceiver) Shutdown(ctx context.Context) error {
	if r.server != nil {
		grace, cancel := context.WithTimeout(ctx, r.stopGrace)
		err := r.server.Shutdown(grace)
		cancel()
		if err != nil {
			err = r.server.Close() // cuts off senders that are still sending
		}
		r.requests.Wait()
		r.serving.Wait()
		r.telemetry.Shutdown()
		return err
	}
	r.telemetry.Shutdown()
	return nil
}
