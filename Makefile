# The commands of this project; `make` alone lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
# Options for pip, e.g. an index with another build of PyTorch: make setup PIP_ARGS="--extra-index-url ..."
PIP_ARGS ?=
READY := $(VENV)/.ready
DEMO := $(CURDIR)/outputs/demo
RUN := cd bundle && $(BIN)/python -W ignore -m monai.bundle run

# Threads that spin while they wait make a machine that is busy otherwise ten times slower.
export OMP_WAIT_POLICY ?= PASSIVE

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-full test-hdbet test-package lint bench package weights openneuro \
    demo-data demo-report demo-training demo-evaluation demo-inference demo-registration demo-figure

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## */\t/' | expand -t 14

# openneuro-py brings urllib3-future, whose wheel overwrites urllib3 for all packages; built so, it does not.
KEEP_URLLIB3 = URLLIB3_NO_OVERRIDE=1 PIP_NO_BINARY=urllib3-future

setup: $(READY)  ## make .venv from constraints.txt

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || { echo "$$($(PYTHON) --version): expected 3.11 or newer." \
	    "Name one: make setup PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(KEEP_URLLIB3) $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e ".[dev]"
	touch $@

# Networks this small gain nothing from a second thread: two steps at a time use the cores better.
demo: setup  ## phantom dataset, training, inference, and a report of the evaluation, in five to seven minutes
	@OMP_NUM_THREADS=1 $(MAKE) --no-print-directory -j2 demo-figure

demo-data:
	$(BIN)/python -m data_prep phantom $(DEMO)/data --subjects 6 --seed 0

demo-report: demo-data
	$(BIN)/python -m data_prep report $(DEMO)/data

demo-training: demo-data
	$(RUN) training --config_file "['configs/train.json','configs/demo.json']" \
	    --dataset_dir $(DEMO)/data --output_dir $(DEMO)/run --resume true

demo-evaluation: demo-training
	$(RUN) evaluate --config_file "['configs/train.json','configs/demo.json','configs/evaluate.json']" \
	    --dataset_dir $(DEMO)/data --output_dir $(DEMO)/run --segmenter_steps 40 --unpaired_slices 32

# Of one held-out subject: a synthetic T2w, and its real one on the T1w's grid beside it.
SUBJECT = $(shell awk -F'\t' '$$4 == "test" { sub("phantom_", "", $$1); print $$1; exit }' \
    $(DEMO)/data/subjects.tsv)
DEMO_SCANS = $(DEMO)/data/bids/phantom/$(SUBJECT)/anat/$(SUBJECT)
SYNTHETIC = $(DEMO)/synthetic/$(SUBJECT)_space-T1w

demo-inference: demo-training
	$(RUN) inference --config_file configs/inference.json --features 16 --upsampling transposed \
	    --models_dir $(DEMO)/run --input $(DEMO_SCANS)_T1w.nii.gz --output_dir $(DEMO)/synthetic

demo-registration: demo-data
	test -f $(SYNTHETIC)_T2w.nii.gz || $(BIN)/python -m data_prep register $(SYNTHETIC)_T2w.nii.gz \
	    --fixed $(DEMO_SCANS)_T1w.nii.gz --moving $(DEMO_SCANS)_T2w.nii.gz

demo-figure: demo-report demo-evaluation demo-inference demo-registration
	@echo $(DEMO)/run/evaluation/report.html
	cd bundle && $(BIN)/python -m scripts.figure comparison $(DEMO)/comparison.png \
	    --t1w $(DEMO_SCANS)_T1w.nii.gz --t2w $(SYNTHETIC)_T2w.nii.gz \
	    --synthetic $(SYNTHETIC)_desc-synthetic_T2w.nii.gz --label "simulated head, held out"

# One thread each: two that share a core wait for each other most of the time. In the order of tests/conftest.py.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile \
    --no-loadscope-reorder

test: setup  ## the tests, without those that take long
	$(PYTEST)

test-full: setup  ## all tests that run without the extra hdbet
	$(PYTEST) -m "not hdbet and not environment"

test-hdbet: setup  ## install the extra hdbet (160 MB) and run HD-BET's real code on constructed weights
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e ".[hdbet]"
	$(BIN)/python -m pip uninstall --quiet --yes torchvision
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m hdbet

test-package: setup  ## run the packaged bundle in an empty environment of the packages that metadata.json names
	PIP_ARGS="$(PIP_ARGS)" $(BIN)/python -m pytest -m environment

# The folder that training wrote, and the sizes of its networks where they are not the usual ones:
# make package MODELS=outputs/demo/run PACKAGE_OPTIONS="--features 16 --upsampling transposed"
MODELS ?= bundle/models
PACKAGE_OPTIONS ?=

package: setup  ## write outputs/package: the bundle with MODELS=folder for the MONAI Model Zoo, and its archive
	cd bundle && $(BIN)/python -m scripts.package $(CURDIR)/outputs/package --models_dir $(abspath $(MODELS)) \
	    --overwrite true $(PACKAGE_OPTIONS)

lint: setup  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The shipped weights: run/model*.pt is what bundle/models holds, run/discriminators what bundle/discriminators.
# MAPS: folder of SynthSeg's label maps. SCANS: BIDS folders of real pairs to measure on, commas between, with
# SCAN_OPTIONS such as "--brain_extraction A=none,B=deepbet --groups groups.tsv".
WEIGHTS ?= outputs/weights
WEIGHTS_DIR = $(abspath $(WEIGHTS))
SESSIONS ?= 3
MAPS_LICENCE ?= Apache-2.0 (BBillot/SynthSeg, data/training_label_maps)
TRAINING_OPTIONS ?=
EVALUATE = evaluate --config_file "['configs/train.json','configs/evaluate.json']" $(TRAINING_OPTIONS)

weights: setup  ## MAPS=folder [SCANS=A,B]: simulate scans of labelled heads, train what models/ holds, measure it
	@test -n "$(MAPS)" || { echo 'MAPS is missing: make weights MAPS=folder of label maps'; exit 2; }
	$(BIN)/python -m data_prep labels $(MAPS) $(WEIGHTS_DIR)/heads --sessions $(SESSIONS) --licence "$(MAPS_LICENCE)" \
	    || test $$? -eq 3
	$(RUN) training --config_file "['configs/train.json','configs/recipes/paired.json','configs/recipes/simulated_pairs.json']" \
	    --dataset_dir $(WEIGHTS_DIR)/heads --output_dir $(WEIGHTS_DIR)/run --resume true $(TRAINING_OPTIONS)
	$(RUN) $(EVALUATE) --dataset_dir $(WEIGHTS_DIR)/heads --output_dir $(WEIGHTS_DIR)/run
	@test -z "$(SCANS)" || $(MAKE) --no-print-directory weights-on-scans
	sha256sum $(WEIGHTS_DIR)/run/model*.pt $(WEIGHTS_DIR)/run/discriminators/*.pt

weights-on-scans: setup
	$(BIN)/python -m data_prep bids $(WEIGHTS_DIR)/scans --inputs $(SCANS) $(SCAN_OPTIONS) || test $$? -eq 3
	$(RUN) $(EVALUATE) --dataset_dir $(WEIGHTS_DIR)/heads --output_dir $(WEIGHTS_DIR)/run \
	    --evaluated_dir $(WEIGHTS_DIR)/scans --evaluated_split all --evaluation_dir $(WEIGHTS_DIR)/run/evaluation_scans

# With a GPU and the network. OPENNEURO_OPTIONS go to data_prep, TRAINING_OPTIONS to training and evaluation.
OPENNEURO ?= outputs/openneuro
OPENNEURO_DIR = $(abspath $(OPENNEURO))
OPENNEURO_OPTIONS ?=

openneuro: setup  ## five datasets from OpenNeuro, 31 GB, to weights and their figures, on a machine with a GPU
	$(BIN)/python -m data_prep openneuro $(OPENNEURO_DIR)/data --clean $(OPENNEURO_OPTIONS) || test $$? -eq 3
	$(BIN)/python -m data_prep report $(OPENNEURO_DIR)/data
	$(RUN) training --config_file configs/train.json --dataset_dir $(OPENNEURO_DIR)/data \
	    --output_dir $(OPENNEURO_DIR)/run --resume true $(TRAINING_OPTIONS)
	$(RUN) $(EVALUATE) --dataset_dir $(OPENNEURO_DIR)/data --output_dir $(OPENNEURO_DIR)/run

bench: setup  ## measure what tests/benchmarks claims and write outputs/bench.json
	$(BIN)/python -m tests.benchmarks outputs/bench.json
