package usagereceiver

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/config/configauth"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/extension/extensionauth"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/usagebox/otelcol-usagebox/receiver/usagereceiver/internal/metadata"
	"github.com/usagebox/otelcol-usagebox/usage"
)

type host struct {
	extensions map[component.ID]component.Component
}

func (h host) GetExtensions() map[component.ID]component.Component { return h.extensions }

// start runs a receiver on a port of its own until the test ends.
func start(t *testing.T, next consumer.Logs, h component.Host, change func(*Config)) *usageReceiver {
	t.Helper()
	config := createDefaultConfig().(*Config)
	config.ServerConfig.NetAddr.Endpoint = "localhost:0"
	if change != nil {
		change(config)
	}
	if err := config.Validate(); err != nil {
		t.Fatal(err)
	}
	r, err := newReceiver(receivertest.NewNopSettings(metadata.Type), config, next, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Start(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		if err := r.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *usageReceiver) url(path string) string { return "http://" + r.address.String() + path }

// request sends a body and gives the answer, which must be JSON.
func request(t *testing.T, r *usageReceiver, body io.Reader, header ...string) (int, answer, http.Header) {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url(pathEvents), body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		q.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var a answer
	if err := json.NewDecoder(res.Body).Decode(&a); err != nil || res.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("%s: the answer is no JSON: %v", res.Status, err)
	}
	return res.StatusCode, a, res.Header
}

func TestTheCommandThatUsersCopyWorks(t *testing.T) {
	program, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("there is no curl here")
	}
	p := &pipeline{}
	r := start(t, p, componenttest.NewNopHost(), nil)
	out, err := exec.Command(program, "-sS", "-w", " %{http_code}", "-X", "POST", r.address.String()+pathEvents, "-H", "Authorization: Bearer key", "-d", `{"event_id": "req_8x42jk", "account_id": "acme-co", "meter":
"llm_tokens_in", "model": "claude-4.5-sonnet", "quantity": 12450, "timestamp": "2026-05-16T18:42:11Z"}`).CombinedOutput()
	if err != nil || strings.Join(strings.Fields(string(out)), " ") != `{"accepted":1} 202` || len(p.events) != 1 {
		t.Fatalf("%s %v, %d events", out, err, len(p.events))
	}
}

func packed(t *testing.T, encoding, text string) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	switch encoding {
	case "gzip":
		w = gzip.NewWriter(&b)
	case "zstd":
		z, err := zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		w = z
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

func TestTheLimitOfABodyIsThatOfItsTextHoweverItIsPacked(t *testing.T) {
	p := &pipeline{}
	r := start(t, p, componenttest.NewNopHost(), func(c *Config) { c.ServerConfig.MaxRequestBodySize = 1 << 10 })
	long := "[" + curl + strings.Repeat(" ", 2<<10) + "]"
	for _, encoding := range []string{"gzip", "zstd"} {
		if code, a, _ := request(t, r, packed(t, encoding, curl), "Content-Encoding", encoding); code != http.StatusAccepted || a.Accepted != 1 {
			t.Errorf("%s: %d %+v", encoding, code, a)
		}
		if code, _, _ := request(t, r, packed(t, encoding, long), "Content-Encoding", encoding); code != http.StatusRequestEntityTooLarge {
			t.Errorf("%s, too long: %d", encoding, code)
		}
		broken := packed(t, encoding, curl).Bytes()
		if code, _, _ := request(t, r, bytes.NewReader(broken[:len(broken)/2]), "Content-Encoding", encoding); code != http.StatusBadRequest {
			t.Errorf("%s, broken: %d", encoding, code)
		}
	}
	if code, _, _ := request(t, r, strings.NewReader(long)); code != http.StatusRequestEntityTooLarge {
		t.Errorf("plain: %d", code)
	}
	if code, _, _ := request(t, r, iotestReader(long)); code != http.StatusRequestEntityTooLarge {
		t.Errorf("in chunks: %d", code)
	}
	if code, _, _ := request(t, r, strings.NewReader(curl), "Content-Encoding", "rot13"); code != http.StatusUnsupportedMediaType {
		t.Errorf("an unknown compression: %d", code)
	}
	if len(p.events) != 2 {
		t.Fatalf("%d events were taken", len(p.events))
	}
}

// iotestReader hides how long a text is, so that it is sent in chunks.
func iotestReader(text string) io.Reader { return io.MultiReader(strings.NewReader(text)) }

type tokens struct {
	component.StartFunc
	component.ShutdownFunc
}

var _ extensionauth.Server = tokens{}

func (tokens) Authenticate(ctx context.Context, headers map[string][]string) (context.Context, error) {
	if v := headers["Authorization"]; len(v) == 1 && v[0] == "Bearer right" {
		return ctx, nil
	}
	return ctx, errors.New("not this one")
}

func TestWithoutATokenNothingIsTaken(t *testing.T) {
	id := component.MustNewID("tokens")
	p := &pipeline{}
	r := start(t, p, host{map[component.ID]component.Component{id: tokens{}}}, func(c *Config) {
		c.ServerConfig.Auth = configoptional.Some(confighttp.AuthConfig{Config: configauth.Config{AuthenticatorID: id}})
	})
	for token, want := range map[string]int{"": http.StatusUnauthorized, "Bearer wrong": http.StatusUnauthorized, "Bearer right": http.StatusAccepted} {
		if code, _, _ := request(t, r, strings.NewReader(curl), "Authorization", token); code != want {
			t.Errorf("%q: %d", token, code)
		}
	}
	if len(p.events) != 1 {
		t.Fatalf("%d events", len(p.events))
	}
}

// slow is a pipeline whose events become durable when it is told.
type slow struct {
	consumer.Logs
	entered, proceed chan struct{}
}

func (s *slow) ConsumeLogs(ctx context.Context, ld plog.Logs) error {
	s.entered <- struct{}{}
	<-s.proceed
	return s.Logs.ConsumeLogs(ctx, ld)
}

func TestWhatIsBeyondTheRoomForBodiesIsToldToComeAgain(t *testing.T) {
	p := &pipeline{}
	s := &slow{p, make(chan struct{}), make(chan struct{})}
	r := start(t, s, componenttest.NewNopHost(), func(c *Config) { c.ServerConfig.MaxRequestBodySize, c.MaxInflightSize = 300, 300 })
	first := make(chan int)
	go func() {
		code, _, _ := request(t, r, strings.NewReader(curl))
		first <- code
	}()
	<-s.entered
	code, _, header := request(t, r, strings.NewReader(curl))
	if code != http.StatusTooManyRequests || header.Get("Retry-After") == "" {
		t.Fatalf("%d %v", code, header)
	}
	close(s.proceed)
	if code := <-first; code != http.StatusAccepted {
		t.Fatal(code)
	}
	go func() { <-s.entered }()
	if code, _, _ := request(t, r, strings.NewReader(curl)); code != http.StatusAccepted {
		t.Fatalf("the room was not given back: %d", code)
	}
}

func TestAStopWaitsForWhatIsInThePipelineAndNotForASlowSender(t *testing.T) {
	p := &pipeline{}
	s := &slow{p, make(chan struct{}), make(chan struct{})}
	r := start(t, s, componenttest.NewNopHost(), nil)
	r.stopGrace = 50 * time.Millisecond
	sender, err := net.Dial("tcp", r.address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	if _, err := fmt.Fprintf(sender, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n[%s,", pathEvents, curl); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Dial("tcp", r.address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if _, err := fmt.Fprintf(taken, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", pathEvents, len(curl), curl); err != nil {
		t.Fatal(err)
	}
	<-s.entered
	stopped := make(chan error)
	go func() { stopped <- r.Shutdown(context.Background()) }()
	if _, err := bufio.NewReader(sender).ReadByte(); err == nil {
		t.Error("the slow sender got an answer")
	}
	select {
	case <-stopped:
		t.Fatal("the stop did not wait for the pipeline")
	default:
	}
	close(s.proceed)
	if err := <-stopped; err != nil || len(p.events) != 1 {
		t.Fatal(err, len(p.events))
	}
}

func TestASenderThatStallsIsToldToSendAgain(t *testing.T) {
	p := &pipeline{}
	r := start(t, p, componenttest.NewNopHost(), func(c *Config) { c.ServerConfig.ReadTimeout = 50 * time.Millisecond })
	sender, err := net.Dial("tcp", r.address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	if _, err := fmt.Fprintf(sender, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n[%s,", pathEvents, curl); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(sender), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" || len(p.events) != 0 {
		t.Fatal(res.Status, len(p.events))
	}
}

func TestReceivedIsAcceptedAndRejectedAndFailed(t *testing.T) {
	telemetry := componenttest.NewTelemetry()
	set := receivertest.NewNopSettings(metadata.Type)
	set.TelemetrySettings = telemetry.NewTelemetrySettings()
	p := &pipeline{}
	r, err := newReceiver(set, createDefaultConfig().(*Config), p, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, handler: r.handler(), p: p, doc: newClient(t, nil).doc}
	two := strings.Replace(curl, "req_8x42jk", "two", 1)
	c.post(pathEvents, "application/json", "["+curl+",{},"+two+"]")
	c.post(pathEvents, "application/json", "[{},NaN]")
	c.post(pathEvents, "application/json", "["+curl+`,{"open`)
	c.post(pathEvents, "application/xml", "<a/>")
	p.err = errors.New("the disk is full")
	c.post(pathEvents, "application/json", "["+curl+","+two+",{}]")
	p.err, p.refuse = nil, func(*usage.Event) string { return usage.ReasonConflict }
	c.post(pathEvents, "application/x-ndjson", curl+"\n"+two)
	sum := func(name string) (total int64) {
		m, err := telemetry.GetMetric(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range m.Data.(metricdata.Sum[int64]).DataPoints {
			total += d.Value
		}
		return total
	}
	got := [4]int64{
		sum("otelcol_usagebox_receiver_received"), sum("otelcol_usagebox_receiver_accepted"),
		sum("otelcol_usagebox_receiver_rejected"), sum("otelcol_usagebox_receiver_failed"),
	}
	if got != [4]int64{12, 3, 6, 3} {
		t.Fatalf("received, accepted, rejected, failed: %v", got)
	}
	if err := telemetry.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
}
