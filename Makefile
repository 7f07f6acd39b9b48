# What one needs beforehand: Python 3.11 or later, make, git, and a way to the package registries.
PYTHON ?= python3
AIRFLOW ?= 3.3.2
# In the order they are begun: what has few and long tests comes first, so that none is left for the end alone.
ALL_TESTS := tests/airflow tests/integration tests/unit
TESTS ?= $(ALL_TESTS)
SYSTEM ?= tests/system
# Eight processes for two cores, each with a database of its own, because most tests mostly wait; the tests of
# one file stay together. By itself xdist would begin with the files that have the most tests, which are the quickest.
PARALLEL ?= --numprocesses 8 --dist loadfile --no-loadscope-reorder
# The suite runs real processes against real clocks: a test that fails is run once more, and the closing line counts
# how often that was.
RERUNS ?= --reruns 1

ENV := .venv-$(AIRFLOW)
TOOLS := .venv-3.3.2
MAKE_ENV = $(PYTHON) scripts/environment.py
export COVERAGE_FILE := $(CURDIR)/.coverage
# Where it is set, each of the processes compiles all the tests again.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help demo airflow test test-sdk test-system test-workers test-lineage pictures lint format docs benchmarks mutants ci release-check pins clean env tools

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-18s %s\n", $$1, $$2}'

demo: ## real DAGs against a local sandbox: what was deleted, and what a bad id looks like
	@$(MAKE_ENV) .venv --pins constraints/airflow-3.3.2.txt --extra sandbox
	@.venv/bin/python -m scripts.demo

airflow: ## a whole local Airflow to click through, with the example DAGs and a filled sandbox; Ctrl-C ends it
	@$(MAKE_ENV) .venv --pins constraints/airflow-3.3.2.txt --extra sandbox
	@.venv/bin/python -m scripts.airflow

test: env ## the whole suite with branch coverage; AIRFLOW=2.11.2 for another line, TESTS=tests/unit for a part
ifeq ($(AIRFLOW)-$(TESTS),3.3.2-$(ALL_TESTS))
	@$(ENV)/bin/coverage erase
	@$(ENV)/bin/coverage run -m pytest $(PARALLEL) $(RERUNS) $(TESTS); tests=$$?; \
	$(ENV)/bin/coverage combine --quiet && $(ENV)/bin/coverage report && exit $$tests
else
	@$(ENV)/bin/python -m pytest $(PARALLEL) $(RERUNS) $(TESTS)
endif

test-system: env $(if $(filter-out 2.11.2 oldest,$(AIRFLOW)),docs) ## a whole Airflow with its scheduler, a browser in front of it; installs Debian's chromium if it is missing
	@$(ENV)/bin/python -m pytest $(RERUNS) $(SYSTEM)

test-sdk: env ## the vendor's own SDKs against the sandbox, each in an environment of its own
	@$(ENV)/bin/python -m pytest $(RERUNS) tests/sdk

pictures: ## take the screenshots in docs/images/ anew
	@for airflow in 3.3.2 2.11.2; do \
	$(MAKE) test-system AIRFLOW=$$airflow SYSTEM="tests/system/test_browser.py tests/system/test_page_in_airflow.py --pictures docs/images" || exit 1; done

test-workers: ## Celery workers on Redis and Postgres, one of them killed; installs Debian's packages if they are missing
	@$(MAKE_ENV) .venv-workers --pins constraints/airflow-3.3.2.txt --extra dev,workers
	@.venv-workers/bin/python -m pytest $(RERUNS) tests/workers

lint: tools ## ruff, formatting, mypy --strict, import-linter
	@$(TOOLS)/bin/ruff check .
	@$(TOOLS)/bin/ruff format --check .
	@$(TOOLS)/bin/mypy
	@$(TOOLS)/bin/lint-imports --no-cache

format: tools ## put the code into shape
	@$(TOOLS)/bin/ruff check --fix .
	@$(TOOLS)/bin/ruff format .

test-lineage: ## OpenLineage's events of a green and a red purge, with its provider in an environment of its own
	@$(MAKE_ENV) .venv-lineage --pins constraints/airflow-3.3.2.txt --extra dev,lineage
	@.venv-lineage/bin/python -m pytest $(RERUNS) tests/lineage

docs: ## the pages of docs/ as a site, in build/docs; a warning is an error
	@$(MAKE_ENV) .venv-docs --pins constraints/airflow-3.3.2.txt --extra docs
	@rm -rf build/docs
	@AIRFLOW_HOME="$(CURDIR)/.airflow/docs" .venv-docs/bin/python -m sphinx -W --keep-going -n -q -d .cache/docs docs build/docs
	@echo "open build/docs/index.html"

benchmarks: env ## the provider beside what one would write instead, as ratios
	@missed=0; for file in benchmarks/bench_*.py; do echo "== $$file"; $(ENV)/bin/python $$file || missed=1; done; exit $$missed

mutants: env ## change one thing in the code at a time, and see that a test notices; an hour or two; ROOMS=bulk for a part of it
	@$(ENV)/bin/python -m scripts.mutants $(ROOMS)

ci: ## all that a change must pass: every Airflow line, oldest dependencies, wheel, demo
	@bash .ci/run

release-check: tools docs ## build the distribution, test it installed on four Airflows, with a browser; compare version, tag, changelog
	@$(PYTHON) -m scripts.release_check $(TOOLS)

pins: tools ## resolve constraints/ anew
	@UV_SYSTEM_CERTS=1 $(TOOLS)/bin/python -m scripts.pin

clean: ## remove environments, caches and build results
	@rm -rf .venv .venv-* .airflow .cache build dist htmlcov .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache mutants
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

env:
	@$(MAKE_ENV) $(ENV) --pins $(if $(filter oldest,$(AIRFLOW)),constraints/oldest.txt,constraints/airflow-$(AIRFLOW).txt)

tools:
	@$(MAKE_ENV) $(TOOLS) --pins constraints/airflow-3.3.2.txt
