# The few commands a person types. `make run` on a fresh machine needs only Python 3.11+, git and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Four workers for two cores, for tests wait for servers; three leave the cores idle at times, a fifth imports too much.
PYTEST := -m pytest -n 4 --dist loadfile --no-loadscope-reorder
PINS := $(VENV)/constraints.txt
TORCH := $(shell sed -n 's/^ *"\(torch>=[^"]*\)",.*/\1/p' setup.py)
LOWEST := build/lowest
CLIENTS := build/clients
# Hundreds of processes of the tests import the same modules, which are compiled once.
test quick coverage test-lowest: export PYTHONDONTWRITEBYTECODE =

.PHONY: install run test quick clients coverage check screenshots samples bench hooks update test-lowest

install: $(VENV)/.installed
run: install
	$(BIN)/python wsgi.py $(ARGS)

test: $(VENV)/.installed-test
	$(BIN)/python $(PYTEST) $(ARGS)

# Without what starts servers or draws pictures; the options of `tests/conftest.py` say what that is. It seldom waits.
quick: $(VENV)/.installed-test
	$(BIN)/python $(PYTEST) -n 3 --quick $(ARGS)

# The real clients of tests/clients, in an environment of their own; without it their tests are skipped.
clients: $(CLIENTS)/.installed

coverage: $(VENV)/.installed-test
	$(BIN)/python $(PYTEST) --cov --cov-report=term:skip-covered $(ARGS)

check: $(VENV)/.installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy engine schemas fooocus_flask blueprints wsgi.py

# The pictures of the web page in docs/pictures, of the page as it is now.
screenshots: $(VENV)/.installed-test
	$(BIN)/python -m pytest tests/webui/test_screenshots.py --screenshots $(ARGS)

# The sample pictures of the styles that the web page shows, drawn anew by the built-in model; some minutes on two cores.
samples: install
	$(BIN)/python -m training.style_samples $(ARGS)

bench: install
	$(BIN)/python -m benchmarks

# ruff before every commit.
hooks: $(VENV)/.installed-maintain
	$(BIN)/pre-commit install

# The newest versions within the ranges of setup.py; torch pins the packages of its own builds (CUDA, triton) itself.
update: $(VENV)/.installed-maintain
	mkdir -p build
	$(BIN)/uv pip compile --quiet --upgrade --no-header --no-annotate --python-version 3.11 \
		--extra test --extra maintain --output-file build/constraints.txt setup.py
	(echo "# The versions this project is tested with; setup.py has the ranges. \`make update\` writes this file."; \
		grep -Ev '^(cuda|nvidia|triton)' build/constraints.txt) > constraints.txt

# The tests with the oldest versions that setup.py admits, in an environment of their own.
test-lowest: $(VENV)/.installed-maintain
	mkdir -p build
	$(BIN)/uv pip compile --quiet --resolution lowest-direct --python-version 3.11 \
		--extra test --output-file $(LOWEST).txt setup.py
	$(PYTHON) -m venv --clear $(LOWEST)
	$(LOWEST)/bin/pip install --quiet --disable-pip-version-check -r $(LOWEST).txt
	$(LOWEST)/bin/pip install --quiet --disable-pip-version-check --no-deps -e .
	$(LOWEST)/bin/python $(PYTEST) $(ARGS)

# The pins of this environment. A torch within the range of setup.py that was there before the first install, or is of a
# build with a label of its own (+rocm7.0, +xpu, +cu126), is the user's: it is not pinned, so that pip leaves it alone.
$(PINS): setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	@if $(BIN)/pip install --dry-run --no-index --no-deps '$(TORCH)' 2> /dev/null | grep -q '^Requirement already satisfied: torch' \
		&& { test ! -e $(VENV)/.installed || test -e $(VENV)/.own-torch || $(BIN)/pip show torch | grep -q '^Version:.*+'; }; \
	then \
		touch $(VENV)/.own-torch && grep -v '^torch==' constraints.txt > $@ && echo "torch stays as it is in $(VENV)"; \
	else \
		cp constraints.txt $@; \
	fi

$(VENV)/.installed: $(PINS)
	$(BIN)/pip install --quiet --disable-pip-version-check -c $(PINS) -e .
	touch $@

$(VENV)/.installed-%: $(VENV)/.installed $(PINS)
	$(BIN)/pip install --quiet --disable-pip-version-check -c $(PINS) -e ".[$*]"
	touch $@

$(CLIENTS)/.installed: tests/clients/requirements.txt tests/clients/constraints.txt
	$(PYTHON) -m venv --clear $(CLIENTS)
	$(CLIENTS)/bin/pip install --quiet --disable-pip-version-check -c tests/clients/constraints.txt -r $<
	touch $@
