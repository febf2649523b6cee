# The tasks of this repository; `make` alone lists them.

VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
FUZZTIME ?= 1m

# The linter is built from its module at this version, so that every machine
# and every run judges alike.
GOLANGCI := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

.DEFAULT_GOAL := help
.PHONY: help build test race lint fuzz bench demo image
MAKEFLAGS += --no-print-directory

help: ## list these tasks
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/jethook, static, with its version inside
	@CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o bin/jethook ./cmd/jethook

test: ## run all tests, the end-to-end ones included (under four minutes)
	@go test ./...

# The race detector needs cgo, and so a C compiler.
race: ## run the tests of every package with goroutines under the race detector
	@CGO_ENABLED=1 go test -race ./cmd/... ./config/... ./pkg/... ./streams/...

lint: ## vet, formats and golangci-lint (the first run builds it: minutes)
	@go vet ./...
	@go run $(GOLANGCI) run

# A target is fuzzed alone, because go test takes one at a time. On a busy machine
# the end of the fuzzing time itself is now and then reported as a failure, by
# these words and without an input that fails: that alone is tried again.
fuzz: ## fuzz every target for FUZZTIME each (default 1m)
	@targets=$$(grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' cmd config pkg streams | sort); \
	if [ -z "$$targets" ]; then echo "no fuzz targets found" >&2; exit 1; fi; \
	echo "$$targets" | while IFS=: read -r file target; do \
	  target=$${target#func }; \
	  echo "$$target in $${file%/*}, $(FUZZTIME)"; \
	  for try in 1 2 3; do \
	    log=$$(go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "./$${file%/*}" 2>&1 </dev/null) && break; \
	    case "$$try $$log" in \
	      3*|*"Failing input"*) echo "$$log"; exit 1;; \
	      *"context deadline exceeded"*) ;; \
	      *) echo "$$log"; exit 1;; \
	    esac; \
	  done; \
	done

bench: ## measure this machine, and prove isolation, into bin/bench.json (20 minutes)
	@mkdir -p bin
	@go run ./test/bench

demo: build ## see the main job happen
	@bin/jethook demo

image: ## build the container image jethook:latest
	@docker build --build-arg VERSION=$(VERSION) --tag jethook:$(VERSION) --tag jethook:latest .
