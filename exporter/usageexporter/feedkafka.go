package usageexporter

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/config/configtls"
	"go.opentelemetry.io/collector/confmap"

	"github.com/usagebox/otelcol-usagebox/internal/feed"
	"github.com/usagebox/otelcol-usagebox/internal/feed/biller"
)

// kafkaConfig produces CloudEvents to a topic. The feed produces them itself and not through a kafka exporter: a record has been delivered when the brokers say so,
// not when a queue has it.
type kafkaConfig struct {
	ReceiverConfig `mapstructure:",squash"`

	// Brokers are where the cluster is reached first, host:port.
	Brokers []string `mapstructure:"brokers"`

	// Topic has to exist.
	Topic string `mapstructure:"topic"`

	// ClientID is what brokers know the feed by.
	ClientID string `mapstructure:"client_id"`

	// TLS is configtls's; without it connections are plain.
	TLS configoptional.Optional[configtls.ClientConfig] `mapstructure:"tls"`

	// Auth is how the feed says who it is.
	Auth kafkaAuthConfig `mapstructure:"auth"`
}

type kafkaAuthConfig struct {
	// SASL has a name and a password.
	SASL configoptional.Optional[saslConfig] `mapstructure:"sasl"`
}

type saslConfig struct {
	// Mechanism is PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.
	Mechanism string `mapstructure:"mechanism"`

	// Username and Password are those of a user who may write to the topic.
	Username string              `mapstructure:"username"`
	Password configopaque.String `mapstructure:"password"`
}

func newKafkaConfig() feedReceiver {
	return &kafkaConfig{
		ReceiverConfig: newReceiverConfig("model"), ClientID: "otelcol-usagebox", TLS: configoptional.Default(configtls.NewDefaultClientConfig()),
		Auth: kafkaAuthConfig{SASL: configoptional.Default(saslConfig{Mechanism: "SCRAM-SHA-512"})},
	}
}

func (c *kafkaConfig) Unmarshal(conf *confmap.Conf) error { return unmarshalReceiver(conf, c) }
func (*kafkaConfig) limits() (int, bool, bool)            { return maxDecimals, true, true }

func (c *kafkaConfig) validate() error {
	switch {
	case len(c.Brokers) == 0 || slices.Contains(c.Brokers, ""):
		return errors.New("brokers is empty: name some of the cluster's, such as [localhost:9092]")
	case c.Topic == "":
		return errors.New("topic is empty: name one that the cluster has")
	case !c.Auth.SASL.HasValue():
		return nil
	}
	s := c.Auth.SASL.Get()
	switch {
	case !slices.Contains(biller.SASLMechanisms, s.Mechanism):
		return fmt.Errorf("auth: sasl: mechanism is %q: it takes one of %v", s.Mechanism, biller.SASLMechanisms)
	case s.Username == "" || s.Password == "":
		return errors.New("auth: sasl: username or password is empty: set both, best from the environment, as ${env:NAME}")
	}
	return nil
}

func (c *kafkaConfig) receiver(ctx context.Context) (feed.Receiver, error) {
	o := biller.KafkaOptions{Brokers: c.Brokers, Topic: c.Topic, ClientID: c.ClientID}
	if c.TLS.HasValue() {
		var err error
		if o.TLS, err = c.TLS.Get().LoadTLSConfig(ctx); err != nil {
			return nil, err
		}
	}
	if c.Auth.SASL.HasValue() {
		s := c.Auth.SASL.Get()
		o.Mechanism, o.Username, o.Password = s.Mechanism, s.Username, string(s.Password)
	}
	return biller.NewKafka(o)
}
