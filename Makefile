# The commands of this repository. `make demo` and `make test` set up what they need and say what they install.
.PHONY: help setup demo test fmt lint unit policy generated interop bench fuzz chaos tasks worlds release

CARGO ?= cargo
OPA_VERSION := v1.22.0
export PATH := $(HOME)/.cargo/bin:$(HOME)/go/bin:/usr/local/go/bin:$(PATH)
POLICY := policies/pgteller

help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

## make setup     install what is missing: Rust, PostgreSQL server, opa
setup:
	@scripts/setup rust postgresql opa

## make demo      see it work on a throwaway database
demo:
	@scripts/setup rust postgresql
	@echo "building (some minutes the first time, seconds later)"
	@$(CARGO) build --quiet --locked
	@target/debug/pgteller demo

## make test      format, lints, tests, policies, generated files
test: setup fmt lint unit policy generated

fmt:
	$(CARGO) fmt --check

lint:
	$(CARGO) clippy --locked --all-targets --quiet -- -D warnings

unit:
	$(CARGO) test --locked

policy:
	opa fmt --list --fail $(POLICY) policies/tests
	opa check --strict --schema policies/schema $(POLICY)
	opa check --strict $(POLICY) policies/tests
	opa test $(POLICY) policies/tests
	scripts/policy-bundle --check

generated:
	scripts/generated --check

## make generate  write the generated files: schemas, reference, policy bundle
generate:
	scripts/generated
	scripts/policy-bundle

## make interop   real clients, other PostgreSQL majors, PostgreSQL's own grammar; needs Node, npm and Python
interop: setup
	$(CARGO) build --locked
	$(CARGO) build --locked --example conformance
	scripts/interop/run

## make bench     the measured promises, against their baselines
bench:
	@scripts/setup rust postgresql
	$(CARGO) bench --locked --bench latency --bench backends

## make fuzz      mutated input against everything that reads, SECONDS for each target
fuzz:
	$(CARGO) bench --quiet --locked --profile dev --bench fuzz -- $(or $(SECONDS),60) $(or $(SEED),1)

## make chaos     kills, restarts and shortages at random stages, and what they leave behind; COUNT=300 SEED=1
chaos:
	@scripts/setup rust postgresql
	$(CARGO) bench --locked --profile dev --bench chaos -- $(or $(COUNT),300) $(or $(SEED),1)

## make tasks     a thousand tasks by 32 clients, and an agent stopped while 50 of its calls run
tasks:
	@scripts/setup rust postgresql
	$(CARGO) bench --locked --bench tasks

## make worlds    two worlds at full scale; COUNT=100000 SEED=1 PARTS="attacks generated straight regress timing"
worlds: # in the dev profile, where the locks of every statement are compared with its analysis as well
	@scripts/setup rust postgresql
	COUNT=$(or $(COUNT),100000) SEED=$(or $(SEED),1) $(CARGO) bench --locked --profile dev --bench worlds -- $(PARTS)

## make release   the binary as it is published
release:
	$(CARGO) build --locked --profile dist
