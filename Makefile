# Each target is one line; the work is in build/*.sh.
# FLAVOUR=debug links libzookeeper as built with --enable-debug, and
# FLAVOUR=system the distribution's libraries.
export FLAVOUR ?= release

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' Makefile

deps: ## installs what is missing from Debian's or Ubuntu's packages
	@build/deps.sh

native: deps ## builds jemalloc and libzookeeper into .native/, once
	@build/native.sh --flavour $(FLAVOUR)

build: native ## builds dist/magellan
	@build/build.sh

run: build ## starts a ZooKeeper, imports sample data, serves; Ctrl-C ends all of it
	@exec build/run.sh

test: native ## all tests with the race detector, against real ZooKeeper servers
	@build/test.sh

check: native ## gofmt, go vet, staticcheck, shellcheck, the architecture
	@build/check.sh

fuzz: native ## each fuzz target for FUZZTIME (10s)
	@build/fuzz.sh

asan: deps ## the packages with C code, tested under AddressSanitizer and LeakSanitizer
	@build/asan.sh

leakhunt: native ## magellan leaks for real, for ten minutes, and has to name the leaks
	@test/leakhunt/run.sh $(LEAKHUNT)

soak: native ## load, mutants and proof under faults, for long; SOAK=--short for minutes
	@test/soak/run.sh $(SOAK)

bench: build ## the table of docs/benchmarks.md: all of it takes long
	@build/deps.sh bench && test/bench/run.sh --out docs/benchmarks.md

bench-short: build ## the same table, each measurement short
	@build/deps.sh bench && test/bench/run.sh --short

images: ## builds the images of production and of the hunt, and those of compose.yaml
	@build/images/build.sh magellan magellan-debug magellan-zookeeper magellan-nginx magellan-prometheus

test-images: native ## builds all images and tests them as containers
	@test/images/run.sh

test-kubernetes: ## decodes the manifests by Kubernetes' own types
	@cd deploy/kubernetes && go test ./...

clean: ## removes what was built; keeps the fetched sources (.cache)
	rm -rf dist .native

.PHONY: help deps native build run test check fuzz asan leakhunt soak bench bench-short images test-images test-kubernetes clean
