# One virtual environment, .venv. A stamp for each set of extras: pip is called again only when what it installs from has changed.
KEY := $(shell cat pyproject.toml setup.py constraints.txt | cksum | tr ' ' -)
STAMP := .venv/.made-$(KEY)
FULL := .venv/.made-with-imaging-$(KEY)
DEMO := .venv/.made-for-demo-$(KEY)
PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3,$(if $(shell $(name) -c 'import sys; print("yes" * ((3, 11) <= sys.version_info[:2] < (3, 13)))' 2>/dev/null),$(name))))
PYTEST := .venv/bin/python -m pytest -n 2 --dist loadfile

.PHONY: env env-imaging demo test test-heavy test-whole fuzz audit lint clean

env: $(STAMP)

env-imaging: $(FULL)

$(STAMP): EXTRAS := ephys,behaviour,postgres,dev
# suite2p is 6 GB (PyTorch with CUDA), so that only what needs it waits for it.
$(FULL): EXTRAS := ephys,behaviour,imaging,postgres,dev
$(DEMO): EXTRAS := ephys,behaviour,imaging

$(STAMP) $(FULL) $(DEMO):
	@test -n "$(PYTHON)" || { echo "Ranvier needs Python 3.11 or 3.12 and found neither (python3 is $$(python3 --version 2>&1)); install one, or say where it is: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@.ci/environment $(EXTRAS) "$(PYTHON)"
	@touch $@

# What all tests need holds what the demo needs.
demo: $(if $(wildcard $(FULL)),$(FULL),$(DEMO))  ## Start every service, simulate a session, run the main job, say what came out
	@.venv/bin/ranvier demo

test: env  ## What runs in a few minutes
	$(PYTEST) -m "not heavy and not whole"

test-heavy: $(FULL)  ## The main job, real spike sorting, real suite2p
	$(PYTEST) -m heavy

test-whole: env  ## A centre and labs whose parts are killed, a plain Alyx, failures that are told: before a release
	$(PYTEST) -m whole

fuzz: env  ## The database, asked in odd ways by schemathesis for seven minutes: no answer may be a failure of its own
	@test -x .venv-checks/bin/st || { "$(PYTHON)" -m venv .venv-checks && .venv-checks/bin/pip install -q --disable-pip-version-check schemathesis==4.32.5; }
	.venv/bin/python tests/fuzz.py .venv-checks/bin/st

audit: env  ## Known faults of what is installed; asks PyPI
	@test -x .venv-checks/bin/pip-audit || { "$(PYTHON)" -m venv .venv-checks && .venv-checks/bin/pip install -q --disable-pip-version-check pip-audit==2.9.0; }
	.venv/bin/python -m pip freeze --disable-pip-version-check --exclude-editable > .venv/installed.txt
	.venv-checks/bin/pip-audit --strict --no-deps --disable-pip -r .venv/installed.txt

lint: env  ## Style, format, and types of the package as it installs
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	@rm -rf build && .venv/bin/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --target build/typed .
	MYPYPATH=build/typed .venv/bin/python -m mypy -p ranvier

clean:  ## Remove what make has made, but for the demo's data (.demo)
	rm -rf .venv .venv-checks build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache
