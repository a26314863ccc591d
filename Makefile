# Esprit. `make demo` and `make test` each work as the first command in a new clone.

PYTHON  ?= python3
VENV    := .venv
BIN     := $(VENV)/bin
# Cases of ESP packets and replay sequences; see docs/decisions.md.
ESPRIT_VECTORS ?= ../shared/vectors
# Each test binary runs in a folder of its own.
override ESPRIT_VECTORS := $(abspath $(ESPRIT_VECTORS))
# Arguments for `esprit demo`, for instance DEMO_ARGS=--plain.
DEMO_ARGS ?=
BENCH_ARGS ?=
# Options for every trial, for instance TRIALS_ARGS='--programs DIR'; TRIALS names those that run.
TRIALS_ARGS ?=
TRIALS ?= takeover deaf falsealarm faults alb direct offload pool plain simlive
# How long `make soak` goes on, and how many random scenarios `make test` runs.
SOAK_SECONDS ?= 600
ESPRIT_SEEDS ?= 2000

export PYTHON ESPRIT_VECTORS ESPRIT_SEEDS

RUST := $(shell find crates -name '*.rs' -o -name Cargo.toml) Cargo.toml Cargo.lock

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test vectors lint bench trials soak wheel build clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

demo: needs-demo build ## the main job on namespaces that it makes itself, in under 90 s
	@$(BIN)/esprit demo $(DEMO_ARGS)

test: needs-test build ## every test: Rust, the vectors, Python
	cargo test --quiet
	@if [ -d "$(ESPRIT_VECTORS)" ] || [ -n "$${ESPRIT_CI:-}" ]; then \
		$(MAKE) --no-print-directory --silent vectors; \
	else \
		echo "vectors: not run, there is no folder $(ESPRIT_VECTORS) (name one with ESPRIT_VECTORS=)"; \
	fi
	@$(BIN)/python -m pytest

vectors: ## every case of ESPRIT_VECTORS through the code that ships
	@cargo run --quiet --release -p esprit-vectors -- "$(ESPRIT_VECTORS)"

lint: build ## ruff, mypy, stubtest, clippy, rustfmt
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	MYPYPATH=python $(BIN)/python -m mypy.stubtest esprit._native --allowlist tools/stubtest-allowlist.txt
	cargo clippy --quiet --workspace --all-targets -- -D warnings
	cargo fmt --all --check

bench: build ## what a placement costs, throughput beside the raw pair, ESP in memory beside the bare cipher
	@cargo run --quiet --release -p esprit-crypto --example placement_cost
	@cargo build --quiet --release -p rawpair -p espmem
	@$(BIN)/python -m bench $(BENCH_ARGS)

trials: build ## trials of a live team on namespaces, briefly: what is lost, and how long it takes
	@cargo build --quiet --release -p numbered
	@tools/trials.sh "$(BIN)/python" "$(TRIALS)" $(TRIALS_ARGS)

soak: build ## random scenarios in virtual time, for SOAK_SECONDS (600 if not set)
	@$(BIN)/python -m esprit.sim.soak $(SOAK_SECONDS)

wheel: $(VENV)/.packages ## a wheel for every Python from 3.11 on, in dist/
	@tools/system.sh build
	$(BIN)/maturin build --release --out dist
	@site=$$(mktemp -d) && trap 'rm -rf "$$site"' EXIT && $(BIN)/python -m pip install --quiet --no-deps \
		--disable-pip-version-check --target "$$site" "$$(ls -t dist/*.whl | head -1)" && \
		$(BIN)/python tools/installed.py "$$site"

# Asked before minutes of building, and answered in one line.
needs-%:
	@tools/system.sh $*

build: $(VENV)/.extension ## the virtual environment and the extension; does nothing twice

clean: ## remove everything that was built
	rm -rf $(VENV) target dist report python/esprit/_native*.so

$(VENV)/.packages: pyproject.toml constraints.txt tools/requirements.py
	@tools/system.sh build
	@echo "making the virtual environment $(VENV)"
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python tools/requirements.py > $(VENV)/requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --requirement $(VENV)/requirements.txt
	@touch $@

# The stamp alone does not prove that the module is still there.
ifeq ($(wildcard python/esprit/_native*.so),)
.PHONY: $(VENV)/.extension
endif
$(VENV)/.extension: $(VENV)/.packages $(RUST)
	@tools/system.sh build
	@echo "building the extension (some minutes the first time)"
	@VIRTUAL_ENV=$(abspath $(VENV)) PIP_QUIET=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
		$(BIN)/maturin develop --release --quiet
	@touch $@
