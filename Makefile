PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
# The graph's commands start `concord`, which is installed here.
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Every stage of the graph, and many a test, starts a process: they share their byte code.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo study test check bench-gpu clean

# Fresh clone to finished report: encode the embedded world once, train three dictionaries from the cache.
demo: $(INSTALLED)
	$(BIN)/dvc repro report
	@echo "The report is $(CURDIR)/report/index.html"

# Every candidate from every seed, with controls beside them: hours. It may stop anywhere, and goes on.
study: $(INSTALLED)
	$(BIN)/dvc repro study/dvc.yaml

# Files keep their order, so that the longest, the end-to-end tests, are not left to the end.
test: $(INSTALLED) check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# On a machine with a GPU: are the kernels right on it, and how fast is the training step there?
bench-gpu: $(INSTALLED)
	$(BIN)/python -m benchmarks.gpu --json benchmarks/results/gpu.json

$(INSTALLED): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $(INSTALLED)

clean:
	rm -rf .venv data runs report study/runs .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
