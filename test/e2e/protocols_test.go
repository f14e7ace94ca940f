package e2e

import (
	"bytes"
	"compress/gzip"
	"context"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// Clients change their exporter, and gateways speak other protocols than their clients: a span is the same span on each way.
func TestASpanThatComesOverEveryProtocolCountsOnce(t *testing.T) {
	all, expect := recordings(t)
	c := newCollector(t, "2s")
	conn, err := grpc.NewClient(c.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := ptraceotlp.NewGRPCClient(conn)
	for i, capture := range all {
		for j, q := range whole(capture) {
			e := decode(t, q)
			proto, err := e.MarshalProto()
			if err != nil {
				t.Fatal(err)
			}
			text, err := e.MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			var zipped bytes.Buffer
			z := gzip.NewWriter(&zipped)
			if _, err := z.Write(proto); err != nil {
				t.Fatal(err)
			}
			if err := z.Close(); err != nil {
				t.Fatal(err)
			}
			ways := []func(){
				func() {
					ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
					defer cancel()
					if _, err := client.Export(ctx, e, grpc.WaitForReady(true)); err != nil {
						t.Errorf("gRPC: %v", err)
					}
				},
				func() { c.insist(c.http, "/v1/traces", "application/x-protobuf", "", proto) },
				func() { c.insist(c.http, "/v1/traces", "application/json", "", text) },
				func() { c.insist(c.http, "/v1/traces", "application/x-protobuf", "gzip", zipped.Bytes()) },
			}
			for k := range ways {
				ways[(i+j+k)%len(ways)]() // each is the first for some
			}
		}
	}
	c.database().exact(expect)
}

// An operator's stop at the worst moment: everything is acknowledged, no trace has settled.
func TestAStopRightAfterTheAnswersLosesNothing(t *testing.T) {
	all, expect := recordings(t)
	c := newCollector(t, "1h")
	for _, capture := range all {
		for _, q := range whole(capture) {
			c.insist(c.http, "/v1/traces", q.contentType, q.encoding, q.body)
		}
	}
	c.stop()
	c.start()
	c.stop()
	c.start()
	c.database().exact(expect)
}
