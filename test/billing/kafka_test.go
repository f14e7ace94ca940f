package billing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/usagebox/otelcol-usagebox/internal/feed"
	"github.com/usagebox/otelcol-usagebox/internal/feed/biller"
)

const topic = "usage_records"

func cluster(t *testing.T, options ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(3, topic)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func kafka(t *testing.T, o biller.KafkaOptions) *biller.Kafka {
	t.Helper()
	k, err := biller.NewKafka(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.Close() })
	return k
}

// consume reads messages until each of the ids has come, and gives those of each partition in order.
func consume(t *testing.T, brokers []string, ids map[string]bool) (messages []*kgo.Record) {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for seen := map[string]bool{}; len(seen) < len(ids); {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("%d of %d ids came: %v", len(seen), len(ids), err)
		}
		for _, m := range fetches.Records() {
			messages = append(messages, m)
			seen[eventOf(t, m).ID()] = true
		}
	}
	return messages
}

func eventOf(t *testing.T, m *kgo.Record) event.Event {
	t.Helper()
	var e event.Event
	if err := json.Unmarshal(m.Value, &e); err != nil {
		t.Fatalf("%v in %s", err, m.Value)
	}
	if err := e.Validate(); err != nil {
		t.Error(err)
	}
	if len(m.Headers) != 1 || m.Headers[0].Key != "content-type" || !strings.HasPrefix(string(m.Headers[0].Value), event.ApplicationCloudEventsJSON) {
		t.Errorf("the headers are %v", m.Headers)
	}
	if string(m.Key) != e.Subject() {
		t.Errorf("the key is %q, the customer %q", m.Key, e.Subject())
	}
	return e
}

func idsOf(all []*feed.Record) map[string]bool {
	ids := map[string]bool{}
	for _, r := range all {
		ids[r.ID] = true
	}
	return ids
}

func TestATopicHasEachRecordAsACloudEvent(t *testing.T) {
	c := cluster(t)
	deliver(t, kafka(t, biller.KafkaOptions{Brokers: c.ListenAddrs(), Topic: topic}), records())
	want := map[string]event.Event{}
	for _, e := range cloudEvents(t, records(), ofWebhook) {
		want[e.ID()] = e
	}
	for _, m := range consume(t, c.ListenAddrs(), idsOf(records())) {
		e := eventOf(t, m)
		if diff := cmp.Diff(want[e.ID()].Context.AsV1(), e.Context.AsV1()); diff != "" {
			t.Errorf("(-SDK +feed):\n%s", diff)
		}
		if diff := cmp.Diff(jsonValue(t, want[e.ID()].Data()), jsonValue(t, e.Data())); diff != "" {
			t.Errorf("(-SDK +feed):\n%s", diff)
		}
	}
}

// Brokers refuse, hang up before they answer, and answer after the call has ended: each record is in the topic in the end, by the id that consumers count once.
func TestWhatWasDeliveredIsInTheTopicWhateverBrokersDo(t *testing.T) {
	c := cluster(t)
	var mu sync.Mutex
	random, calm := rand.New(rand.NewPCG(1, 2)), false
	c.ControlKey(int16(kmsg.Produce), func(q kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		mu.Lock()
		defer mu.Unlock()
		switch n := random.IntN(6); {
		case calm:
		case n == 0:
			return nil, errors.New("hung up"), true
		case n == 1:
			return refuse(q.(*kmsg.ProduceRequest), kerr.NotEnoughReplicas), nil, true
		case n == 2:
			return refuse(q.(*kmsg.ProduceRequest), kerr.TopicAuthorizationFailed), nil, true
		}
		return nil, nil, false
	})
	k := kafka(t, biller.KafkaOptions{Brokers: c.ListenAddrs(), Topic: topic})
	var all []*feed.Record
	for i := range 100 {
		all = append(all, &feed.Record{ID: fmt.Sprintf("ubx_%04d", i), ExternalCustomer: fmt.Sprint("customer", i%5), Value: "1", Timestamp: "2026-11-24T10:15:30Z", Writer: "main"})
	}
	waiting, rounds := all, 0
	for ; len(waiting) > 0; rounds++ {
		if rounds == 100 {
			mu.Lock()
			calm = true
			mu.Unlock()
		}
		n := min(len(waiting), 20)
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+random.IntN(200))*time.Millisecond)
		outcomes := k.Send(ctx, waiting[:n])
		cancel()
		var again []*feed.Record
		for i, o := range outcomes {
			switch o.Fate {
			case feed.Delivered:
			case feed.Refused:
				t.Fatalf("refused: %s %v", o.Reason, o.Err)
			default:
				again = append(again, waiting[i])
			}
		}
		waiting = append(again, waiting[n:]...)
	}
	if rounds <= len(all)/20 {
		t.Fatal("nothing has failed")
	}
	counted := map[string]bool{}
	for _, m := range consume(t, c.ListenAddrs(), idsOf(all)) {
		if e := eventOf(t, m); !counted[e.ID()] {
			counted[e.ID()] = true
		}
	}
	if len(counted) != len(all) {
		t.Errorf("%d of %d ids are in the topic", len(counted), len(all))
	}
}

func refuse(q *kmsg.ProduceRequest, why *kerr.Error) kmsg.Response {
	a := q.ResponseKind().(*kmsg.ProduceResponse)
	for _, of := range q.Topics {
		answer := kmsg.NewProduceResponseTopic()
		answer.Topic, answer.TopicID = of.Topic, of.TopicID
		for _, p := range of.Partitions {
			partition := kmsg.NewProduceResponseTopicPartition()
			partition.Partition, partition.ErrorCode = p.Partition, why.Code
			answer.Partitions = append(answer.Partitions, partition)
		}
		a.Topics = append(a.Topics, answer)
	}
	return a
}

func TestATopicThatIsNotThereTakesNothingAndIsWaitedFor(t *testing.T) {
	c := cluster(t)
	for _, o := range kafka(t, biller.KafkaOptions{Brokers: c.ListenAddrs(), Topic: "mistyped"}).Send(t.Context(), records()) {
		if o.Fate != feed.NotTaken || !o.All || o.Err == nil {
			t.Errorf("%+v", o)
		}
	}
}

func TestAPasswordIsAskedForAndShownToNobody(t *testing.T) {
	const password = "hush-hush-hush"
	for _, mechanism := range biller.SASLMechanisms {
		c := cluster(t, kfake.EnableSASL(), kfake.Superuser(mechanism, "feed", password))
		o := biller.KafkaOptions{Brokers: c.ListenAddrs(), Topic: topic, Mechanism: mechanism, Username: "feed", Password: password}
		deliver(t, kafka(t, o), records())
		o.Username = "another"
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		for _, outcome := range kafka(t, o).Send(ctx, records()) {
			if outcome.Fate == feed.Delivered || outcome.Fate == feed.Refused || !outcome.All || strings.Contains(outcome.Err.Error(), password) {
				t.Errorf("%s: %+v", mechanism, outcome)
			}
		}
		cancel()
	}
}
