# Every command of the project; the pipeline runs these and nothing else.
.DEFAULT_GOAL := help
.PHONY: help run test check rust terraform charts gitops grafana pages workflows image advisories e2e-cluster fuzz soak bench microbench

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## build and start both services on the embedded backend: no AWS, no cluster
	@scripts/run.sh

test: ## everything in Rust, end to end on the real AWS wire included
	@checks/moto.sh
	cargo build --locked --workspace --bins
	cargo test --locked --workspace

check: rust terraform charts gitops grafana pages workflows ## everything that is not run as Rust tests

rust: ## the Rust code as text: format, lints, documentation, dependencies
	@checks/run.sh rust

terraform: ## the cloud resources: format, provider schema, policies, who may assume which role
	@checks/run.sh terraform

charts: ## the Helm charts: lint, render, validate, snapshots
	@checks/run.sh charts

gitops: ## what Argo CD would install, and the commands of docs/install.md
	@checks/run.sh gitops

grafana: ## dashboards and alerts, each expression against a real Prometheus that scrapes the real services
	@checks/run.sh grafana

pages: ## the pages of both services in a real browser, and their API descriptions
	@checks/run.sh pages

workflows: ## the pipeline: its workflows linted and audited, the shell in them run
	@checks/run.sh workflows

image: ## both images through the Dockerfile's stages, and how they run without any privilege
	@checks/run.sh image

advisories: ## known vulnerabilities of what the services depend on; needs the internet
	@checks/run.sh advisories

e2e-cluster: ## both images and charts in a kind or k3d cluster of their own
	@scripts/e2e-cluster.sh

fuzz: ## every reader of bytes from outside, a minute for each of ten targets
	@fuzz/run.sh

soak: ## both services in mixed load, faults and restarts, and what that did to them: make soak MINUTES=20
	@checks/moto.sh
	cargo build --locked --workspace --bins
	@target/debug/soak $(or $(MINUTES),20)

bench: ## both services side by side with nginx and Varnish, eleven minutes: make bench ARGS=--quick
	@bench/run.sh $(ARGS)

microbench: ## what each part costs in instructions; since a revision: make microbench BASELINE=main
	@checks/run.sh microbench $(BASELINE)
