package billing

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const kafkaProgramConfig = `
receivers:
  usage: {endpoint: %[2]q}
processors:
  dedupe: {directory: '%[1]s/state/dedupe'}
exporters:
  usage: {directory: '%[1]s', flush_interval: 200ms, seal_after: 1s, feed: {every: 1s, receivers: {kafka: {brokers: [%[3]q], topic: usage_records, retry: {initial_interval: 20ms, max_interval: 200ms}}}}}
service:
  telemetry: {metrics: {level: none}}
  pipelines:
    logs: {receivers: [usage], processors: [dedupe], exporters: [usage]}
`

// killable is the program with a feed to Kafka, which is killed and started again.
type killable struct {
	t              *testing.T
	binary, config string
	dir, api       string
	log            bytes.Buffer
	cmd            *exec.Cmd
}

func newKillable(t *testing.T, broker string) *killable {
	t.Helper()
	binary, err := build()
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &killable{t: t, binary: binary, config: filepath.Join(t.TempDir(), "config.yaml"), dir: filepath.Join(t.TempDir(), "usage"), api: l.Addr().String()}
	_ = l.Close()
	if err := os.WriteFile(p.config, fmt.Appendf(nil, kafkaProgramConfig, p.dir, p.api, broker), 0o600); err != nil {
		t.Fatal(err)
	}
	p.start()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("the collector's log:\n%s", p.log.Bytes()[max(0, p.log.Len()-4000):])
		}
	})
	return p
}

func (p *killable) start() {
	p.t.Helper()
	p.cmd = exec.Command(p.binary, "--config", p.config)
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
}

func (p *killable) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// insist posts until it is acknowledged.
func (p *killable) insist(body string) bool {
	for range 3000 {
		if answer, err := http.Post("http://"+p.api+"/v1/events", "application/json", strings.NewReader(body)); err == nil {
			_ = answer.Body.Close()
			if answer.StatusCode == http.StatusAccepted {
				return true
			}
		}
		time.Sleep(20 * time.Millisecond) // it is being started again
	}
	return false
}

func (p *killable) run(args ...string) (string, error) {
	out, err := exec.Command(p.binary, append(args, "--directory", p.dir)...).CombinedOutput()
	return string(out), err
}

// quiet says whether nothing is left to be sent.
func (p *killable) quiet() bool {
	out, err := p.run("feed", "status", "--json")
	var all []struct {
		Pending int `json:"pending"`
		Hours   int `json:"hours_waiting"`
	}
	return err == nil && json.Unmarshal([]byte(out), &all) == nil && len(all) == 1 && all[0].Pending == 0 && all[0].Hours == 0
}

// bill is an amount by customer and hour.
type bill map[string]*big.Int

func (b bill) add(customer string, hour time.Time, n *big.Int) {
	key := customer + " " + hour.UTC().Format(time.RFC3339)
	if b[key] == nil {
		b[key] = new(big.Int)
	}
	b[key].Add(b[key], n)
}

// rollups adds up the ledger's files, in millionths of a unit.
func (p *killable) rollups() bill {
	p.t.Helper()
	type row struct {
		Hour     int64    `parquet:"hour_start,timestamp(microsecond)"`
		Customer string   `parquet:"customer"`
		Quantity [16]byte `parquet:"quantity,decimal(6:38)"`
	}
	all := bill{}
	if err := filepath.WalkDir(filepath.Join(p.dir, "rollups"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".parquet" {
			return err
		}
		rows, err := parquet.ReadFile[row](path)
		for _, r := range rows {
			n := new(big.Int).SetBytes(r.Quantity[:])
			if r.Quantity[0] >= 0x80 {
				n.Sub(n, new(big.Int).Lsh(big.NewInt(1), 128))
			}
			all.add(r.Customer, time.UnixMicro(r.Hour), n)
		}
		return err
	}); err != nil {
		p.t.Fatal(err)
	}
	return all
}

// billed is what a reader of the topic adds up who counts an id once, and how many messages it passed over.
func billed(t *testing.T, c *kfake.Cluster) (all bill, twice int) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumeTopics(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	all = bill{}
	seen := map[string]string{}
	for read, end := int64(0), messages(t, client); read < end; {
		fetches := client.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		for _, m := range fetches.Records() {
			read++
			e := eventOf(t, m)
			if before, known := seen[e.ID()]; known {
				if before != string(m.Value) {
					t.Errorf("two contents of one id:\n%s\n%s", before, m.Value)
				}
				twice++
				continue
			}
			seen[e.ID()] = string(m.Value)
			var data struct {
				Customer, Value string
				Hour            time.Time
			}
			if err := json.Unmarshal(e.Data(), &data); err != nil {
				t.Fatal(err)
			}
			value, ok := new(big.Rat).SetString(data.Value)
			if !ok || !value.Mul(value, big.NewRat(1_000_000, 1)).IsInt() {
				t.Fatalf("the value is %q", data.Value)
			}
			all.add(data.Customer, data.Hour, value.Num())
		}
	}
	return all, twice
}

// messages is how many the topic has.
func messages(t *testing.T, client *kgo.Client) (n int64) {
	t.Helper()
	q := kmsg.NewListOffsetsRequest()
	of := kmsg.NewListOffsetsRequestTopic()
	of.Topic = topic
	for partition := range int32(3) {
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Partition, p.Timestamp = partition, -1
		of.Partitions = append(of.Partitions, p)
	}
	q.Topics = append(q.Topics, of)
	a, err := q.RequestWith(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range a.Topics[0].Partitions {
		if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
			t.Fatal(err)
		}
		n += p.Offset
	}
	return n
}

// moody is a broker that refuses, hangs up before it has written and after, and is away.
type moody struct {
	away, calm atomic.Bool

	mu                  sync.Mutex // guards what follows
	random              *rand.Rand
	silent              bool // the next answer is not given
	refused, unanswered int
}

type moodyListener struct {
	net.Listener
	of *moody
}

// Accept hangs up at once while the broker is away.
func (l moodyListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil && l.of.away.Load() {
		_ = c.Close()
	}
	return moodyConn{c, l.of}, err
}

type moodyConn struct {
	net.Conn
	of *moody
}

func (c moodyConn) Write(b []byte) (int, error) {
	c.of.mu.Lock()
	silent := c.of.silent
	c.of.silent = false
	c.of.mu.Unlock()
	if silent || c.of.away.Load() {
		return 0, errors.Join(net.ErrClosed, c.Close())
	}
	return c.Conn.Write(b)
}

// decide says what becomes of a request.
func (m *moody) decide(q kmsg.Request) (kmsg.Response, error, bool) {
	produce, produces := q.(*kmsg.ProduceRequest)
	if !produces || m.calm.Load() {
		return nil, nil, false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch m.random.IntN(4) {
	case 0:
		m.refused++
		return nil, errors.New("hung up"), true
	case 1:
		m.refused++
		return refuse(produce, kerr.NotEnoughReplicas), nil, true
	case 2:
		m.silent = true
		m.unanswered++
	}
	return nil, nil, false
}

// Usage, late and corrected, goes to Kafka, whose broker refuses, hangs up before it has written and after, and is away, while the program is killed again and again: in
// the end what a reader of the topic would bill who counts an id once is what the ledger has, for every customer and hour.
func TestWhatKafkaBillsIsWhatTheLedgerHas(t *testing.T) {
	broker := &moody{random: rand.New(rand.NewPCG(6, 6))}
	c := cluster(t, kfake.ListenFn(func(network, address string) (net.Listener, error) {
		l, err := net.Listen(network, address)
		return moodyListener{l, broker}, err
	}))
	c.Control(func(q kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		return broker.decide(q)
	})
	p := newKillable(t, c.ListenAddrs()[0])
	eventually(t, "the feed answers", p.quiet)
	stop, posted := make(chan struct{}), make(chan bool, 1)
	base := time.Now().UTC().Truncate(time.Hour)
	go func() {
		random, ok := rand.New(rand.NewPCG(7, 7)), true
		for batch := 0; ok; batch++ {
			select {
			case <-stop:
				posted <- true
				return
			default:
			}
			var body []string
			for i := range 10 {
				id, customer, hour := fmt.Sprintf("e-%d-%d", batch, i), random.IntN(3), base.Add(-time.Duration(random.IntN(5))*time.Hour).Format(time.RFC3339)
				body = append(body, fmt.Sprintf(`{"event_id":%q,"account_id":"customer%d","meter":"units","quantity":"%d.25","timestamp":%q}`, id, customer, 1+random.IntN(40), hour))
				if random.IntN(4) == 0 {
					body = append(body, fmt.Sprintf(`{"event_id":"c%s","kind":"correction","corrects":%q,"account_id":"customer%d","meter":"units","quantity":-1,"timestamp":%q}`, id, id, customer, hour))
				}
			}
			ok = p.insist("[" + strings.Join(body, ",") + "]")
			time.Sleep(20 * time.Millisecond) // usage goes on through all kills
		}
		posted <- false
	}()
	watched := make(chan struct{})
	go func() { // somebody looks all the time, also while it is started
		defer close(watched)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if out, err := p.run("feed", "status"); err != nil && !strings.Contains(out, "cut off") && !strings.Contains(out, "ask the collector") {
				t.Errorf("feed status: %v: %s", err, out)
			}
		}
	}()
	random := rand.New(rand.NewPCG(8, 8))
	for kill := range 8 {
		broker.away.Store(kill%4 == 2)
		time.Sleep(time.Duration(300+random.IntN(1700)) * time.Millisecond) // the moment is the test's matter
		p.kill()
		p.start()
	}
	close(stop)
	<-watched
	if !<-posted {
		t.Fatal("usage was never acknowledged")
	}
	broker.away.Store(false)
	broker.calm.Store(true)
	var want, got bill
	var twice int
	eventually(t, "the topic has what the ledger has", func() bool {
		if !p.quiet() {
			return false
		}
		want = p.rollups()
		got, twice = billed(t, c)
		return len(want) > 0 && equal(got, want)
	}, &got, &want)
	broker.mu.Lock()
	defer broker.mu.Unlock()
	if broker.refused == 0 || broker.unanswered == 0 {
		t.Error("the broker is too tame")
	}
	t.Logf("%d customers' hours, %d messages there twice, %d requests refused, %d not answered", len(want), twice, broker.refused, broker.unanswered)
	if out, err := p.run("feed", "reconcile", "--receiver", "kafka"); err != nil || !strings.Contains(out, " 0 differ") {
		t.Errorf("feed reconcile: %v\n%s", err, out)
	}
}

func equal(a, b bill) bool {
	for key := range a {
		if b[key] == nil && a[key].Sign() != 0 {
			return false
		}
	}
	for key, n := range b {
		if a[key] == nil && n.Sign() != 0 || a[key] != nil && a[key].Cmp(n) != 0 {
			return false
		}
	}
	return true
}
