# make help lists the commands.
PYTHON ?= python3
PORT ?= 4000
VENV := .venv
BIN := $(VENV)/bin
GATEWAY_ENV := LITELLM_LOCAL_MODEL_COST_MAP=True LITELLM_LOG=ERROR LITELLM_DONT_SHOW_FEEDBACK_BOX=true
LOCK := uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
	--no-header
COMPILE := $(LOCK) pyproject.toml --extra install

.PHONY: help run install test check wires faults hangups exact crash properties partner-real cheats bench bench-growth \
	bench-choices bench-codecs bench-ledger litellm-upgrade lock clean

help: ## list the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

run: install ## start the gateway with the demo account on 127.0.0.1:$(PORT)
	@$(GATEWAY_ENV) LLMDEAL_DEMO=1 exec $(BIN)/litellm --config config.yaml --host 127.0.0.1 --port $(PORT)

install: $(VENV)/.runtime ## create .venv with the locked dependencies

test: $(VENV)/.dev ## run every test
	$(BIN)/python -m pytest

check: $(VENV)/.dev ## lint, types, and the shape of the code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --diff .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_architecture.py

wires: $(VENV)/.dev ## print every chat case on every upstream wire: passed, or why the wire cannot
	$(BIN)/python -m pytest tests/spec --wire-table -k "$(CASES)"

faults: $(VENV)/.dev ## print what becomes of every upstream fault on every wire, pinned and in a lane
	$(BIN)/python -m pytest tests/faults --fault-table --tb=no -rN

hangups: $(VENV)/.dev ## hang up on a gateway 1,000 times at random points, and print what came of it
	@$(BIN)/python tests/clients/hangups.py $(ARGS)

exact: $(VENV)/.dev ## send 10,000 requests at once to a balance that pays for N, and count who is served
	@$(BIN)/python tests/crash/exact.py $(ARGS)

crash: $(VENV)/.dev ## kill workers of a fleet 1,000 times under load, and print what came of it
	@$(BIN)/python tests/crash/kills.py $(ARGS)

properties: $(VENV)/.dev ## compare the ledger with its model at length; EXAMPLES, STEPS, STORE, SEED
	@$(BIN)/python tests/ledger/properties.py $(foreach option,EXAMPLES STEPS STORE SEED,\
		$(if $($(option)),--$(shell echo $(option) | tr A-Z a-z) $($(option))))

partner-real: $(VENV)/.dev ## build llama.cpp's server once, serve customers from it as a partner's machine, kill it, bring it back
	@$(BIN)/python tests/partners/real.py $(ARGS)

cheats: $(VENV)/.dev ## have partners' machines cheat until they are paused, and an honest one serve 10,000 requests
	@$(BIN)/python tests/consortium/cheat_run.py $(ARGS)

bench: $(VENV)/.dev ## this gateway beside others on one machine in one run: throughput, latency, CPU, memory
	@$(BIN)/python benchmarks/side_by_side.py $(ARGS)

bench-growth: $(VENV)/.bench ## how the cost grows with keys, records, prompts and open streams: a table and a plot
	@$(BIN)/python benchmarks/growth.py $(ARGS)

bench-choices: $(VENV)/.dev ## what HTTP servers, HTTP clients and JSON libraries cost in a bare pass-through
	@$(BIN)/python benchmarks/choices.py $(ARGS)

bench-codecs: $(VENV)/.dev ## what the codec of each wire costs, beside LiteLLM's own classes
	@$(BIN)/python benchmarks/wire_codecs.py $(ARGS)

bench-ledger: $(VENV)/.dev ## what group commit brings on both stores, beside bare transactions
	@$(BIN)/python benchmarks/ledger_throughput.py $(ARGS)

litellm-upgrade: $(VENV)/.dev ## run the tests of docs/litellm-seams.md against litellm VERSION
	@$(BIN)/python tests/seams/upgrade.py $(VERSION) $(ARGS)

lock: ## resolve the dependencies anew (needs uv)
	$(COMPILE) -o requirements.lock
	$(COMPILE) --extra dev -c requirements.lock -o requirements-dev.lock
	$(COMPILE) --extra bench -c requirements-dev.lock -o requirements-bench.lock
	$(COMPILE) --extra litellm-db -c requirements.lock -o requirements-litellm-db.lock
	for name in build-requirements requirements; do \
		$(LOCK) tests/partners/$$name.in -o tests/partners/$$name.lock || exit; done

clean: ## remove what the commands above made, the data of make run aside
	rm -rf $(VENV) .partner build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

# --no-deps: the locks are complete. Left to resolve, pip looks at a newer release of a package that another one
# wants with an extra, and stops because that release has no hash here.
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: requirements.lock pyproject.toml | $(VENV)/bin/python
	$(PIP_INSTALL) --require-hashes -r requirements.lock
	$(PIP_INSTALL) --no-build-isolation --no-index -e .
	$(BIN)/python -m pip check --disable-pip-version-check > /dev/null
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.runtime
	$(PIP_INSTALL) --require-hashes -r requirements-dev.lock
	@touch $@

$(VENV)/.bench: requirements-bench.lock $(VENV)/.dev
	$(PIP_INSTALL) --require-hashes -r requirements-bench.lock
	@touch $@
