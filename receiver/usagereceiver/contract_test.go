package usagereceiver

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/plog"
	signal "go.opentelemetry.io/collector/pipeline"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/receivertest"

	"github.com/usagebox/otelcol-usagebox/receiver/usagereceiver/internal/metadata"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// marked gives every event's id to the contract's checker, where it looks for it.
type marked struct{ consumer.Logs }

func (m marked) ConsumeLogs(ctx context.Context, ld plog.Logs) error {
	for _, resource := range ld.ResourceLogs().All() {
		for _, scope := range resource.ScopeLogs().All() {
			for _, r := range scope.LogRecords().All() {
				var e usage.Event
				if err := usage.DecodeRecord(resource.Resource(), r, &e); err != nil {
					return err
				}
				r.Attributes().PutStr(receivertest.UniqueIDAttrName, e.ID)
			}
		}
	}
	return m.Logs.ConsumeLogs(ctx, ld)
}

// sender sends an event until it is told that it need not come again.
type sender struct {
	t   *testing.T
	url string
	ids atomic.Int64
}

func (*sender) Start() {}
func (*sender) Stop()  { http.DefaultClient.CloseIdleConnections() }

func (s *sender) Generate() []receivertest.UniqueIDAttrVal {
	id := fmt.Sprint(s.ids.Add(1))
	for {
		res, err := http.Post(s.url, "application/json", strings.NewReader(strings.Replace(curl, "req_8x42jk", id, 1))) //nolint:noctx // a test's
		if err != nil {
			s.t.Error(err)
			return nil
		}
		_ = res.Body.Close()
		if res.Header.Get("Retry-After") == "" {
			return []receivertest.UniqueIDAttrVal{receivertest.UniqueIDAttrVal(id)}
		}
	}
}

func TestErrorsOfThePipelineMeanWhatTheyMeanEverywhere(t *testing.T) {
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	config := createDefaultConfig().(*Config)
	config.ServerConfig.NetAddr.Endpoint = address
	receivertest.CheckConsumeContract(receivertest.CheckConsumeContractParams{
		T: t, Signal: signal.SignalLogs, Config: config, GenerateCount: 200, Generator: &sender{t: t, url: "http://" + address + pathEvents},
		Factory: receiver.NewFactory(metadata.Type, createDefaultConfig, receiver.WithLogs(
			func(ctx context.Context, set receiver.Settings, c component.Config, next consumer.Logs) (receiver.Logs, error) {
				return createLogs(ctx, set, c, marked{next})
			}, metadata.LogsStability)),
	})
}
