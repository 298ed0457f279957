# Cloud Session Sync. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

BUILD   := .build
BIN     := $(BUILD)/bin
LINT    := $(BIN)/golangci-lint
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
PYTHON  := $(BUILD)/python
BAILEYS := infra/interop/baileys/node_modules/.package-lock.json
# Programs, tests and linters are compiled alike, so that everything they have in
# common, SQLite and whatsmeow above all, is compiled once; without tables for a
# debugger, which take an eighth of that time. The race detector needs cgo.
export CGO_ENABLED := 0
export GOFLAGS := $(strip $(GOFLAGS) -trimpath -gcflags=all=-dwarf=false)
# For what only compiles or lints: collecting garbage less often takes a quarter more
# memory and a third less time.
COMPILING := GOGC=400
LAMBDAS := list-sessions session-status sync-session restore-session delete-session command-status watch-connectors
# The race detector needs a C compiler; where there is none the same tests run
# without it, and say so. It runs where goroutines meet; pure formats go without,
# and so do tests with whatsmeow in their process, whose own races would fail them
# at random. Instead two of the tests with real processes, where most happens at
# once, run a connector built with the detector: chaos, and the end-to-end tests of
# the rules of ownership. SQLite, translated from C, keeps its data outside of Go's
# heap, where there is nothing to detect, and would take twelve times as long.
RACE_FLAGS := -race $(patsubst %,-gcflags=%=-race=false,modernc.org/sqlite/lib modernc.org/libc/... modernc.org/memory)
RACE_ENV = $(if $(HAVE_CC),CLOUDSESSION_RACE='$(RACE_FLAGS)')
HAVE_CC := $(shell command -v "$$(go env CC)" >/dev/null 2>&1 && echo yes)
RACE := ./connector/capture ./connector/control ./connector/inbox ./connector/manager ./connector/ownership \
        ./connector/replicate ./functions/api/... \
        ./infra/local/faultproxy ./infra/local/gateway ./infra/local/lambdaemu ./infra/local/sqsemu ./shared/cloudstore ./shared/command

##@ Use

.PHONY: help
help: ## show this list
	@awk 'BEGIN {FS = ":.*##"} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*##/ {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: build ## the whole system on this machine, API on :3000 (PORT=…), data in ./data
	@exec $(BIN)/run

.PHONY: demo
demo: build ## pair, talk, crash, restore, talk on: against the simulated WhatsApp service
	@exec $(BIN)/demo

.PHONY: invoke
invoke: build ## run one Lambda binary once: FN=list-sessions EVENT=infra/events/list.json
	@exec $(BIN)/invoke $(FN) $(EVENT)

##@ Build

.PHONY: build
build: tidb connector lambdas ## everything `make run` and `make demo` start
	@go build -o $(BIN)/run ./infra/local/cmd/run
	@go build -o $(BIN)/demo ./infra/local/cmd/demo
	@go build -o $(BIN)/invoke ./infra/local/cmd/invoke

.PHONY: connector
connector: ## the connector program
	@CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o $(BIN)/connector ./connector

.PHONY: tidb
tidb: ## the real TiDB engine in one process (the first build takes some minutes)
	@$(COMPILING) go run ./infra/local/cmd/tidbbuild

.PHONY: lambdas
lambdas: ## the Lambda bootstraps, for this machine's architecture
	@for fn in $(LAMBDAS); do \
	  CGO_ENABLED=0 go build -tags lambda.norpc -trimpath -ldflags "-s -w" -o $(BUILD)/lambda/$$fn/bootstrap ./functions/$$fn; \
	done

# SAM calls these (template.yaml: Metadata.BuildMethod: makefile).
SAM_BUILDS := $(addprefix build-,ListSessions SessionStatus SyncSession RestoreSession DeleteSession CommandStatus WatchConnectors)
.PHONY: $(SAM_BUILDS)
build-ListSessions:    FN = list-sessions
build-SessionStatus:   FN = session-status
build-SyncSession:     FN = sync-session
build-RestoreSession:  FN = restore-session
build-DeleteSession:   FN = delete-session
build-CommandStatus:   FN = command-status
build-WatchConnectors: FN = watch-connectors
$(SAM_BUILDS): build-%:
	CGO_ENABLED=0 GOOS=linux GOARCH=arm64 go build -tags lambda.norpc -trimpath -ldflags "-s -w" -o $(ARTIFACTS_DIR)/bootstrap ./functions/$(FN)
	chmod 0755 $(ARTIFACTS_DIR)/bootstrap # Lambda runs it as another user, whatever the umask is here

##@ Package

# Pinned in infra/packaging; the same commit gives the same bytes.
NFPM := $(BIN)/nfpm
PACKAGE_VERSION ?= $(shell infra/packaging/version.sh)
PACKAGES := $(BUILD)/package
.PHONY: package
package: $(NFPM) ## .deb and .rpm of the connector, amd64 and arm64, in .build/package
	@mkdir -p $(PACKAGES)
	@rm -f $(PACKAGES)/*.deb $(PACKAGES)/*.rpm # of other versions: what is copied from here is this one
	@go run ./infra/licences copyright $(PACKAGES)/copyright
	@version='$(PACKAGE_VERSION)'; SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct); export SOURCE_DATE_EPOCH; \
	for arch in amd64 arm64; do \
	  CGO_ENABLED=0 GOOS=linux GOARCH=$$arch go build -trimpath -ldflags "-s -w -X main.version=$$version" -o $(PACKAGES)/$$arch/connector ./connector; \
	  for kind in deb rpm; do \
	    CONNECTOR=$(PACKAGES)/$$arch/connector COPYRIGHT=$(PACKAGES)/copyright ARCH=$$arch VERSION=$$version $(NFPM) package -f infra/packaging/nfpm.yaml -p $$kind -t $(PACKAGES)/; \
	  done; \
	done

$(NFPM): infra/packaging/go.mod
	@mkdir -p $(BIN)
	cd infra/packaging && go build -o ../../$(NFPM) github.com/goreleaser/nfpm/v2/cmd/nfpm

##@ Check

# Side by side, so that neither the network nor a linker keeps the machine waiting: the
# linters and the engine are built while vet looks at the code, and what needs the engine
# begins as soon as it is there. The end-to-end tests, which mostly wait for leases to run
# out, are in four parts, each with a system of its own; the letters are those that the
# tests' names begin with. The longest come first.
TESTS := test-e2e-NO $(if $(HAVE_CC),test-race) test-chaos test-rest test-e2e-PZ test-e2e-EM test-e2e-AD test-programs
.PHONY: test
test: ## format, vet, lint, unit and end-to-end tests, race detector where it pays
	@$(if $(HAVE_CC),,echo "no C compiler: the tests run without the race detector")
	@$(MAKE) --no-print-directory -j3 lint vet $(TESTS) vet-modules

.PHONY: vet vet-modules $(TESTS)
vet:
	$(COMPILING) go vet ./...
vet-modules: tidb
	$(COMPILING) go run ./infra/local/cmd/tidbbuild -check
	cd infra/grafana && go vet ./... && go test ./...

GO_TEST := go test -vet=off -timeout 25m # vet looks at all of it, once
$(TESTS): tidb
test-race:
	CGO_ENABLED=1 $(GO_TEST) $(RACE_FLAGS) $(RACE)
# The race detector leaves only a sample of these (race_test.go), half a minute whole.
WHOLE := -run 'TestFaultMatrix|TestCrashMatrix|TestRandomRuns/memory' ./connector/replicate
test-rest:
	$(if $(HAVE_CC),$(GO_TEST) $(WHOLE))
	$(GO_TEST) $$(go list ./... | grep -vxF "$(if $(HAVE_CC),$$(go list $(RACE)))" | grep -vE '/infra/local/(e2e|chaos|cmd/.*)$$')
test-chaos:
	$(RACE_ENV) $(GO_TEST) ./infra/local/chaos
test-e2e-AD:
	$(GO_TEST) -run '^Test[A-D]' ./infra/local/e2e
test-e2e-EM:
	$(GO_TEST) -run '^Test[E-M]' ./infra/local/e2e
test-e2e-NO:
	$(RACE_ENV) $(GO_TEST) -run '^Test[NO]' ./infra/local/e2e
test-e2e-PZ:
	$(GO_TEST) -run '^Test[P-Z]' ./infra/local/e2e
# These start themselves as the program that starts the others, where go test doesn't see
# what they run: a result that it remembers would outlive a change of those.
test-programs:
	$(GO_TEST) -count=1 ./infra/local/cmd/...

.PHONY: interop
interop: tidb interop-tools $(BAILEYS) ## checks against programs from elsewhere; the README says what it needs
	$(WITH_PYTHON) go test -tags interop -count=1 -timeout 15m ./infra/interop/...

# What this machine's Python doesn't have is installed into an environment of its own,
# since a distribution's Python takes nothing from pip; a missing program fails.
WITH_PYTHON := PATH='$(CURDIR)/$(PYTHON)/bin':"$$PATH"
.PHONY: interop-tools
interop-tools:
	@command -v python3 >/dev/null || { echo "make interop needs python3 (Debian: apt-get install python3 python3-venv)"; exit 1; }
	@export $(WITH_PYTHON); if python3 -c 'import moto.server, samtranslator' 2>/dev/null && command -v cfn-lint >/dev/null; then exit 0; fi; \
	trap 'rm -rf $(PYTHON)' EXIT; rm -rf $(PYTHON); hash -r; \
	python3 -m venv $(PYTHON) || { echo "make interop needs Python's module venv (Debian: apt-get install python3-venv)"; exit 1; }; \
	$(PYTHON)/bin/python3 -m pip install 'moto[server,sqs]==5.2.1' cfn-lint==1.51.0; trap - EXIT

# Node's package client verifies what it installs against the lock file.
$(BAILEYS): infra/interop/baileys/package-lock.json
	@command -v npm >/dev/null || { echo "make interop needs Node.js 20 or later with npm (Debian: apt-get install nodejs npm)"; exit 1; }
	cd infra/interop/baileys && npm ci --ignore-scripts --no-audit --no-fund
	@touch $@

.PHONY: bench
bench: build ## measure what the design sets targets for; about an hour (ONLY="handoff failover1")
	@go build -ldflags '-X main.revision=$(VERSION)' -o $(BIN)/bench ./infra/local/cmd/bench
	@exec $(BIN)/bench $(ONLY)

.PHONY: chaos
chaos: build ## try to break it: DURATION=5m, SEED=…; nothing may be lost, shown twice or owned twice
	@go build -o $(BIN)/chaos ./infra/local/cmd/chaos
	@exec $(BIN)/chaos

.PHONY: lint
lint: $(LINT) ## formatters and linters, as pinned in infra/tools
	$(LINT) fmt --diff ./...
	$(COMPILING) $(LINT) run --allow-parallel-runners ./...
	cd infra/grafana && $(COMPILING) $(CURDIR)/$(LINT) run --allow-parallel-runners ./...

.PHONY: lint-tidb
lint-tidb: $(LINT) tidb ## the same for the engine's module; loading the engine's sources takes minutes
	$(COMPILING) go run ./infra/local/cmd/tidbbuild -lint $(LINT)

.PHONY: licences
licences: ## write LICENSES-THIRD-PARTY.md anew, after a change of what is linked
	go run ./infra/licences list > LICENSES-THIRD-PARTY.md.new && mv LICENSES-THIRD-PARTY.md.new LICENSES-THIRD-PARTY.md

.PHONY: fmt
fmt: $(LINT) ## format the code
	$(LINT) fmt ./...

$(LINT): infra/tools/go.mod
	@echo "building the linter (once, a few minutes)"
	@mkdir -p $(BIN)
	cd infra/tools && $(COMPILING) go build -o ../../$(LINT) github.com/golangci/golangci-lint/v2/cmd/golangci-lint

.PHONY: clean
clean: ## remove what was built (not ./data)
	rm -rf $(BUILD)
