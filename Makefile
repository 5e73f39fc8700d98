# On a machine with a Rust toolchain, a C++ compiler and CPython >= 3.10: `make demo` and `make test` do everything.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
# torch-sys links the torch of the first Python on PATH.
export PATH := $(BIN):$(PATH)
export VIRTUAL_ENV := $(CURDIR)/$(VENV)
unexport PYTHONPATH PYTHONHOME CONDA_PREFIX

say = @printf '\n== %s\n'
required = $(shell sed -n 's/.*"\($(1)[=<>][^"]*\)".*/\1/p' pyproject.toml | head -n 1)
locked := $(if $(CI),--locked)

# Stamps: each is made once and again when something it was made from changes.
env := $(VENV)/.env-ready
wheel := dist/.built
sources := $(shell find src python -not -path '*/__pycache__*' -not -name '*.so') build.rs .cargo/config.toml \
	Cargo.toml Cargo.lock pyproject.toml README.md LICENSE

# uv links packages out of its cache where pip copies gigabytes; pip does where there is no uv.
install = if uv --version >/dev/null 2>&1; then uv pip install $(1); else python -m pip install $(1); fi

# The values that maturin and the PEP 517 backend give to cargo. The same for clippy, so that it finds everything compiled.
build_env = export MATURIN_NO_MISSING_BUILD_BACKEND_WARNING=1 PYO3_BUILD_EXTENSION_MODULE=1 PYO3_PYTHON='$(BIN)/python' \
	PYO3_ENVIRONMENT_SIGNATURE="$$(python -c 'import struct, sys; \
		print("cpython-%d.%d-%dbit" % (*sys.version_info[:2], 8 * struct.calcsize("P")))')" \
	LIBTORCH_USE_PYTORCH="$$(python -c 'import sysconfig; print(sysconfig.get_path("platlib"))')/torch";

.PHONY: help
help:  ## list the commands
	@sed -n 's/^\.PHONY: *//; s/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

.PHONY: demo
demo: $(VENV)/.installed-demo  ## set up, build and run the main job: search a ResNet-18 on real digits (ARGS="...")
	$(say) 'modularnas demo'
	@modularnas demo $(ARGS)

.PHONY: test
test: test-rust test-python  ## set up, build and run all tests, Rust and Python

.PHONY: test-rust
test-rust:  ## the Rust tests alone; they need neither torch nor Python
	$(say) 'Rust tests'
	@cargo test --no-default-features --target-dir target/rust $(locked)

.PHONY: test-python
test-python: $(VENV)/.installed-test  ## the Python tests alone, on the installed wheel (ARGS="tests/space -x")
	$(say) 'Python tests'
	@OMP_NUM_THREADS=1 PYTHONHASHSEED=0 pytest -n auto --maxprocesses 4 --dist worksteal $(ARGS)

.PHONY: test-slow
test-slow: $(VENV)/.installed-test  ## the tests marked slow and the notebooks, which `make test` leaves out
	$(say) 'slow Python tests and notebooks'
	@OMP_NUM_THREADS=1 PYTHONHASHSEED=0 pytest -n auto --maxprocesses 4 --dist worksteal -m 'slow or notebook or gpu' $(ARGS)

.PHONY: check
check: $(VENV)/.installed-test  ## formatting, lints and types; changes nothing
	$(say) 'rustfmt, clippy (pure Rust, then the extension)'
	@cargo fmt --check
	@cargo clippy --no-default-features --all-targets --target-dir target/rust $(locked) -- -D warnings
	@$(build_env) cargo clippy --release --all-targets $(locked) -- -D warnings
	$(say) 'ruff, mypy, stubtest'
	@ruff check .
	@ruff format --check .
	@mypy
	@python -m mypy.stubtest modularnas._core --mypy-config-file pyproject.toml --allowlist tests/stubtest_allowlist.txt

.PHONY: bench
bench: $(VENV)/.installed-test  ## print the benchmark figures, beside those of the rivals
	$(say) 'benchmarks'
	@OMP_NUM_THREADS=1 pytest -m benchmark -s -q $(ARGS)

.PHONY: gpu-check
gpu-check: $(VENV)/.installed-test  ## run the device tests on the wheel, as tests/gpu_check.py does on a bare machine with a GPU
	$(say) 'device tests'
	@python tests/gpu_check.py

.PHONY: wheel
wheel: $(wheel)  ## build the wheel into dist/
	@ls -1 dist/*.whl

.PHONY: develop
develop: $(VENV)/.installed-test  ## install editable, for work on the Python files; again after a change of the Rust files
	$(say) 'editable install'
	@rm -f $(VENV)/.installed-*
	@python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .

.PHONY: clean
clean:  ## remove everything that the commands above made
	rm -rf $(VENV) target dist .mypy_cache .pytest_cache .ruff_cache .hypothesis python/modularnas/_core*.so

$(env): pyproject.toml
	$(say) 'Python environment in $(VENV) (torch is 2.7 GB to download, once)'
	@command -v cargo >/dev/null || { echo 'cargo is missing: install a Rust toolchain, 1.89 or newer' >&2; exit 1; }
	@command -v c++ >/dev/null || { echo 'c++ is missing: install a C++ compiler' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo '$(PYTHON) is missing or older than Python 3.10: make PYTHON=python3.12 ...' >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@python -c 'import pathlib, sys, sysconfig; sys.exit(not pathlib.Path(sysconfig.get_path("include"), "Python.h").exists())' || \
		{ echo "Python's C headers are missing: install python3-dev" >&2; exit 1; }
	@uv --version >/dev/null 2>&1 || python -m pip install --quiet uv || echo 'no uv: pip does it, more slowly'
	@$(call install,'$(call required,maturin)' '$(call required,torch)' numpy)
	@touch $@

$(wheel): $(env) $(sources)
	$(say) 'build (some minutes the first time, seconds afterwards)'
	@rm -rf dist/*.whl
	@$(build_env) maturin build --release --out dist $(locked)
	@touch $@

# Extras by the name of the stamp.
$(VENV)/.installed-demo: extras := demo
$(VENV)/.installed-test: extras := test,lint
$(VENV)/.installed-%: $(wheel)
	$(say) 'install modularnas[$(extras)]'
	@rm -f $(VENV)/.installed-*
	@file=$$(ls dist/*.whl); \
	if uv --version >/dev/null 2>&1; then uv pip install --reinstall-package modularnas "$$file[$(extras)]"; \
	else python -m pip install --quiet --force-reinstall --no-deps "$$file"; python -m pip install "$$file[$(extras)]"; fi
	@touch $@ $(if $(findstring test,$@),$(VENV)/.installed-demo)
