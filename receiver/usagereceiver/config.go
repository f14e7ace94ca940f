package usagereceiver

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/confmap"

	"github.com/usagebox/otelcol-usagebox/internal/configkeys"
)

// Config of the usage receiver.
type Config struct {
	// ServerConfig is confighttp's: endpoint, tls, auth, max_request_body_size (after decompression), timeouts, and so on.
	ServerConfig confighttp.ServerConfig `mapstructure:",squash"`

	// MaxFuture is how far ahead of this machine's clock an event's timestamp may be. 0s to 24h.
	MaxFuture time.Duration `mapstructure:"max_future"`

	// MaxEvents is how many events one request may hold. 1 to 1,000,000.
	MaxEvents int `mapstructure:"max_events"`

	// MaxInflightSize bounds what was read, decompressed, of the bodies that are being worked on, in bytes: beyond it requests are
	// answered with 429. At least max_request_body_size; 0 stands for four bodies of that size, and at least 64 MiB.
	MaxInflightSize int64 `mapstructure:"max_inflight_size"`

	// prevent unkeyed literal initialization
	_ struct{}
}

func createDefaultConfig() component.Config {
	server := confighttp.NewDefaultServerConfig()
	server.NetAddr.Endpoint = "localhost:8080"
	server.MaxRequestBodySize = 20 << 20
	return &Config{ServerConfig: server, MaxFuture: 10 * time.Minute, MaxEvents: 100_000}
}

// Unmarshal refuses keys that nobody reads: confighttp, when it is part of another configuration, lets them pass.
func (c *Config) Unmarshal(conf *confmap.Conf) error {
	if err := conf.Unmarshal(c); err != nil {
		return err
	}
	return configkeys.Check[Config](conf)
}

// Validate names every field that is wrong, and what it accepts.
func (c *Config) Validate() error {
	var errs []error
	switch endpoint, transport := c.ServerConfig.NetAddr.Endpoint, c.ServerConfig.NetAddr.Transport; {
	case endpoint == "":
		errs = append(errs, errors.New("endpoint is empty: set host:port to listen on, such as localhost:8080"))
	case strings.HasPrefix(string(transport), "tcp"):
		if _, _, err := net.SplitHostPort(endpoint); err != nil {
			errs = append(errs, fmt.Errorf("endpoint is %q: it must be host:port to listen on, such as localhost:8080: %w", endpoint, err))
		}
	}
	if c.ServerConfig.MaxRequestBodySize <= 0 {
		errs = append(errs, fmt.Errorf("max_request_body_size is %d bytes: it must be above 0", c.ServerConfig.MaxRequestBodySize))
	}
	if c.MaxFuture < 0 || c.MaxFuture > 24*time.Hour {
		errs = append(errs, fmt.Errorf("max_future is %s: it must be 0s to 24h", c.MaxFuture))
	}
	if c.MaxEvents < 1 || c.MaxEvents > 1_000_000 {
		errs = append(errs, fmt.Errorf("max_events is %d: it must be 1 to 1000000", c.MaxEvents))
	}
	if c.MaxInflightSize != 0 && c.MaxInflightSize < c.ServerConfig.MaxRequestBodySize {
		errs = append(errs, fmt.Errorf("max_inflight_size is %d bytes, below max_request_body_size, %d: it must be at least that, or 0 for four bodies of that size", c.MaxInflightSize, c.ServerConfig.MaxRequestBodySize))
	}
	return errors.Join(errs...)
}

const leastInflightSize = 64 << 20

func (c *Config) inflightSize() int64 {
	if c.MaxInflightSize != 0 {
		return c.MaxInflightSize
	}
	return max(leastInflightSize, 4*c.ServerConfig.MaxRequestBodySize)
}
