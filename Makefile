# Everything runs in an environment of its own, made on first use with the exact versions of constraints.txt.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LOWEST ?= .venv-lowest
JOBS ?= 2
# torchvision lies beside, for the tests of the recipe llp alone: PyPI's build does not load with every build of PyTorch.
# A file's tests share what they have trained, so they stay in one process.
PYTEST := -m pytest -n $(JOBS) --dist loadfile

.PHONY: demo test test-release check lint types environments coverage check-lowest browser bench torture docs linkcheck lock clean

demo: $(READY)  ## train HAN alone and in CoLeaF on TuxAV mini, and show what came of it
	$(BIN)/coleaf demo --data examples/tuxav_mini --video examples/clips/tuxva000000.mp4

test: $(READY)  ## all tests
	$(BIN)/python $(PYTEST)

test-release: $(READY)  ## wheel, sdist, lock, Dockerfile and notebook alone
	$(BIN)/python $(PYTEST) tests/release tests/test_notebook.py

check: $(READY) browser  ## what CI runs: formatting, lint, types, documentation, tests
	$(MAKE) -j 3 lint types docs
	$(BIN)/python $(PYTEST)

lint: $(READY)  ## formatting, and what ruff finds
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(READY)  ## types, of tests, benchmarks and examples too
	$(BIN)/mypy

coverage: $(READY) browser  ## all tests, and that they run 95 % of the code; takes half as long again
	$(BIN)/python $(PYTEST) --cov

# PyTorch is the same with the lowest versions, so tests that need hardly anything else are left out.
TORCH_ALONE := $(addprefix --ignore=tests/,adapters backbones collaboration inspection losses training wrapping)

check-lowest: $(LOWEST)/.ready  ## the fast tests with the lowest versions that pyproject.toml allows
	$(LOWEST)/bin/python $(PYTEST) -m "not slow" $(TORCH_ALONE)

environments: $(READY) $(LOWEST)/.ready  ## both environments of the checks

browser:  ## Chromium, in which tests look at the report; without it they skip, and fail where CI is set
	@command -v chromium || command -v chromium-browser || command -v google-chrome || { \
	  root=$$(test "$$(id -u)" = 0 || echo "sudo -n") && command -v apt-get >/dev/null \
	  && $$root apt-get -qq update && $$root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y chromium >/dev/null; } \
	  || echo "no Chromium, and none could be installed: the report is not tested in a browser"

bench: $(READY)  ## side-by-side timings, each a ratio
	$(BIN)/python -m benchmarks.bench_startup
	$(BIN)/python benchmarks/bench_scores.py
	$(BIN)/python benchmarks/bench_thresholds.py
	$(BIN)/python -m benchmarks.bench_step
	$(BIN)/python -m benchmarks.bench_data
	$(BIN)/python -m benchmarks.bench_eval

torture: $(READY)  ## faults that take longer than a test may
	$(BIN)/python -m benchmarks.torture

docs: $(READY)  ## the documentation as a site, in docs/_build
	$(BIN)/sphinx-build -q -W -b html docs docs/_build

lock:  ## requirements.lock, and uv.lock, from constraints.txt; needs uv
	.ci/lock

linkcheck: $(READY)  ## the links of the documentation to elsewhere, which needs the network
	$(BIN)/sphinx-build -q -b linkcheck docs docs/_build/links

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps --target $(VENV)/torchvision torchvision
	touch $@

$(LOWEST)/.ready: pyproject.toml constraints-lowest.txt
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-lowest.txt -e '.[tests]'
	touch $@

clean:
	rm -rf $(VENV) $(LOWEST) docs/_build
