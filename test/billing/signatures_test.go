package billing

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stripe/stripe-go/v85/webhook"

	"github.com/usagebox/otelcol-usagebox/internal/feed/biller"
)

// The vectors are those of the libraries' own tests.
func TestOurSignatureIsThatOfStandardWebhooks(t *testing.T) {
	for _, c := range []struct {
		secret, id string
		seconds    int64
		body, want string // want is empty where the libraries publish none
	}{
		{webhookSecret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, `{"test": 2432232314}`, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="},
		{webhookSecret, "ubx_00", 1795521600, `[{"id":"日本"}]`, ""},
		{"whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==", "ubx_01", 1, ``, ""},
	} {
		theirs, err := standardwebhooks.NewWebhook(c.secret)
		if err != nil {
			t.Fatal(err)
		}
		key, err := biller.SecretKey(c.secret)
		if err != nil {
			t.Fatal(err)
		}
		at := time.Unix(c.seconds, 0)
		want, err := theirs.Sign(c.id, at, []byte(c.body))
		if err != nil {
			t.Fatal(err)
		}
		if c.want != "" && want != c.want {
			t.Fatalf("the library signs %s, its vector is %s", want, c.want)
		}
		if got := biller.Sign(key, c.id, at, []byte(c.body)); got != want {
			t.Errorf("%s, the library signs %s", got, want)
		}
	}
}

func TestTheLibraryVerifiesWhatTheWebhookSends(t *testing.T) {
	theirs, err := standardwebhooks.NewWebhook(webhookSecret)
	if err != nil {
		t.Fatal(err)
	}
	other, err := standardwebhooks.NewWebhook("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	if err != nil {
		t.Fatal(err)
	}
	for _, batch := range []int{1, 3} {
		w := listen(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		receiver := webhookReceiver(t, w.url, batch)
		receiver.Clock = time.Now // the library takes no other
		deliver(t, receiver, records())
		for _, r := range w.all() {
			if err := theirs.Verify(r.body, r.header); err != nil {
				t.Errorf("batch %d: %v", batch, err)
			}
			if err := theirs.Verify(append(r.body, ' '), r.header); err == nil {
				t.Errorf("batch %d: another body has the same signature", batch)
			}
			if err := other.Verify(r.body, r.header); err == nil {
				t.Errorf("batch %d: another secret has the same signature", batch)
			}
		}
	}
}

// Stripe's SDK and we take the same signatures.
func TestWeVerifyStripesSignaturesAsItsSDKDoes(t *testing.T) {
	const secret = "whsec_test"
	at := time.Now() // the SDK takes no other
	body := []byte(`{"object":"event","id":"evt_1"}`)
	signed := func(secret, scheme string, at time.Time) string {
		return webhook.GenerateTestSignedPayload(&webhook.UnsignedPayload{Payload: body, Secret: secret, Timestamp: at, Scheme: scheme}).Header
	}
	good := signed(secret, "v1", at)
	seconds := "t=" + strconv.FormatInt(at.Unix(), 10)
	for _, c := range []struct {
		name, header string
		body         []byte
		taken        bool
	}{
		{"right", good, body, true},
		{"another body", good, []byte(`{"object":"event","id":"evt_2"}`), false},
		{"another secret", signed("whsec_other", "v1", at), body, false},
		{"another scheme", signed(secret, "v0", at), body, false},
		{"a secret that is being rolled: two signatures", seconds + ",v1=" + rest(signed("whsec_old", "v1", at)) + ",v1=" + rest(good), body, true},
		{"with a scheme to come", good + ",v2=abc", body, true},
		{"an hour old", signed(secret, "v1", at.Add(-time.Hour)), body, false},
		{"a minute old", signed(secret, "v1", at.Add(-time.Minute)), body, true},
		{"another time", "t=" + strconv.FormatInt(at.Add(-time.Minute).Unix(), 10) + ",v1=" + rest(good), body, false},
		{"not hexadecimal", seconds + ",v1=zz", body, false},
		{"without time", "v1=" + rest(good), body, false},
		{"without signature", seconds, body, false},
		{"empty", "", body, false},
	} {
		theirs, ours := webhook.ValidatePayload(c.body, c.header, secret), biller.VerifyStripe(secret, c.header, c.body, at)
		if (theirs == nil) != c.taken || (ours == nil) != c.taken {
			t.Errorf("%s: taken should be %t; the SDK says %v, we say %v", c.name, c.taken, theirs, ours)
		}
	}
}

// rest is the signature in a header of one.
func rest(header string) string { return header[len("t=0000000000,v1="):] }
