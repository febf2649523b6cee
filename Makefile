# The tasks of this repository; `make` alone lists them.

VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
FUZZTIME ?= 1m
# For a package: twice as long as Go allows, because machines are shared.
TIMEOUT  := -timeout 20m

# The linter and the scanner are built from their modules at these versions, so
# that every machine and every run judges alike.
GOLANGCI    := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0
VULNDB      ?= https://vuln.go.dev

# Static, and the same from any directory, with or without git: all that a binary
# depends on is the source, VERSION, the platform and the version of Go.
GOBUILD := CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$(VERSION)"

.DEFAULT_GOAL := help
.PHONY: help build test test-security race lint fuzz vuln sbom reproducible bench demo image
MAKEFLAGS += --no-print-directory

help: ## list these tasks
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/jethook, static, with its version inside
	@$(GOBUILD) -o bin/jethook ./cmd/jethook

test: ## run all tests, the end-to-end ones included (some six minutes)
	@go test $(TIMEOUT) ./...

# Only the tests of the files that are left out of make test, and the one that
# looks for secrets in all that comes out. Never from go test's cache, which sees
# nothing of the program that the end-to-end tests build.
test-security: ## run the heavy tests against hostile receivers, users and secrets that leak
	@grep -rlq --include='*_test.go' '^//go:build security' cmd config pkg streams test || { echo "no tests are tagged security" >&2; exit 1; }
	@{ grep -rl --include='*_test.go' '^//go:build security' cmd config pkg streams test; echo test/e2e/canary_test.go; } | sort | \
	awk '{dir = $$0; sub("/[^/]*$$", "", dir); files[dir] = files[dir] " " $$0} END {for (dir in files) print dir files[dir]}' | sort | \
	while read -r dir files; do \
	  tests=$$(grep -ohE '^func Test[A-Za-z0-9_]+' $$files | cut -c 6- | paste -sd '|' -); \
	  go test $(TIMEOUT) -count 1 -tags security -run "^($$tests)$$" "./$$dir" || exit 1; \
	done

# The race detector needs cgo, and so a C compiler.
race: ## run the tests of every package with goroutines under the race detector
	@CGO_ENABLED=1 go test $(TIMEOUT) -race ./cmd/... ./config/... ./pkg/... ./streams/...

lint: ## vet, formats and golangci-lint (the first run builds it: minutes)
	@go vet -tags security,conformance ./...
	@go run $(GOLANGCI) run --build-tags security,conformance

# A target is fuzzed alone, because go test takes one at a time. On a busy machine
# the end of the fuzzing time itself is now and then reported as a failure, by
# these words and without an input that fails: that alone is tried again. Inputs are
# made small in a few tries: otherwise all the time goes into the first large one.
fuzz: ## fuzz every target for FUZZTIME each (default 1m)
	@targets=$$(grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' cmd config pkg streams | sort); \
	if [ -z "$$targets" ]; then echo "no fuzz targets found" >&2; exit 1; fi; \
	echo "$$targets" | while IFS=: read -r file target; do \
	  target=$${target#func }; \
	  echo "$$target in $${file%/*}, $(FUZZTIME)"; \
	  for try in 1 2 3 4 5; do \
	    log=$$(go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x "./$${file%/*}" 2>&1 </dev/null) && break; \
	    case "$$try $$log" in \
	      5*|*"Failing input"*) echo "$$log"; exit 1;; \
	      *"context deadline exceeded"*) ;; \
	      *) echo "$$log"; exit 1;; \
	    esac; \
	  done; \
	done

# A database that cannot be reached is no reason to stop, and no reason to say that
# all is well. Anything else that goes wrong is a failure.
vuln: ## look for known vulnerabilities in what the program calls
	@GOBIN=$(CURDIR)/bin go install $(GOVULNCHECK)
	@out=$$(bin/govulncheck -db $(VULNDB) ./... 2>&1); code=$$?; \
	if [ $$code -ne 0 ] && [ $$code -ne 3 ] && \
	  why=$$(echo "$$out" | grep -E 'fetching vulnerabilities: (Get "|HTTP GET .* status: (403|407|429|5)|.*(unexpected EOF|Client\.Timeout|connection reset))'); then \
	  echo "NOT CHECKED for vulnerabilities: the database cannot be reached ($$why)"; exit 0; \
	fi; \
	echo "$$out"; exit $$code

sbom: build ## write the bill of materials of bin/jethook (CycloneDX) to bin/sbom.json
	@go run .ci/sbom.go $(VERSION) bin/jethook >bin/sbom.json

reproducible: build ## build again elsewhere, with nothing cached, and compare (two minutes)
	@elsewhere=$$(mktemp -d); trap 'rm -rf "$$elsewhere"' EXIT; \
	mkdir "$$elsewhere/source"; cp -R go.mod go.sum cmd config pkg streams "$$elsewhere/source"; \
	(cd "$$elsewhere/source" && GOCACHE="$$elsewhere/cache" $(GOBUILD) -o "$$elsewhere/jethook" ./cmd/jethook) || exit 1; \
	sha256sum bin/jethook "$$elsewhere/jethook"; \
	cmp bin/jethook "$$elsewhere/jethook" || { echo "the two differ: the build depends on where it is made" >&2; exit 1; }

bench: ## measure this machine, and prove isolation, into bin/bench.json (20 minutes)
	@mkdir -p bin
	@go run ./test/bench

demo: build ## see the main job happen
	@bin/jethook demo

image: ## build the container image jethook:latest
	@docker build --build-arg VERSION=$(VERSION) --tag jethook:$(VERSION) --tag jethook:latest .
