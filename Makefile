# Every command of the project; CI runs these and nothing else.
.DEFAULT_GOAL := help
.PHONY: help run test check terraform charts

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## build and start both services on the embedded backend: no AWS, no cluster
	@scripts/run.sh

check: terraform charts ## everything that is not Rust

terraform: ## the cloud resources: format, provider schema, policies, who may assume which role
	@checks/terraform.sh

charts: ## the Helm charts: lint, render, validate, snapshots
	@checks/charts.sh
