# `make help` says what there is.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run build build-debug format lint tools test test-rust test-black-box soak bench

VENV := $(CURDIR)/.venv
# Node may have come with the Python packages.
export PATH := $(VENV)/bin:$(PATH)
export PYTHONDONTWRITEBYTECODE := 1
export CARGO_TERM_COLOR ?= auto

help: ## Say what each target does.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Build it and try it out: simulated upstream, sample client, no configuration.
	cargo run --locked --release --package airouter -- demo

build: ## Build the program for production.
	cargo build --locked --release --package airouter

# All of it, like the tests of the crates: with fewer packages their features would differ, and everything be built twice.
build-debug: ## Build the programs that the black-box tests drive.
	cargo build --locked --workspace --all-targets

format: tools ## Format the code.
	cargo fmt --all
	$(VENV)/bin/ruff format tests

lint: tools ## Check format, lints and (where cargo-deny is installed) dependencies.
	$(VENV)/bin/ruff format --check tests
	$(VENV)/bin/ruff check tests
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- --deny warnings
	@if cargo deny --version >/dev/null 2>&1; then \
	  cargo deny --locked check; \
	else \
	  echo "lint: dependencies are not checked: cargo-deny is not installed (cargo install --locked cargo-deny)"; \
	fi

tools: ## Find or install what the tests need.
	@scripts/ensure-tools

test: tools test-rust test-black-box ## Run all tests; installs what they need first.

test-rust: ## Run the tests of the crates, beside throw-away PostgreSQL and Redis servers.
	@if cargo nextest --version >/dev/null 2>&1; then \
	  scripts/with-services cargo nextest run --locked --workspace --no-fail-fast; \
	else \
	  scripts/with-services cargo test --locked --workspace --no-fail-fast; \
	fi

# Most of what these tests do is waiting: three processes keep two processors busy.
test-black-box: build-debug ## Run the real program against the official Python and Node SDKs.
	cd tests && ../scripts/with-services $(VENV)/bin/python -m pytest --numprocesses=3 --dist=loadgroup --no-loadscope-reorder --durations=10

soak: ## Simulate the money core for MINUTES (60), with seeds that were never tried.
	cargo run --locked --release --package airouter-simulation -- --first $$(date +%s) --minutes $(or $(MINUTES),60)

bench: tools ## Measure it, on both databases, beside nginx and a bare pass-through; fails where it costs too much.
	cargo build --locked --release --package airouter --bin airouter --package airouter-simulator --bin airouter-sim
	cargo build --locked --release --package airouter-store-sqlite --example verify_bench
	bench/run
