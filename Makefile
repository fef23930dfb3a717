# Every target is one command; "make help" lists them.
.PHONY: run test generate lint bench crash help

run: ## Run the shop: the whole fleet in one process
	go run ./shop

test: ## Run every test
	./test.sh

generate: ## Write the generated code and documents again
	go run -C internal/generate .

lint: ## Check the contracts, the OpenAPI document and the code with outside linters
	./internal/lint/lint.sh

bench: ## Measure the hot paths
	go test -run '^$$' -bench . -benchmem ./store/... ./broker/... ./event ./idempotency ./saga ./rpc/... ./guard ./rest/... ./shop/... ./e2e

ROUNDS ?= 200
crash: ## Kill the shop at random instants, ROUNDS times, and audit it each time
	ARGOSY_CRASH_ROUNDS=$(ROUNDS) go test -count=1 -timeout 60m -v -run TestKilledAtAnyInstant ./e2e

help: ## Show this
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
