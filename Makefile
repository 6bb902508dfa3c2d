# What a change needs: make check is what CI runs.
.DEFAULT_GOAL := help
.PHONY: help test race lint bench fuzz check

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-6s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

test: ## every test; those that need a server look for its binary and say so loudly if it is missing
	go test ./...

race: ## the tests under the race detector, without the long ones
	go test -race -short ./...

lint: ## golangci-lint at the version CI uses, installed if absent
	bash .ci/run lint

bench: ## the hit path and its peers
	go test -run '^$$' -bench . -benchmem ./l1 ./readthrough

fuzz: ## every fuzz target for FUZZTIME (default 3s) each
	bash .ci/run fuzz

check: ## everything CI runs
	bash .ci/run
