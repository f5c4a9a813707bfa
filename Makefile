# Two commands for everybody: `make demo` and `make test`. `make check` is the rest of what CI asks.

PYTHON ?= python3
VENV ?= .venv
MARK ?= not slow and not gpu
BIN := $(VENV)/bin
export PIP_CONSTRAINT ?= $(CURDIR)/constraints/torch-cpu.txt

.PHONY: demo test check install

demo: install
	$(BIN)/unfeature demo runs/demo

test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "$(MARK)"

check: install
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints/torch-cpu.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable . --group dev
	touch $@
