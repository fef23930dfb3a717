# Every target is one command; "make help" lists them.
.PHONY: run test generate lint bench bench-peers crash everywhere torture powercut partitions replicas rolling long help

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

bench-peers: ## Measure calls and REST beside bare grpc-go and net/http: processor time and allocations of both ends
	go run -C bench .

ROUNDS ?= 200
crash: ## Kill the shop at random instants, ROUNDS times, and audit it each time
	ARGOSY_CRASH_ROUNDS=$(ROUNDS) go test -count=1 -timeout 60m -v -run TestKilledAtAnyInstant ./e2e

everywhere: ## Crash the shop at every commit and every call to its broker, on both stores
	ARGOSY_CRASH_EVERYWHERE=1 go test -count=1 -timeout 120m -v -run TestTheShopCrashedEverywhere ./e2e

LENGTH ?= 10m
REPORTS ?= .
torture: ## Torture real processes for LENGTH, a fault every 2 s, with a report in REPORTS (root)
	ARGOSY_TORTURE=$(LENGTH) ARGOSY_TORTURE_REPORT=$(abspath $(REPORTS)) go test -count=1 -timeout 60m -v -run TestABadNight ./e2e

CUTS ?= 200
powercut: ## Pull the plug CUTS times under 100,000 acknowledged writes (root)
	ARGOSY_POWER_CUTS=$(CUTS) go test -count=1 -timeout 60m -v -run PowerCut ./e2e

partitions: ## Cut every line of a fleet on machines of its own, with a report in REPORTS (root)
	ARGOSY_LONG=1 ARGOSY_TORTURE_REPORT=$(abspath $(REPORTS)) go test -count=1 -timeout 60m -v -run TestAPartition ./e2e

replicas: ## Stop one of two replicas past its lease, ROUNDS times
	ARGOSY_REPLICA_ROUNDS=$(ROUNDS) go test -count=1 -timeout 60m -v -run TestTwoReplicas ./e2e

rolling: ## Roll out the whole fleet ROUNDS times under load
	ARGOSY_ROLLING_ROUNDS=$(ROUNDS) go test -count=1 -timeout 60m -v -run TestARollingRestart ./e2e

long: ## Run the long versions of the tests of order, duplicates, leases, replicas and brokers that are killed
	ARGOSY_LONG=1 go test -count=1 -timeout 60m ./event ./saga ./store/... ./idempotency ./broker/nats
	ARGOSY_LONG=1 go test -count=1 -timeout 20m -v -run 'TestTwoReplicasOfEvery|TestTheShopOutlives' ./e2e

help: ## Show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
