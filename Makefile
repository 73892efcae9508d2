# Every target makes the virtual environment itself, and again when its inputs change. TORCH=2.4.1 asks
# for that torch, in an environment of its own.
PYTHON ?= python3
TORCH ?=
VENV := .venv$(TORCH:%=-torch-%)
REQUIREMENTS := requirements.txt
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The versions that were tested together; not where another torch or other packages are asked for.
ifeq ($(REQUIREMENTS)$(TORCH),requirements.txt)
CONSTRAINTS := constraints.txt
endif
PIP_INSTALL := $(BIN)/python -m pip install --quiet $(CONSTRAINTS:%=--constraint %)

.PHONY: install demo demo-segmentation demo-classification test test-openmmlab matrix browser style lint constraints coverage docs docs-serve clean

install: $(STAMP)

$(STAMP): $(REQUIREMENTS) $(CONSTRAINTS) setup.cfg pyproject.toml
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 10) <= v <= (3, 12) else "Python 3.10 to 3.12 is needed, this is %d.%d: try make PYTHON=python3.11 ..." % v)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) --upgrade pip
	$(PIP_INSTALL) -r $(REQUIREMENTS) $(TORCH:%=torch==%) -e '.[test]'
	touch $(STAMP)

demo: TASK = detection
demo-segmentation: TASK = segmentation
demo-classification: TASK = classification
demo demo-segmentation demo-classification: $(STAMP)
	PATH="$(CURDIR)/$(BIN):$$PATH" bash tools/demo.sh $(TASK)

# A process for each of two cores; torch's own threads would only wait for each other.
test: style browser
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

# The same with OpenMMLab's original packages in place of OneDL's.
test-openmmlab:
	$(MAKE) test VENV=.venv-openmmlab$(TORCH:%=-torch-%) REQUIREMENTS=requirements-openmmlab.txt

# LSNet in some hundred configs of mmdet, mmseg and mmpretrain: writes docs/compatibility.md.
matrix: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.matrix

# The pages of tools/report.py are tested in Chromium, which pip does not have: root gets it from
# Debian. Where it cannot be had, the tests say what to install.
browser:
	-@command -v chromedriver > /dev/null || { test "$$(id -u)" = 0 && apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends \
		chromium chromium-driver > /dev/null; }

style: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Not before the tests: what others find in a dependency does not make this code fail.
lint: style
	$(BIN)/python -m tests.audit

# The newest versions that fit requirements.txt and setup.cfg, for every Python supported. `make test`
# then tells whether they work together.
constraints: $(STAMP)
	$(PIP_INSTALL) 'uv>=0.9,<1'
	$(BIN)/uv pip compile --quiet --universal --python-version 3.10 --upgrade --no-annotate \
		--custom-compile-command 'make constraints' requirements.txt setup.cfg --extra test \
		--output-file constraints.txt

# Lines of lsnet_mm/ that the tests run, in processes of their own too.
coverage: $(STAMP) browser
	mkdir -p build/coverage
	$(BIN)/python -m coverage erase
	OMP_NUM_THREADS=1 $(BIN)/python -m coverage run -m pytest -n 2 --dist loadfile
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

# All pages anew, as warnings come only with what is read. The tests build them too.
docs: $(STAMP)
	$(BIN)/python -m sphinx -q -E -W --keep-going -d build/doctrees docs site
	@echo "Pages: $(CURDIR)/site/index.html"

docs-serve: docs
	$(BIN)/python -m http.server --directory site

clean:
	rm -rf .venv .venv-* build site work_dirs data/shapes data/shapes_ade20k data/shapes_imagenet
