# Everything runs from .venv, made from requirements.lock (versions and hashes pinned).
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CORE := $(VENV)/.core
JOBS ?= 2
COUNT ?= 20000
SEED ?= 0
KERNEL ?= 7.3.4

# Install a lock file by hash, say how far it is (on a terminal), then this tree, editable.
define install
	@{ $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off --require-hashes -r $(1) || echo FAILED; } | \
	    awk -v all="$$(grep -c '^[a-z].*==' $(1))" -v watched="$$(test -t 2 && echo yes)" ' \
	        BEGIN { print "gmemsim: installing what $(1) names, up to " all " packages" > "/dev/stderr" } \
	        watched && /^Collecting / { printf "\r\033[Kgmemsim: %d of %d: %s", ++done, all, $$2 > "/dev/stderr" } \
	        watched && /^Installing / { printf "\r\033[Kgmemsim: unpacking" > "/dev/stderr" } \
	        /^FAILED$$/ { failed = 1 } \
	        END { if (watched) printf "\r\033[K" > "/dev/stderr"; exit failed }'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
endef

.DEFAULT_GOAL := help
.PHONY: help demo test fuzz lint types check-long quick lab bench docs docs-site docs-check format lock clean

help: ## list the targets
	@grep -hE '^[a-z.-]+:.*## ' Makefile | sed 's/:.*## /\t/' | expand -t 14

demo: $(CORE) ## a first look at what the model does
	@$(BIN)/gmemsim demo

test: $(READY) ## the test suite
	@$(BIN)/pytest -n $(JOBS) -q

check-long: $(READY) ## the tests that take minutes
	@$(BIN)/pytest -n $(JOBS) -q -m long

fuzz: $(READY) ## damaged and made-up input to every command (COUNT=20000 SEED=0)
	@$(BIN)/python -m tests.fuzz.run --count $(COUNT) --seed $(SEED)

lint: $(READY) ## ruff: rules and formatting
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

types: $(READY) ## mypy, strict
	@$(BIN)/mypy src tests

format: $(READY) ## let ruff sort imports and format
	@$(BIN)/ruff check --fix-only --quiet
	@$(BIN)/ruff format

quick: $(READY) ## compile the inner loops of complete searches (takes a compiler and Python's headers)
	@$(BIN)/python -m gmemsim.explore.state.compile

lab: $(READY) ## a real kernel in QEMU against the model, in minutes (KERNEL=7.3.4)
	@$(BIN)/gmemsim lab setup --fetch $(KERNEL)
	@$(BIN)/gmemsim lab compare hole munmap --kernel $(KERNEL) --rounds 100
	@$(BIN)/gmemsim lab reproduce poisoned-mapping-survives-punch --kernel $(KERNEL) || [ $$? = 1 ]

bench: $(READY) ## lock contention across vCPUs, folio sizes, patches and lock policies
	@$(BIN)/gmemsim bench contention

docs: $(READY) ## regenerate the generated pages
	@for script in $(wildcard docs/generate*.py); do echo "$$script"; $(BIN)/python "$$script" || exit 1; done

docs-site: $(READY) ## the pages as a site in build/site; a dead link fails
	@mkdir -p build
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir build/site >build/site.log 2>&1 || \
	    { grep -v '^INFO' build/site.log >&2; exit 1; }
	@echo "build/site/index.html"

docs-check: $(READY) ## do the generated pages say what their generators write? (those that take seconds)
	@$(BIN)/python docs/check.py

.venv: $(READY) ## the environment that all of these use

# The newest Python that has what it takes; a candidate is asked, because a name on PATH may be a shim for nothing.
# What a user needs comes first, so that a first look does not wait for linters and plots.
$(CORE): requirements-core.lock pyproject.toml
	@set -e; \
	if ! $(BIN)/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    python=; old=; bare=; \
	    for candidate in python3.14 python3.13 python3.12 python3.11 python3; do \
	        "$$candidate" -c '' 2>/dev/null || continue; \
	        if ! "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then old=$$candidate; continue; fi; \
	        if ! "$$candidate" -c 'import ensurepip, venv' 2>/dev/null; then bare=$$candidate; continue; fi; \
	        python=$$candidate; break; \
	    done; \
	    if [ -z "$$python" ] && [ -n "$$bare" ]; then \
	        echo "gmemsim: $$bare -m venv is unavailable: install python3-venv" >&2; exit 1; \
	    elif [ -z "$$python" ] && [ -n "$$old" ]; then \
	        echo "gmemsim: $$($$old -V) is too old: install python3 (3.11 or newer)" >&2; exit 1; \
	    elif [ -z "$$python" ]; then \
	        echo "gmemsim: no Python found: install python3 (3.11 or newer) and python3-venv" >&2; exit 1; \
	    fi; \
	    echo "gmemsim: making $(VENV) with $$("$$python" -V)" >&2; \
	    "$$python" -m venv --clear $(VENV); \
	fi
	$(call install,requirements-core.lock)

$(READY): requirements.lock $(CORE)
	$(call install,requirements.lock)

# --universal: one file for Python 3.11 to 3.14 on every platform. No index address is written into it.
lock: ## pin the newest allowed versions again (needs the network)
	@python3 -m venv --clear build/lock
	@build/lock/bin/python -m pip install --quiet --disable-pip-version-check uv
	@build/lock/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --extra dev \
	    --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' \
	    --output-file requirements.lock pyproject.toml
	@build/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --extra build --constraints requirements.lock \
	    --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' \
	    --output-file requirements-core.lock pyproject.toml

clean: ## remove the environment, builds and caches
	@rm -rf $(VENV) build dist src/*.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find src tests bench docs -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
