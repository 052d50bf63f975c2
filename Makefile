# Everything a newcomer needs: `make demo`, `make test`. Each target sets itself up; nothing needs root.
PYTHON ?= python3
VENV := .venv
DEMO ?= demo
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test check bench soak lock clean help

help:            ## show the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("mmcampaign needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12 $(MAKECMDGOALS)" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(STAMP)   ## synthetic exports for the four programs, and the main job run on them
	@$(BIN)/mmcampaign demo $(DEMO)

test: $(STAMP)   ## every test
	$(BIN)/python -m pytest -n auto -m "not soak"

check: $(STAMP)  ## lint, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP)  ## the figures of the README, as ratios against a baseline of the same run
	$(BIN)/python -m bench

soak: $(STAMP)   ## long crash and load tests, with a table of the kills: about 20 minutes on two cores
	$(BIN)/python -m pytest -m soak -n auto --dist worksteal

lock: $(STAMP)   ## pin today's versions again (needs uv)
	uv pip compile --universal --python-version 3.11 --no-emit-index-url --generate-hashes --no-header \
	  --extra postgres --extra ses --group dev pyproject.toml requirements.build.in -o requirements.lock

clean:           ## remove the environment and the demo
	rm -rf $(VENV) demo
