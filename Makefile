# make run   builds the collector and starts it with the embedded configuration
# make test  everything that CI checks, but currency of generated files, format and lint (make check)

SHELL := /bin/bash -o pipefail
GO ?= go
BIN := $(CURDIR)/.tools/bin
OUT := $(CURDIR)/build
BINARY := $(OUT)/otelcol-usagebox
COMPONENTS := receiver/usagereceiver processor/attributionprocessor processor/dedupeprocessor processor/pricingprocessor \
	connector/spanusageconnector exporter/usageexporter
# Packages that are tested with the race detector; the program's own has little to race and much to compile. The feed's simulation has most of its seeds without.
RACED := ./usage/... ./internal/... ./receiver/... ./processor/... ./connector/... ./exporter/...
PLAIN := ./cmd/... ./test/... ./examples/... ./internal/feed
# Modules of their own, because they need cgo or other dependencies.
MODULES := $(patsubst %/go.mod,%,$(wildcard test/*/go.mod))
GOFILES = $(shell git ls-files '*.go')
FUZZTIME ?= 30s
CASES ?= 10000000
SEEDS ?= 20000

.PHONY: help
help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

.PHONY: run
run: build ## Build and start with the embedded configuration
	$(BINARY)

.PHONY: build
build: ## Build build/otelcol-usagebox
	@mkdir -p $(OUT)
	@echo "building (the first time takes some minutes)"
	$(GO) build -ldflags="-s -w" -o $(BINARY) ./cmd/otelcol-usagebox

TOOL_gotestsum := gotest.tools/gotestsum
TOOL_gofumpt := mvdan.cc/gofumpt
TOOL_golangci-lint := github.com/golangci/golangci-lint/v2/cmd/golangci-lint
TOOL_mdatagen := go.opentelemetry.io/collector/cmd/mdatagen
TOOL_builder := go.opentelemetry.io/collector/cmd/builder
$(BIN)/%: internal/tools/go.mod
	@mkdir -p $(BIN)
	$(GO) build -modfile=internal/tools/go.mod -o $@ $(TOOL_$*)

.PHONY: test
test: $(BIN)/gotestsum build ## Run all tests
	@GOTESTSUM=$(BIN)/gotestsum UBX_BINARY=$(BINARY) .ci/test "$(RACED)" "$(PLAIN)" "$(MODULES)"

.PHONY: check
check: check-generated check-format lint ## Generated files are current, format and lint are clean

.PHONY: generate
generate: $(BIN)/mdatagen $(BIN)/builder $(BIN)/gofumpt ## Write generated files
	@failed=0; for c in $(COMPONENTS); do (cd $$c && $(BIN)/mdatagen metadata.yaml) || failed=1; done; \
		find $(COMPONENTS) -name 'generated_*.go' -exec $(BIN)/gofumpt -w {} + && exit $$failed
	@rm -rf $(OUT)/ocb && mkdir -p $(OUT)/ocb
	@sed 's|output_path:.*|output_path: $(OUT)/ocb|' builder-config.yaml > $(OUT)/builder-config.yaml
	@$(BIN)/builder --config $(OUT)/builder-config.yaml --skip-get-modules --skip-compilation > $(OUT)/ocb.log 2>&1 || { cat $(OUT)/ocb.log; exit 1; }
	@cp $(OUT)/ocb/components.go cmd/otelcol-usagebox/components.go
	@$(BIN)/gofumpt -w cmd/otelcol-usagebox/components.go

.PHONY: check-generated
check-generated: generate
	@for m in . $(MODULES); do (cd $$m && $(GO) mod tidy -diff) || { echo "$$m/go.mod is not tidy"; exit 1; }; done
	@git diff --exit-code --stat -- $(COMPONENTS) cmd go.mod go.sum || { echo "generated files are not current: run make generate and commit"; exit 1; }
	@test -z "$$(git ls-files --others --exclude-standard -- $(COMPONENTS) cmd)" || { git ls-files --others --exclude-standard -- $(COMPONENTS) cmd; echo "generated files are not committed"; exit 1; }

.PHONY: check-format
check-format: $(BIN)/gofumpt
	@unformatted=$$($(BIN)/gofumpt -l $(GOFILES)) && test -z "$$unformatted" || { echo "$$unformatted"; echo "run make fmt"; exit 1; }

.PHONY: fmt
fmt: $(BIN)/gofumpt ## Format
	@$(BIN)/gofumpt -w $(GOFILES)

.PHONY: lint
lint: $(BIN)/golangci-lint ## Lint
	@$(BIN)/golangci-lint run --timeout 20m --allow-parallel-runners ./...

.PHONY: bench
bench: build ## Measure, as ratios to a baseline in the same run
	UBX_BINARY=$(BINARY) $(GO) run ./test/bench
	$(GO) test -run '^$$' -bench 'Price|Hour|ConsumeLogs|AgentRuns' -benchmem ./internal/catalog ./internal/feed ./processor/dedupeprocessor ./processor/attributionprocessor

.PHONY: fuzz
fuzz: ## Fuzz every target for FUZZTIME, and decide CASES generated traces
	@for p in $$($(GO) list ./usage/... ./internal/... ./receiver/... ./processor/...); do \
		for f in $$($(GO) test -list '^Fuzz' $$p | grep '^Fuzz'); do echo "$$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$p || exit 1; done; \
	done
	ATTRIBUTION_CASES=$(CASES) $(GO) test -run Generated -timeout 0 ./internal/attribution

.PHONY: sim
sim: ## Simulate the ledger and the billing feed with SEEDS seeds each
	$(GO) test ./internal/ledger -run Simulation -timeout 0 -sim.seeds=$(SEEDS)
	$(GO) test ./internal/feed -run Simulation -timeout 0 -sim.seeds=$(SEEDS)

.PHONY: clean
clean: ## Remove what was built
	rm -rf build .tools
