.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3.11
BIN := .venv/bin
UV_VERSION := 0.13.8
PYTEST_ARGS ?=
BENCH_ARGS ?=
REFERENCES_ARGS ?=

.PHONY: help
help: ## Show what there is to make
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  \033[36m%-15s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: .venv/.ready ## Install everything into .venv (needs Python 3.11 with venv; servers are wheels)

.venv/.ready: uv.lock pyproject.toml $(wildcard libs/*/pyproject.toml services/*/pyproject.toml)
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || python3 -m venv .venv
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@$(BIN)/uv sync --locked --quiet
	@$(BIN)/python -m compileall -q libs services
	@touch $@

.PHONY: up
up: setup ## Start the whole stack in the foreground; Ctrl-C stops it
	@exec $(BIN)/signalbox up

.PHONY: down
down: setup ## Stop the stack, wherever it was started
	@$(BIN)/signalbox down

.PHONY: demo
demo: setup ## Run a first slice through the whole stack, live
	@$(BIN)/signalbox demo

.PHONY: test
test: setup ## Run all tests against real servers (about 30 minutes on two slow cores)
	@$(BIN)/pytest -m "not chaos and not proof" -n 2 --dist loadgroup $(PYTEST_ARGS)

.PHONY: chaos
chaos: setup ## Kill everything at random under load, and count (about 5 minutes)
	@$(BIN)/pytest -m chaos -s tests/chaos $(PYTEST_ARGS)

.PHONY: proof
proof: tools ## Repeat what the tests show with large counts (minutes; prints the counts)
	@$(BIN)/pytest -m proof -s $(PYTEST_ARGS)

.PHONY: tools
tools: setup ## Build the forges that the proofs ask (needs Go and Node; 5 minutes, once)
	@$(BIN)/python -m tools.forges

.PHONY: lint
lint: setup ## Check style, types, import rules, contracts and the compose file
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy libs services tests bench tools
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml
	@$(BIN)/python -m tools.references --check

.PHONY: supply-chain
supply-chain: setup ## Check the installed servers against their recorded sums
	@$(BIN)/python -m tools.supply_chain

.PHONY: fmt
fmt: setup ## Format the code and sort imports
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: docs
docs: setup ## Write the references into docs/; what v1 has promised must still hold
	@$(BIN)/python -m tools.references $(REFERENCES_ARGS)

.PHONY: bench
bench: setup ## Measure what it costs (BENCH_ARGS="--beside DIR": next to another checkout)
	@$(BIN)/python -m bench $(BENCH_ARGS)

.PHONY: bench-work
bench-work: setup ## Measure work that goes on, beside other systems on the same servers
	@test -x .venv-others/bin/python || $(BIN)/python -m venv .venv-others
	@.venv-others/bin/python -m pip install --quiet --disable-pip-version-check -r bench/others/requirements.txt
	@$(BIN)/python -m bench.work --others .venv-others $(BENCH_ARGS)

.PHONY: bench-agents
bench-agents: setup ## Measure what it takes to look at 1,000 agents with 1,000,000 runs
	@$(BIN)/python -m bench.agents $(BENCH_ARGS)

.PHONY: bench-schedules
bench-schedules: setup ## Measure 5,000 schedules whose time comes in the same second, and who waits for them
	@$(BIN)/python -m bench.schedules $(BENCH_ARGS)

.PHONY: bench-tasks
bench-tasks: setup ## Measure what tasks cost, beside other systems on the same servers
	@test -x .venv-others/bin/python || $(BIN)/python -m venv .venv-others
	@.venv-others/bin/python -m pip install --quiet --disable-pip-version-check -r bench/others/requirements.txt
	@$(BIN)/python -m bench.tasks --others .venv-others $(BENCH_ARGS)

.PHONY: bench-sandbox
bench-sandbox: setup ## Measure what a sandbox costs at its node, beside bubblewrap alone
	@$(BIN)/python -m bench.sandbox $(BENCH_ARGS)

.PHONY: bench-git
bench-git: setup ## Measure what a checkout and a delivery cost, beside plain git
	@$(BIN)/python -m bench.git $(BENCH_ARGS)

.PHONY: bench-live
bench-live: setup ## Measure what it costs to tell many clients what happens
	@$(BIN)/python -m bench.live
