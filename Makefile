# Two commands for everybody: `make demo` and `make test`. `make check` is the rest of what CI asks; `make bench` rebuilds a
# table of benchmarks/tables.

PYTHON ?= python3
VENV ?= .venv
MARK ?= not slow and not gpu
TABLE ?= digits
BIN := $(VENV)/bin
export PIP_CONSTRAINT ?= $(CURDIR)/constraints/torch-cpu.txt

.PHONY: demo test check bench install

demo: install
	$(BIN)/unfeature demo runs/demo

test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "$(MARK)"

check: install
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install
	$(BIN)/unfeature bench benchmarks/tables/$(TABLE).toml runs/$(TABLE) --processes 2

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints/torch-cpu.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable . --group dev
	touch $@
