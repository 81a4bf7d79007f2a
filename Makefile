# Everything bootstraps itself: a machine with Python 3.11+ and make is enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LOCK := requirements/dev.lock

.DEFAULT_GOAL := help
.PHONY: help demo test lint format types contracts kubo bench fuzz footprint lock clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(STAMP): $(LOCK) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r $(LOCK)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(STAMP) ## A fleet against a gateway, with a broker and a chain of their own; options by ARGS="--duration 60"
	$(BIN)/securenet demo $(ARGS)

test: $(STAMP) ## All tests; options by ARGS="-k replay"
	$(BIN)/python -m pytest $(ARGS)

lint: $(STAMP) ## Style, types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## Let the tools arrange the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP) ## Throughput, latency, CPU, memory; options by ARGS
	$(BIN)/python tests/benchmarks/run.py $(ARGS)

footprint: $(STAMP) ## Memory, processor, disk, start: rewrites docs/sizing.md; options by ARGS="--only plain"
	$(BIN)/python tests/benchmarks/footprint.py --write $(ARGS)

fuzz: $(STAMP) ## Coverage-guided fuzzing of every decoder; seconds each by SECONDS=60
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements/fuzz.lock
	$(BIN)/python tests/fuzz/run.py --seconds $(or $(SECONDS),60)

contracts: ## Fetch the compiler and the test node, compare the artifacts with the sources; needs npm
	npm ci --prefix contracts --ignore-scripts
	npm run --silent --prefix contracts check

kubo: ## Build the IPFS node that the tests ask; needs Go, and minutes
	cd tests/tools/kubo && go build -trimpath -o ipfs github.com/ipfs/kubo/cmd/ipfs

lock: ## Pin every dependency anew, for every platform
	$(BIN)/python -m pip install --quiet uv
	for extra in dev fuzz; do $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-annotate --no-header --extra $$extra --no-emit-package securenet-gateway \
	  --output-file requirements/$$extra.lock pyproject.toml; done
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-annotate --no-header --output-file requirements/runtime.lock pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-annotate --no-header --extra chain --extra litert --constraint requirements/dev.lock \
	  --no-emit-package securenet-gateway --output-file packaging/package.lock pyproject.toml

clean: ## Remove what the build made
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis dist build
