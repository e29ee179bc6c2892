# make setup: everything into .venv · make demo: the main job on the bundled recording · make test: all quick tests

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DISTRIBUTIONS := contracts bus core plugins/asr plugins/documents plugins/kb plugins/llm plugins/s3 plugins/dynamodb \
	plugins/ingest plugins/sinks plugins/sources monitor/executor monitor tests/kit examples/word-count-plugin
RECORDING := examples/recording/disk-full.ogg

.PHONY: setup demo test lint images up down test-vllm test-ministack test-container test-compose kill-test chaos bench bench-peers clean

# The builders are ours, pinned: hatchling for these distributions, setuptools for nkeys, which comes without a wheel.
setup: $(VENV)/.ready

$(VENV)/.ready: constraints.txt pyproject.toml $(addsuffix /pyproject.toml,$(DISTRIBUTIONS))
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Stenobus needs Python 3.11 or newer; set PYTHON=…")'
	@echo 'Setting everything up in $(VENV), 1.5 GB of packages: some minutes, this once.'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt hatchling editables setuptools
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-build-isolation --group dev \
		$(addprefix --editable ,$(DISTRIBUTIONS)) --editable .
	touch $@

demo: setup
	$(BIN)/stenobus process $(RECORDING) --out out/demo --title "A full disk that no file explains"
	@echo
	@echo 'stenobus search "how do I free the disk space?"'
	$(BIN)/stenobus search "how do I free the disk space?" --limit 3

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy contracts/stenobus_contracts bus/stenobus_bus core/stenobus_core \
		plugins/asr/stenobus_asr plugins/documents/stenobus_documents plugins/kb/stenobus_kb \
		plugins/llm/stenobus_llm plugins/s3/stenobus_s3 plugins/dynamodb/stenobus_dynamodb plugins/sinks/stenobus_sinks \
		plugins/sources/stenobus_sources \
		plugins/ingest/stenobus_ingest monitor/stenobus_monitor monitor/executor/stenobus_executor tests/kit/stenobus_testing \
		examples/word-count-plugin/stenobus_wordcount examples/outline-plugin/stenobus_timeline
	$(BIN)/lint-imports --no-logo

# One test after the other; in a hurry, side by side: `.venv/bin/pytest --numprocesses auto --dist loadfile`.
test: lint
	$(BIN)/pytest

# A real vLLM server on the CPU, in an environment of its own (2 GB of packages).
test-vllm: setup
	bash tests/vllm/setup.sh
	$(BIN)/pytest tests/vllm --timeout 900

# An emulator of AWS by others, in an environment of its own: it pins other versions of boto3.
MINISTACK := .venv-ministack
test-ministack: setup
	test -x $(MINISTACK)/bin/hypercorn || { $(PYTHON) -m venv $(MINISTACK) && $(MINISTACK)/bin/pip install --quiet ministack==1.5.33; }
	STENOBUS_MINISTACK_PYTHON=$(abspath $(MINISTACK))/bin/python STENOBUS_MINISTACK=$(abspath $(MINISTACK))/bin/ministack \
		$(BIN)/pytest tests/sinks/test_ministack.py tests/ingest/test_uploads.py

# The integration tests against a server in a container; its image is built from the server in .venv.
NATS_IMAGE := stenobus-nats:test
test-container: setup
	bash tests/integration/container/build.sh $(BIN)/python $(NATS_IMAGE)
	TESTCONTAINERS_RYUK_DISABLED=true $(BIN)/pytest tests/integration --nats=container --nats-image $(NATS_IMAGE)

# Processes are killed with SIGKILL at random points of RUNS runs: every plugin by itself; the stages and a paid model's
# router, which must repeat no paid call.
RUNS ?= 50
kill-test: setup
	STENOBUS_KILL_RUNS=$(RUNS) $(BIN)/pytest -s --timeout 3000 tests/chaos/test_killed_plugins.py tests/chaos/test_killed_models.py

# Publishers, a chain of handlers and their servers, one alone and a cluster of three, under fire for SECONDS each.
SECONDS ?= 300
chaos: setup
	STENOBUS_CHAOS_SECONDS=$(SECONDS) $(BIN)/pytest -s tests/chaos --deselect tests/chaos/test_killed_plugins.py \
		--deselect tests/chaos/test_killed_models.py

bench: setup
	$(BIN)/python bench/bus.py
	$(BIN)/python bench/claim_check.py

# Also beside taskiq, Dramatiq and Celery; the last two need redis-server.
bench-peers: setup
	bash bench/peers/setup.sh
	$(BIN)/python bench/bus.py handlers

# The stack in containers: NATS and every plugin as a service of its own; see docs/deploy.md.
images up down:
	bash compose/stack.sh $@

# The same on a real engine, with images built here.
test-compose: setup
	$(BIN)/pytest -s tests/compose --timeout 1500

clean:
	rm -rf $(VENV) out
