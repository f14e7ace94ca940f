package usageexporter

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.uber.org/zap"

	"github.com/usagebox/otelcol-usagebox/exporter/usageexporter/internal/metadata"
	"github.com/usagebox/otelcol-usagebox/internal/feed"
	"github.com/usagebox/otelcol-usagebox/internal/feed/biller"
	"github.com/usagebox/otelcol-usagebox/internal/feed/control"
	"github.com/usagebox/otelcol-usagebox/internal/ledger"
)

// billingFeed is the feed of an exporter's ledger with what stands around it.
type billingFeed struct {
	config    *Config
	set       component.TelemetrySettings
	telemetry *metadata.TelemetryBuilder

	feed    *feed.Feed
	control *control.Server
	servers []*http.Server
	serving sync.WaitGroup
}

// startFeed begins to feed; nil when there are no receivers.
func startFeed(ctx context.Context, host component.Host, config *Config, set component.TelemetrySettings, telemetry *metadata.TelemetryBuilder, l *ledger.Ledger) (_ *billingFeed, err error) {
	if len(config.Feed.Receivers) == 0 {
		return nil, nil
	}
	b := &billingFeed{config: config, set: set, telemetry: telemetry}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("the billing feed can't start, nothing was sent: %w", err), b.close())
		}
	}()
	o := feed.Options{
		Books: l, Directory: config.Directory, Writer: config.WriterID, Every: config.Feed.every(), Interval: min(config.FlushInterval, time.Second), Logger: set.Logger,
	}
	stripes := map[string]*stripeConfig{}
	for _, name := range slices.Sorted(maps.Keys(config.Feed.Receivers)) {
		r := config.Feed.Receivers[name]
		spec, err := b.spec(ctx, host, name, r)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("receiver %s: %w", name, err), feed.CloseReceivers(o.Receivers))
		}
		o.Receivers = append(o.Receivers, spec)
		if c, ok := r.(*stripeConfig); ok && c.ErrorReports.HasValue() {
			stripes[name] = c
		}
	}
	if b.feed, err = feed.Open(o); err != nil {
		return nil, err
	}
	for _, spec := range o.Receivers {
		if c := stripes[spec.Name]; c != nil {
			if err := b.serveReports(ctx, host, spec, c); err != nil {
				return nil, err
			}
		}
	}
	if b.control, err = control.Listen(filepath.Join(config.Directory, "state", "writer="+config.WriterID), b.feed); err != nil {
		return nil, err
	}
	return b, b.registerGauges()
}

func (b *billingFeed) spec(ctx context.Context, host component.Host, name string, r feedReceiver) (spec feed.Spec, err error) {
	c := r.common()
	_, zeroes, _ := r.limits()
	spec = feed.Spec{
		Name: name, Zeroes: zeroes, Workers: c.Workers, Rate: c.RateLimit, MinBackoff: c.Retry.InitialInterval, MaxBackoff: c.Retry.MaxInterval,
		Customers: &feed.Customers{Template: c.Customers.Template, File: c.Customers.File, Column: c.Customers.Column},
	}
	if spec.Mapping, err = c.mapping(r); err != nil {
		return spec, err
	}
	if spec.From, err = c.from(); err != nil {
		return spec, err
	}
	if file, ok := r.(*fileConfig); ok {
		spec.Parquet = file.Parquet
	}
	spec.Receiver, err = b.receiver(ctx, host, r)
	return spec, err
}

func (b *billingFeed) receiver(ctx context.Context, host component.Host, r feedReceiver) (feed.Receiver, error) {
	switch c := r.(type) {
	case *kafkaConfig:
		return c.receiver(ctx)
	case *webhookConfig:
		client, err := c.ClientConfig.ToClient(ctx, host.GetExtensions(), b.set)
		if err != nil {
			return nil, err
		}
		w := &biller.Webhook{Client: newClient(client, &c.ClientConfig, string(c.Secret)), Batch: c.BatchSize, Window: c.IdempotencyWindow}
		if c.Secret != "" {
			w.Key, err = biller.SecretKey(string(c.Secret))
		}
		return w, err
	case *eventsConfig:
		client, err := c.ClientConfig.ToClient(ctx, host.GetExtensions(), b.set)
		if err != nil {
			return nil, err
		}
		protocol := *c.protocol
		protocol.Window = c.IdempotencyWindow
		return &biller.Events{Client: newClient(client, &c.ClientConfig, string(c.APIKey)), Protocol: protocol, Key: string(c.APIKey), Value: c.ValueProperty}, nil
	case *stripeConfig:
		client, err := c.ClientConfig.ToClient(ctx, host.GetExtensions(), b.set)
		if err != nil {
			return nil, err
		}
		return &biller.Stripe{
			Client: newClient(client, &c.ClientConfig, string(c.APIKey)), Key: string(c.APIKey), Version: c.APIVersion, Stream: c.API == "v2",
			StreamEndpoint: strings.TrimSuffix(c.StreamEndpoint, "/"), CustomerKey: c.CustomerKey, ValueKey: c.ValueKey,
		}, nil
	}
	return biller.File{}, nil
}

func newClient(client *http.Client, c *confighttp.ClientConfig, secrets ...string) biller.Client {
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for _, value := range c.Headers.Iter {
		secrets = append(secrets, string(value))
	}
	return biller.Client{HTTP: client, Endpoint: strings.TrimSuffix(c.Endpoint, "/"), Secrets: secrets, Clock: time.Now}
}

// serveReports takes Stripe's reports of what it found wrong later.
func (b *billingFeed) serveReports(ctx context.Context, host component.Host, spec feed.Spec, c *stripeConfig) error {
	reports := c.ErrorReports.Get()
	server, err := reports.ServerConfig.ToServer(ctx, host.GetExtensions(), b.set, &biller.StripeReports{
		Stripe: spec.Receiver.(*biller.Stripe), Secret: string(reports.Secret),
		Rejected: func(report, reason string, ids map[string]string) error {
			n, err := b.feed.Rejected(spec.Name, report, reason, ids)
			if n > 0 {
				b.set.Logger.Error("Stripe refuses records that it had taken: they are dead letters, see feed dead-letters",
					zap.String("receiver", spec.Name), zap.String("reason", reason), zap.Int("records", n))
			}
			return err
		},
		Unnamed: func(n int) {
			b.telemetry.UsageboxFeedUnnamedErrors.Add(context.Background(), int64(n), receiverAttribute(spec.Name))
			b.set.Logger.Error("Stripe refuses more records that it had taken than it names: compare with feed reconcile", zap.String("receiver", spec.Name), zap.Int("records", n))
		},
	})
	if err != nil {
		return err
	}
	listener, err := reports.ServerConfig.ToListener(ctx)
	if err != nil {
		return fmt.Errorf("error_reports: %w", err)
	}
	b.servers = append(b.servers, server)
	b.serving.Go(func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			componentstatus.ReportStatus(host, componentstatus.NewFatalErrorEvent(err))
		}
	})
	return nil
}

// close ends the feed. What was not sent stays in the ledger's store.
func (b *billingFeed) close() (err error) {
	if b == nil {
		return nil
	}
	for _, s := range b.servers {
		err = errors.Join(err, s.Close())
	}
	b.serving.Wait()
	if b.control != nil {
		err = errors.Join(err, b.control.Close())
	}
	if b.feed != nil {
		err = errors.Join(err, b.feed.Close())
	}
	return err
}
