# Holdfast. `make` lists the targets.
GO        ?= go
HTTP      ?= 127.0.0.1:8080
DATA      ?= .holdfast-dev
READINGS  ?= 1000000
FUZZTIME  ?= 60s
BIN       := bin/holdfast
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.7.0

.DEFAULT_GOAL := help
.PHONY: help build run test race short check ci bench fuzz faults soak cover clean need-go

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /|/' | awk -F'|' '{printf "  %-8s %s\n", $$1, $$2}'

need-go:
	@command -v $(GO) >/dev/null || { echo "Go 1.26 or newer is needed: https://go.dev/dl/"; exit 1; }

build: need-go ## build bin/holdfast, one static binary
	CGO_ENABLED=0 $(GO) build -trimpath -o $(BIN) ./cmd/holdfast

run: build ## a sandbox on HTTP=127.0.0.1:8080 that pushes a million readings and keeps serving
	$(BIN) dev --data $(DATA) --http $(HTTP) --push $(READINGS)

test: need-go ## all tests, as a user of the checkout would run them
	CGO_ENABLED=0 $(GO) test -timeout 20m ./...

short: need-go ## the quick tests
	CGO_ENABLED=0 $(GO) test -short ./...

race: need-go ## all quick tests under the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race -short -timeout 30m ./...

check: need-go ## formatting, vet, staticcheck, go.mod
	@test -z "$$(gofmt -l .)" || { echo "gofmt:"; gofmt -l .; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	$(GO) mod tidy -diff

ci: ## what .ci/run runs: tests first, then checks, races, short faults and fuzzing
	@.ci/steps

bench: build ## measure this machine: both workloads, grouped, five runs each
	$(BIN) bench ingest --workload iot --runs 5
	$(BIN) bench ingest --workload tx --runs 5

fuzz: need-go ## every fuzz target for FUZZTIME=60s
	@.ci/fuzz $(FUZZTIME)

faults: need-go ## 50 kills, 20 power cuts, 40 bit flips, a full disk, the marker scan
	CGO_ENABLED=0 $(GO) test -count=1 -timeout 90m -v ./cmd/internal/faults -rounds.kill=50 -rounds.power=20 -rounds.flip=40

cover: need-go ## test coverage by package
	CGO_ENABLED=0 $(GO) test -short -cover ./...

clean: ## remove what was built and the sandbox's data
	rm -rf bin $(DATA)
