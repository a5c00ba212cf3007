# The commands of the project. The pipeline runs these commands.
.DEFAULT_GOAL := help
.PHONY: help run demo test check rust terraform charts gitops compose grafana pages workflows documents image advisories e2e-cluster fuzz soak bench microbench

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## build and start both services on the embedded backend, without AWS; two replicas with a shared cache: make run SHARED=1
	@scripts/run.sh

demo: ## a bad day of AWS in three minutes, in the terminal and on the page: make demo ARGS=--help
	@scripts/demo.sh $(ARGS)

test: ## all Rust tests, the end-to-end tests with the AWS protocol included
	@checks/moto.sh
	@checks/engine.sh
	@checks/clients.sh
	cargo build --locked --workspace --bins
	cargo test --locked --workspace

check: rust terraform charts gitops compose grafana pages workflows documents ## all checks besides the Rust tests

rust: ## the Rust code as text: format, lints, documentation, dependencies
	@checks/run.sh $@

terraform: ## the cloud resources: format, provider schema, tests, policies of every role
	@checks/run.sh $@

charts: ## the Helm charts: lint, render, validate, snapshots
	@checks/run.sh $@

gitops: ## Argo CD's applications, and the commands of docs/install.md
	@checks/run.sh $@

compose: ## compose.yaml without Docker: schema, files, and its programs with its variables
	@checks/run.sh $@

grafana: ## dashboards and alerts: each expression against a real Prometheus that scrapes the real services
	@checks/run.sh $@

pages: ## the pages of both services in a real browser, and their API descriptions
	@checks/run.sh $@

workflows: ## the pipeline: its workflows linted and audited, their shell steps run
	@checks/run.sh $@

documents: ## the documents: every link, and the commands of the README
	@checks/run.sh $@

image: ## both images: built through the Dockerfile's stages, and run without privileges
	@checks/run.sh $@

advisories: ## known vulnerabilities of the services' dependencies; needs the internet
	@checks/run.sh $@

e2e-cluster: ## both images and charts in a kind or k3d cluster of their own
	@scripts/e2e-cluster.sh

fuzz: ## every parser of external input, a minute for each of thirteen targets
	@fuzz/run.sh

soak: ## both services under mixed load, faults and restarts: make soak MINUTES=20
	@checks/moto.sh
	cargo build --locked --workspace --bins
	@target/debug/soak $(or $(MINUTES),20)

bench: ## both services beside what people would pick instead, an hour: make bench ARGS=--quick
	@bench/run.sh $(ARGS)

microbench: ## the instructions of each part, beside the committed counts; or the change since a revision: make microbench BASELINE=main
	@checks/run.sh $@ $(BASELINE)
