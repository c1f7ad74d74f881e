# demo: see it work        test: prove it       test-data: on real data, fetched       check: style and types
# bench: measure           kernels: build the native code in place        clean: remove what was built
.PHONY: demo test test-data check bench bench-quick kernels lab pictures clean
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Made last, so that an installation that was broken off is taken up again.
READY := $(VENV)/ready

KERNELS := CMakeLists.txt $(wildcard src/convscope/kernels/csrc/*)

$(READY): pyproject.toml $(KERNELS)
	$(PYTHON) -m venv $(VENV)
	rm -rf src/convscope/kernels/native
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

demo: $(READY)
	$(BIN)/convscope demo --output demo

# On every core, one thread each: tests of threads ask for more themselves.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto

# Fetches published weights and photographs once, into the cache folder.
test-data: $(READY)
	$(BIN)/python -m pytest -m data tests

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

bench: $(READY)
	$(BIN)/python -m pip install --quiet --editable ".[dev,bench]"
	$(BIN)/python benchmarks/three_layers.py
	$(BIN)/python benchmarks/start_up.py
	$(BIN)/python benchmarks/tracing.py
	$(BIN)/python benchmarks/signal_methods.py --check
	$(BIN)/python benchmarks/imagenet_twenty.py
	$(BIN)/python benchmarks/native/operators.py --output benchmarks/native/operators.json
	$(BIN)/python benchmarks/native/whole_step.py train --output benchmarks/native/train.json
	$(BIN)/python benchmarks/native/whole_step.py infer --output benchmarks/native/infer.json
	$(BIN)/python benchmarks/native/whole_step.py memory --output benchmarks/native/memory.json
	$(BIN)/python benchmarks/native/chart.py

# Whether the native kernels are as much faster as they should be: ratios, under two minutes.
bench-quick: $(READY)
	$(BIN)/python benchmarks/native/quick.py

# For work on the kernels: a build beside the sources, which goes before the installed one.
kernels:
	cmake -S . -B build/kernels && cmake --build build/kernels --parallel && cmake --install build/kernels --prefix src

# The browser lab is not built yet; until it is, the demo's report is the page to look at.
lab: $(READY)
	@echo "The browser lab is not part of this version; open demo/report.html, which 'make demo' writes." >&2; exit 1

# The pictures in docs/, which the README shows.
pictures: $(READY)
	$(BIN)/python tools/make_pictures.py

clean:
	rm -rf $(VENV) src/convscope/kernels/native build dist demo .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
