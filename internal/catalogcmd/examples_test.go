package catalogcmd

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usagebox/otelcol-usagebox/internal/catalog"
	"github.com/usagebox/otelcol-usagebox/usage"
)

var exampleCatalog = filepath.Join("..", "..", "examples", "catalog.yaml")

func TestExampleCataloguePricesAsItsCommentsSay(t *testing.T) {
	c, err := catalog.Load(exampleCatalog)
	require.NoError(t, err)
	require.Empty(t, c.Gaps())
	for name, x := range map[string]struct {
		event       string
		cost, price string // "-" for none
	}{
		"a mark-up":               {`{"account_id":"other","provider":"openai","model":"gpt-4o","meter":"llm_tokens_in","quantity":1000000}`, "2.25", "2.7"},
		"a plan":                  {`{"account_id":"initech","provider":"openai","model":"gpt-4o","meter":"llm_tokens_in","quantity":1000000}`, "2.25", "4"},
		"a plan's reasoning":      {`{"account_id":"initech","provider":"openai","model":"gpt-4o","meter":"llm_tokens_reasoning","quantity":1000000}`, "9", "16"},
		"at cost":                 {`{"account_id":"acme-co","provider":"openai","model":"gpt-4o","meter":"llm_tokens_out","quantity":1000}`, "0.009", "0.009"},
		"built in":                {`{"account_id":"other","model":"claude-sonnet-4-5","meter":"llm_tokens_out","quantity":1000}`, "0.015", "0.018"},
		"a GPU job":               {`{"account_id":"other","meter":"gpu_seconds","quantity":3601,"dimensions":{"gpu_type":"h100","job":"fine-tuning"}}`, "1.990552777778", "4.575"},
		"a short GPU job":         {`{"account_id":"other","meter":"gpu_seconds","quantity":61,"dimensions":{"gpu_type":"l4"}}`, "0.012030555556", "0.5"},
		"a search":                {`{"account_id":"other","meter":"tool_calls","quantity":2,"step":"web_search"}`, "0.02", "0.024"},
		"an agent run":            {`{"account_id":"other","meter":"agent_runs","quantity":1}`, "0", "-"},
		"a run of one customer":   {`{"account_id":"acme-co","meter":"agent_runs","quantity":1}`, "0", "0.4"},
		"our own model":           {`{"account_id":"other","provider":"self-hosted","model":"prod-llm","meter":"llm_tokens_in","quantity":5}`, "0", "0"},
		"a model nobody heard of": {`{"account_id":"other","provider":"openai","model":"what","meter":"llm_tokens_in","quantity":5}`, "-", "-"},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := parseEvent(json.RawMessage(x.event), time.Date(2026, 5, 16, 0, 0, 0, 0, time.UTC))
			require.NoError(t, err)
			c.Price(e, nil)
			for _, b := range []struct {
				want string
				got  usage.Charge
			}{{x.cost, e.Lines[0].Cost}, {x.price, e.Lines[0].Price}} {
				if b.want == "-" {
					require.False(t, b.got.Known())
				} else {
					require.Equal(t, b.want, b.got.Amount.String())
					require.True(t, b.got.Known())
				}
			}
		})
	}
}

func TestGPUJobPostsWhatItTookAndFailsAsTheJobDoes(t *testing.T) {
	for _, tool := range []string{"sh", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("the script needs %s, which is not installed", tool)
		}
	}
	bodies := make(chan string, 4)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies <- r.URL.Path + " " + string(body)
		w.WriteHeader(http.StatusAccepted)
	}))
	defer server.Close()
	for command, want := range map[string]int{"exit 0": 0, "exit 3": 3} {
		cmd := exec.Command("sh", filepath.Join("..", "..", "examples", "gpu-job.sh"), "job-7", "sh", "-c", command)
		cmd.Env = append(os.Environ(), "URL="+server.URL, "ACCOUNT=acme-co", "GPU_TYPE=h100", "GPUS=8", "JOB=fine-tuning", "no_proxy=127.0.0.1", "NO_PROXY=127.0.0.1")
		out, _ := cmd.CombinedOutput()
		require.Equal(t, want, cmd.ProcessState.ExitCode(), string(out))
		path, body, _ := strings.Cut(<-bodies, " ")
		require.Equal(t, "/v1/events", path)
		e, err := parseEvent(json.RawMessage(body), time.Time{})
		require.NoError(t, err, body)
		require.Equal(t, "gpu-job-7", e.ID)
		require.Equal(t, "gpu_seconds", e.Lines[0].Meter)
		require.Zero(t, e.Lines[0].Quantity%usage.Units(8))
	}
}

var yamlBlock = regexp.MustCompile("(?s)( *)```yaml\n(.*?)```")

func TestEveryCatalogueOfTheDocumentationIsOne(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "pricing.md"))
	require.NoError(t, err)
	found := 0
	for _, m := range yamlBlock.FindAllStringSubmatch(string(text), -1) {
		block := strings.TrimPrefix(strings.ReplaceAll("\n"+m[2], "\n"+m[1], "\n"), "\n")
		switch {
		case strings.HasPrefix(block, "processors:"):
			continue
		case !strings.HasPrefix(block, "catalog:"):
			block = "catalog: 1\nrates:\n" + block
		}
		_, err := catalog.Parse("pricing.md", []byte(block))
		require.NoError(t, err, block)
		found++
	}
	require.Equal(t, 4, found)
}
