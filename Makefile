# Needs make and Python 3.11 or later; everything else goes into .venv.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
STDLIB = $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
MANIFEST = manifest-of-python

help: ## say what there is
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

run: $(VENV)/run ## the main job: a fixity manifest of Python's own library, then checked by sha256sum -c
	$(BIN)/python examples/manifest.py "$(STDLIB)" --skip site-packages --skip __pycache__ --out $(MANIFEST)
	cd "$(STDLIB)" && sha256sum --check --quiet "$(CURDIR)/$(MANIFEST)/SHA256SUMS" && echo "sha256sum -c: every file is as the manifest says"

test: ## lint, types, layers, every test, and the proof at its smallest size
	@$(MAKE) --no-print-directory --jobs 2 programs check
	@echo "== tests"
	$(BIN)/python -m pytest -n 3 --dist worksteal
	@echo "== proof, at its smallest size"
	$(BIN)/python -m prove run quick --at-once 3

# Programs, and the Debian package of each where it has another name.
PROGRAMS = pgbouncer chromium promtool:prometheus systemd-analyze:systemd
programs: ## install what some tests need and pip does not have, where we are root on Debian
	@missing=; for program in $(PROGRAMS); do \
	  PATH="$$PATH:/usr/sbin" command -v $${program%%:*} >/dev/null || missing="$$missing $${program##*:}"; done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	echo "== programs:$$missing"; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  export DEBIAN_FRONTEND=noninteractive; \
	  apt-get update -qq && apt-get install -qq -y --no-install-recommends $$missing; \
	else false; fi || echo "could not be installed:$$missing; tests that need it are skipped, and fail in CI"

check: $(VENV)/test ## lint, types and layers
	@echo "== lint"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@echo "== types"
	$(BIN)/mypy & mypy=$$!; $(BIN)/pyright --pythonpath $(BIN)/python; pyright=$$?; wait $$mypy && exit $$pyright
	@echo "== layers"
	$(BIN)/lint-imports --no-logo

SIZE ?= 30m
prove: $(VENV)/test ## break things on purpose for SIZE (quick, 30m, 8h), and keep the figures in RELIABILITY.json
	$(BIN)/python -m prove run $(SIZE) --write

planted: $(VENV)/test ## plant the known mistakes of this field in ourselves, and keep how many are caught
	$(BIN)/python -m prove planted --write

bench: $(VENV)/test ## print the speed table, and keep it in docs/performance.md
	$(BIN)/python -m bench --write

lock: ## make the locks anew from requirements/*.in
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install --quiet pip-tools
	for name in run test; do .venv-lock/bin/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --upgrade \
	    --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-header \
	    --output-file requirements/$$name.txt requirements/$$name.in; done
	rm -rf .venv-lock

clean: ## remove what the other targets made
	rm -rf .venv .venv-lock build $(MANIFEST) .pytest_cache .mypy_cache .ruff_cache bench/.ruff_cache prove/.ruff_cache tests/.ruff_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "expected Python 3.11 or later as $(PYTHON), got: $$($(PYTHON) --version 2>&1); say make PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
	  { echo "expected $(PYTHON) to have the modules venv and ensurepip; on Debian: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/run $(VENV)/test: $(VENV)/%: requirements/%.txt pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/$*.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: help run test programs check prove planted bench lock clean
