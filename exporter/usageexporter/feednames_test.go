package usageexporter

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"

	"github.com/usagebox/otelcol-usagebox/internal/feed"
)

func TestAReceiversNameIsAFolderOfItsOwn(t *testing.T) {
	for _, text := range []string{
		"webhook/..", "webhook/../../events", "webhook/a/b", "webhook/.hidden", `webhook/a\b`,
	} {
		_, err := feedOf(t, `{receivers: {'`+text+`': {endpoint: "http://a"}}}`)
		require.ErrorContains(t, err, "no name of a folder", text)
	}
	_, err := feedOf(t, `{receivers: {file/A: {}, file/a: {}}}`)
	require.ErrorContains(t, err, "one folder where file systems don't tell A from a")
	_, err = feedOf(t, `{receivers: {file/erp-2.prod_EU: {}}}`)
	require.NoError(t, err)
}

func TestKeysThatNobodyReadsAreRefusedAtAnyDepth(t *testing.T) {
	for _, text := range []string{
		"{receivers: {file: {meters: [{meter: a, pre: 1000}]}}}",
		"{receivers: {file: {retry: {initial: 1s}}}}",
		"{receivers: {file: {customers: {files: x}}}}",
		"{receivers: {stripe: {api_key: a, meters: [{meter: a, naem: b}]}}}",
		"{receivers: {stripe: {api_key: a, meters: [{meter: a}], error_reports: {secert: b}}}}",
		"{receivers: {kafka: {brokers: [a], topic: b, auth: {sasl: {user: c}}}}}",
	} {
		_, err := feedOf(t, text)
		require.ErrorContains(t, err, "invalid keys", text)
	}
}

// A redirection is no delivery: what is posted would come to the new address as a GET, without its body.
func TestARedirectionIsNoDelivery(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer elsewhere.Close()
	server := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusMovedPermanently))
	defer server.Close()
	cfg, err := feedOf(t, `{receivers: {webhook: {endpoint: "`+server.URL+`", headers: {X-Key: hush}}}}`)
	require.NoError(t, err)
	b := &billingFeed{config: cfg, set: componenttest.NewNopTelemetrySettings()}
	r, err := b.receiver(t.Context(), componenttest.NewNopHost(), cfg.Feed.Receivers["webhook"])
	require.NoError(t, err)
	o := r.Send(t.Context(), []*feed.Record{{ID: "a"}})[0]
	require.Equal(t, feed.NotTaken, o.Fate)
	require.True(t, o.All)
}

func TestAnAnswerThatRepeatsAHeaderShowsItToNobody(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, string(make([]byte, 290))+"key "+r.Header.Get("X-Key"), http.StatusBadRequest)
	}))
	defer server.Close()
	cfg, err := feedOf(t, `{receivers: {webhook: {endpoint: "`+server.URL+`", headers: {X-Key: hush-hush-hush}}}}`)
	require.NoError(t, err)
	b := &billingFeed{config: cfg, set: componenttest.NewNopTelemetrySettings()}
	r, err := b.receiver(t.Context(), componenttest.NewNopHost(), cfg.Feed.Receivers["webhook"])
	require.NoError(t, err)
	o := r.Send(t.Context(), []*feed.Record{{ID: "a"}})[0]
	require.Equal(t, feed.Refused, o.Fate)
	require.NotContains(t, o.Err.Error(), "hush")
}
