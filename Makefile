# make train   an environment in .venv, then ResNet18 on RAF-DB if it is here, else on drawn faces
# make test    the same environment and the whole test suite, after ruff and mypy
# make check   ruff, mypy, options, and one epoch of every script: a minute, for everyday work
# make results six models, three seeds each, and the studies of two, on RAF-DB; goes on where it was stopped
# More options go in ARGS: make train ARGS="--epochs 20 --seed 1", make results ARGS="--clone ../campaign"

PYTHON ?= python3
ARGS ?=
BIN = .venv/bin
CACHED = $${TORCH_HOME:-$${XDG_CACHE_HOME:-$$HOME/.cache}/torch}/hub/checkpoints/resnet18-f37072fd.pth

.PHONY: train test check style results

train: .venv/ready
	@if [ -d raf-db-dataset ] || [ -f raf-db-dataset.zip ]; then \
		if [ -f "$(CACHED)" ]; then weights=imagenet; else weights=none; fi; \
		$(BIN)/python train_ResNet.py --weights $$weights $(ARGS); \
	else \
		echo "RAF-DB is not here, so this trains on drawn faces: it shows that everything works, and says nothing"; \
		echo "about real faces. To get RAF-DB run setup_dataset.ipynb, or download the zip of"; \
		echo "kaggle.com/datasets/shuvoalok/raf-db-dataset and put it here as raf-db-dataset.zip."; \
		$(BIN)/python train_ResNet.py --data synthetic --weights none --image-size 48 --epochs 6 --overwrite $(ARGS); \
	fi

results: .venv/ready
	$(BIN)/python study.py campaign $(ARGS)

test: style
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

check: style
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 tests/test_cli.py tests/test_scripts.py $(ARGS)

style: .venv/ready-dev
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy --no-error-summary

.venv/ready: requirements.txt
	@command -v $(PYTHON) >/dev/null || \
		{ echo "There is no $(PYTHON) here; install Python 3.10 or newer, or try: make train PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "This suite needs Python 3.10 or newer; $$($(PYTHON) --version 2>&1) is too old. Try: make train PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check -q -r requirements.txt
	@touch $@

.venv/ready-dev: requirements-dev.txt .venv/ready
	$(BIN)/python -m pip install --disable-pip-version-check -q -r requirements-dev.txt
	@touch $@
