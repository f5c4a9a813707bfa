# Two commands for everybody: `make demo` and `make test`. `make check` is the rest of what CI asks; `make bench` makes a
# table of benchmarks/tables, `make publish` puts it into docs/benchmark.

PYTHON ?= python3
VENV ?= .venv
MARK ?= not slow and not gpu
TABLE ?= digits
BIN := $(VENV)/bin
export PIP_CONSTRAINT ?= $(CURDIR)/constraints/torch-cpu.txt

.PHONY: demo test check bench publish install

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

publish: bench
	mkdir -p docs/benchmark/$(TABLE)
	cp runs/$(TABLE)/results.json runs/$(TABLE)/results.md runs/$(TABLE)/results.svg docs/benchmark/$(TABLE)
	$(BIN)/python benchmarks/paper.py

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints/torch-cpu.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable . --group dev
	touch $@
