# Two commands on a fresh machine with Python >= 3.11 and make: `make demo` and `make test`. Each sets itself up.

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
# Four for two cores: tests wait for disks and servers half of their time.
WORKERS ?= $(shell cores=$$(nproc 2>/dev/null || echo 2); echo $$(( cores * 2 )))
SCALE ?= 1
ROUNDS ?= 5
# What starts Lading hundreds of times compiles it once, as an installed one is compiled once.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: setup demo test test-fast coverage interop check format lint types layers bench lock clean

setup: .venv/ready

.venv/ready: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Lading needs Python 3.11, 3.12 or 3.13 on the PATH (or: make PYTHON=/path/to/python3)"; exit 1; }
	@$(PYTHON) -m venv .venv || { echo "This Python cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@echo "Installing what requirements.lock names into .venv, which takes a minute or two."
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: setup
	$(BIN)/lading demo

test: setup
	$(BIN)/pytest -n $(WORKERS) --dist worksteal

# Apart, since watching every line takes half as long again as the tests themselves.
coverage: setup
	$(BIN)/pytest -n $(WORKERS) --dist worksteal --cov --cov-report=term

test-fast: setup
	$(BIN)/pytest -n $(WORKERS) --dist worksteal -m "not slow"

interop: setup .interop/ready
	$(BIN)/pytest tests/interop
	LADING_TEST_COMMITS=100 $(BIN)/pytest tests/channels/test_snapshot_commits.py -k ten_writers

.interop/ready: tools/interop.py
	$(BIN)/python tools/interop.py
	@touch $@

check: setup format lint types layers test

format:
	$(BIN)/ruff format --check .

lint:
	$(BIN)/ruff check .

types:
	$(BIN)/mypy

layers:
	$(BIN)/lint-imports

bench: setup .bench/ready
	@$(PYTHON) tools/bucket_servers.py versitygw >/dev/null || true
	$(BIN)/python -m benchmarks --scale $(SCALE) --rounds $(ROUNDS) $(OPTIONS)

.bench/ready: benchmarks/peers.txt
	$(PYTHON) -m venv --clear .bench/venv
	.bench/venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

lock:
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate \
		--python-version 3.11 --all-extras --group dev --upgrade pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate \
		--python-version 3.11 --upgrade benchmarks/peers.in -o benchmarks/peers.txt

clean:
	rm -rf .venv .bench .interop demo
