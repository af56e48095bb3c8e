# What a contributor types. Everything runs from a fresh clone with a Rust toolchain; the rest is found or named.

CARGO ?= cargo

.DEFAULT_GOAL := help
.PHONY: help demo test e2e lint crds bench bench-cluster clean-tools prometheus alertmanager kustomize control-plane traefik

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: prometheus ## Watch a good version promote itself and bad ones come back (DEMO=--keep leaves it up)
	$(CARGO) build --locked --bins
	$(CARGO) run --locked --bin tidegate -- demo $(DEMO)

test: prometheus alertmanager kustomize ## Run every test but those of make e2e
	CARGO="$(CARGO)" scripts/test

e2e: prometheus alertmanager ## Test the chart, and all against a real control plane, Traefik, Prometheus (E2E=part of a scenario's title)
	@CARGO="$(CARGO)" scripts/e2e $(E2E)

lint: ## Check format, clippy, the rules of the house and the dependencies
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --test chart --test conformance --test e2e -- -D warnings
	$(CARGO) clippy --locked --no-default-features --bin tidegate -- -D warnings
	$(CARGO) test --locked --test tidy
	CARGO="$(CARGO)" scripts/check-tls

crds: ## Generate crds/, the chart's copy and the pages about fields from src/api
	UPDATE=1 $(CARGO) test --locked --test crds
	cp crds/*.yaml charts/tidegate/files/crds/

bench: ## Measure a decision, and the controller on a cluster of 1,000 Rollouts (about five minutes)
	$(CARGO) bench --locked --bench plan --bench cluster

bench-cluster: ## Measure the released controller on a real control plane with 1,000 Rollouts (about fifteen minutes)
	@CARGO="$(CARGO)" scripts/bench-cluster

clean-tools: ## Remove the tools that make and .ci/run installed or built outside the checkout
	scripts/clean-tools

prometheus: ## Find or install the Prometheus that demo and test start
	@scripts/ensure-prometheus

alertmanager: ## Find or install the Alertmanager that test starts
	@scripts/ensure-alertmanager

kustomize: ## Find or build the Kustomize that test starts
	@scripts/ensure-kustomize

control-plane: ## Find or build the real control plane that e2e starts
	@scripts/ensure-control-plane

traefik: ## Find or build the real Traefik that e2e starts
	@scripts/ensure-traefik
