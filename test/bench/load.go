package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
)

// body is a request that is sent again and again, each time with other ids in it.
type body interface {
	// next gives the ids of request number n, unique in the run, to the bytes that it returns.
	next(n uint64) []byte
}

// target is where requests go, and what they hold.
type target struct {
	url, contentType string
	units            int // spans or events in a request
	newBody          func() body
}

// send keeps conns connections busy for as long as said; each sends its next request when the last one was answered. It counts what was
// acknowledged: an answer that is not a success is an error.
func send(t target, conns int, load time.Duration) (requests int, elapsed time.Duration, err error) {
	begin := time.Now()
	return sendWhile(t, conns, func(int) bool { return time.Since(begin) < load })
}

// sendWhile does so as long as a connection that has sent n requests is to send another one.
func sendWhile(t target, conns int, more func(n int) bool) (requests int, elapsed time.Duration, err error) {
	transport := &http.Transport{MaxIdleConnsPerHost: conns, MaxConnsPerHost: conns, DisableCompression: true, WriteBufferSize: 64 << 10}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: time.Minute}
	bodies := make([]body, conns)
	for i := range bodies {
		bodies[i] = t.newBody()
	}
	counts := make([]int, conns)
	g, ctx := errgroup.WithContext(context.Background())
	begin := time.Now()
	for c := range conns {
		g.Go(func() error {
			for n := uint64(0); more(int(n)); n++ {
				if err := post(ctx, client, t, bodies[c].next(n*uint64(conns)+uint64(c))); err != nil {
					return err
				}
				counts[c]++
			}
			return nil
		})
	}
	err = g.Wait()
	elapsed = time.Since(begin)
	for _, n := range counts {
		requests += n
	}
	return requests, elapsed, err
}

func post(ctx context.Context, client *http.Client, t target, data []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url, bytes.NewReader(data))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", t.contentType)
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	answer, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 || resp.StatusCode == http.StatusMultiStatus {
		return fmt.Errorf("answered with %s: %.500s", resp.Status, answer)
	}
	return nil
}

// mix is a bijection of numbers that leaves no pattern (splitmix64's finalizer).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
