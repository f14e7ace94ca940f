package biller

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	saslplain "github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/usagebox/otelcol-usagebox/internal/feed"
)

// kafkaBatch is how many messages one call brings.
const kafkaBatch = 500

// Kafka produces a message for each record to a topic: a CloudEvent in structured mode, keyed by the customer. It has been delivered when all replicas that are in
// sync have it. After a call without an answer it goes again under the same id, so a message may be there twice: who reads the topic counts an id once.
type Kafka struct {
	client *kgo.Client
	redact func(string) string
}

// KafkaOptions say how a cluster is reached.
type KafkaOptions struct {
	Brokers   []string
	Topic     string
	ClientID  string
	TLS       *tls.Config // nil: none
	Mechanism string      // of SASL: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512; "" is none
	Username  string
	Password  string
}

// SASLMechanisms are those of KafkaOptions.
var SASLMechanisms = []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"}

// NewKafka connects to nothing yet.
func NewKafka(o KafkaOptions) (*Kafka, error) {
	options := []kgo.Opt{
		kgo.SeedBrokers(o.Brokers...), kgo.DefaultProduceTopic(o.Topic), kgo.ClientID(o.ClientID),
		kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerLinger(0),
		kgo.AllowIdempotentProduceCancellation(), // the outbox tries again; a call has to end with its context
		kgo.UnknownTopicRetries(0),
	}
	if o.TLS != nil {
		options = append(options, kgo.DialTLSConfig(o.TLS))
	}
	if m := o.mechanism(); m != nil {
		options = append(options, kgo.SASL(m))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return nil, err
	}
	secret := Client{Secrets: []string{o.Password}}
	return &Kafka{client, secret.redact}, nil
}

func (o *KafkaOptions) mechanism() sasl.Mechanism {
	switch o.Mechanism {
	case "PLAIN":
		return saslplain.Auth{User: o.Username, Pass: o.Password}.AsMechanism()
	case "SCRAM-SHA-256":
		return scram.Auth{User: o.Username, Pass: o.Password}.AsSha256Mechanism()
	case "SCRAM-SHA-512":
		return scram.Auth{User: o.Username, Pass: o.Password}.AsSha512Mechanism()
	}
	return nil
}

// Limits of a topic.
func (*Kafka) Limits() feed.Limits { return feed.Limits{Batch: kafkaBatch} }

// Check finds nothing.
func (*Kafka) Check(*feed.Record, time.Time) (reason, detail string) { return "", "" }

// Close gives the connections up.
func (k *Kafka) Close() error {
	k.client.Close()
	return nil
}

// Send produces the records and waits until each is acknowledged.
func (k *Kafka) Send(ctx context.Context, records []*feed.Record) []feed.Outcome {
	messages := make([]*kgo.Record, len(records))
	at := make(map[*kgo.Record]int, len(records))
	for i, r := range records {
		body, err := json.Marshal(newCloudEvent(r, EventType, r))
		if err != nil {
			return feed.Fates(len(records), feed.Outcome{Fate: feed.Refused, Reason: "unencodable", Err: err})
		}
		messages[i] = &kgo.Record{
			Key: []byte(r.ExternalCustomer), Value: body,
			Headers: []kgo.RecordHeader{{Key: "content-type", Value: []byte("application/cloudevents+json; charset=UTF-8")}},
		}
		at[messages[i]] = i
	}
	outcomes := feed.Fates(len(records), feed.Outcome{Fate: feed.Delivered})
	for _, result := range k.client.ProduceSync(ctx, messages...) {
		if result.Err != nil {
			outcomes[at[result.Record]] = k.failed(len(records), result.Err)
		}
	}
	return outcomes
}

// failed is what became of a message that was not acknowledged.
func (k *Kafka) failed(n int, err error) feed.Outcome {
	o := feed.Outcome{Fate: feed.Unknown, All: true, Err: errors.New(k.redact("not acknowledged: " + err.Error()))}
	var said *kerr.Error
	if !errors.As(err, &said) {
		return o
	}
	switch said {
	case kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.InvalidRecord:
		if n > 1 {
			return feed.Outcome{Fate: feed.NotTaken, Alone: true, Err: o.Err}
		}
		return feed.Outcome{Fate: feed.Refused, Reason: strings.ToLower(said.Message), Err: o.Err}
	case kerr.UnknownTopicOrPartition, kerr.TopicAuthorizationFailed, kerr.ClusterAuthorizationFailed, kerr.SaslAuthenticationFailed, kerr.InvalidTopicException, kerr.NotEnoughReplicas:
		o.Fate = feed.NotTaken
	}
	return o
}
