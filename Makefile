# The habits. `make help` lists them; every target can be run again at no cost.
SHELL := /bin/bash
export CARGO_TERM_PROGRESS_WHEN ?= never
SAMPAN := target/release/sampan
SETUP := .ci/setup

.PHONY: help up build dashboard test screenshots conversations clients conformance test-long fuzz sim bench verify fix generate clean

help: ## list the habits
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: build ## install what is missing, build, start a cluster, deploy the demo
	@$(SETUP) run
	@.ci/as-root $(SAMPAN) start
	@.ci/as-root $(SAMPAN) demo

build: ## leave target/release/sampan
	@$(SETUP) build
	@.ci/dashboard
	cargo build --release --locked -p sampan

dashboard: ## build the pages that the binary embeds
	@$(SETUP) build
	@.ci/dashboard

test: ## install what the tests need, run them all
	@$(SETUP) build run test
	@.ci/test

screenshots: ## take the pictures that the README shows anew
	@$(SETUP) build run test
	@SAMPAN_SCREENSHOTS=$(CURDIR)/assets/screenshots SAMPAN_PAGES=pictures .ci/test --test pages

conversations: ## write the answers of tests/api/conversations down anew, to be read and compared with upstream
	@$(SETUP) build run test
	@SAMPAN_CONVERSATIONS=write .ci/test --test conversations

clients: ## client-go and Helm, built with Go, against a real cluster
	@$(SETUP) build run test clients
	@.ci/test clients

conformance: build ## upstream's own conformance suite, built from its Go module, against a cluster; FOCUS= for some of it
	@$(SETUP) run conformance
	@.ci/as-root env FOCUS='$(FOCUS)' .ci/conformance $(SAMPAN)

test-long: ## the suites that find more the longer they run, ten times as long: crashes, mutations, packets
	@$(SETUP) build run test
	@SAMPAN_TEST_LONG=1 .ci/test

fuzz: ## libFuzzer on the decoders, parsers and merges of the API, each for TIME seconds (60)
	@$(SETUP) build fuzz
	@.ci/fuzz $(or $(TIME),60) $(TARGET)

sim: ## whole clusters under faults, as many as SEEDS says, and the scheduler's oracle on PODS random pods
	@$(SETUP) build
	SAMPAN_SIM_SEEDS=$(or $(SEEDS),1000) cargo test --profile quick --locked -p sampan-test-sim -- --nocapture
	SAMPAN_ORACLE=$(or $(PODS),1000000) cargo test --profile quick --locked -p sampan-scheduler --test oracle -- --nocapture

bench: build ## print the table of numbers, each beside its peer
	@$(SETUP) run bench
	cargo build --profile quick --locked -p sampan-bench
	@.ci/as-root target/quick/sampan-bench all --sampan $(SAMPAN)

verify: ## read only: format, clippy, docs, tidy
	@$(SETUP) build
	cargo fmt --all --check
	cargo fmt --all --check --manifest-path dashboard/Cargo.toml
	cargo clippy --profile quick --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --profile quick --locked --workspace --no-deps --document-private-items
	cargo test --profile quick --locked -p sampan-tidy

fix: ## format, and let clippy mend what it can
	cargo clippy --profile quick --fix --allow-dirty --workspace --all-targets
	cargo fmt --all

generate: ## make the API tables anew from k8s-openapi and k8s-pb
	cd server/api/generate && cargo run --release

clean: ## remove what was built
	cargo clean
