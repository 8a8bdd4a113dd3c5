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
.PHONY: help setup build models photos demo console-demo test-console bench-console test lint deb arm64-check cuda-check cuda-try e2e e2e-pi bench soak fuzz has-faces train-demo train-bench clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

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

CONSOLE = target/console
console-demo: NPM =
console-demo: models photos ## serve the web console of a made-up door with a month behind it, until Ctrl-C
	@$(ACCESSD) demo --console --photos $(PHOTOS) --models $(MODELS) --out $(CONSOLE)/demo

# Playwright's library comes from npm, pinned by hash; the browser is the system's.
$(CONSOLE)/node/node_modules/.package-lock.json: tests/console/package-lock.json
	@mkdir -p $(CONSOLE)/node && cp tests/console/package.json tests/console/package-lock.json $(CONSOLE)/node/
	@npm ci --prefix $(CONSOLE)/node --silent --ignore-scripts

test-console: NPM += --with-browser
test-console: PROFILE = debug
test-console: models photos $(CONSOLE)/node/node_modules/.package-lock.json ## try the console in a real browser; screenshots of every page in target/console
	@cp tests/console/*.mjs $(CONSOLE)/node/
	@ACCESSD=$(ACCESSD) PHOTOS=$(PHOTOS) MODELS=$(MODELS) CONSOLE_OUT=$(CONSOLE) node --test --test-concurrency=1 $(CONSOLE)/node/*.test.mjs

# A million events are some 4300 days of this house.
DAYS = 4300
bench-console: NPM += --with-browser
bench-console: models photos $(CONSOLE)/node/node_modules/.package-lock.json ## measure the console: its pages over a million events, its memory, and the door while ten browsers watch
	@cp tests/console/*.mjs $(CONSOLE)/node/
	@ACCESSD=$(ACCESSD) PHOTOS=$(PHOTOS) MODELS=$(MODELS) CONSOLE_OUT=$(CONSOLE) DAYS=$(DAYS) node $(CONSOLE)/node/measure.mjs

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

# ARCH=arm64 packages what `scripts/arm64 build` cross-compiles; this machine's own build writes the manual pages.
ARCH ?= amd64
DEBFLAGS ?=
deb: NPM += --with-deb
deb: models ## make target/debs/accessd_VERSION_ARCH.deb (ARCH=amd64 or arm64) and let lintian look at it
	@cargo deb --version >/dev/null 2>&1 || cargo install --locked --version 3.8.0 cargo-deb
	@[ $(ARCH) != arm64 ] || scripts/arm64 build
	@scripts/deb $(ARCH) $(DEBFLAGS)
	@lintian --fail-on error,warning --suppress-tags initial-upload-closes-no-bugs target/debs/accessd_*_$(ARCH).deb

arm64-check: NPM += --with-arm64
arm64-check: PROFILE = debug
arm64-check: models photos ## build for 64-bit ARM boards, run that emulated, hold it against this machine's build
	@scripts/arm64 check

cuda-check: NPM += --with-cuda
cuda-check: setup ## compile and link the `cuda` feature without a GPU and without CUDA installed
	@scripts/cuda check

cuda-try: models photos ## on a machine with a GPU and CUDA: hold every network against the CPU, print times
	@scripts/cuda try

# The upgrade's older version is the same program under a lower number, with a database that the first migration made.
VERSION = $(shell sed -n 's/^version = "\(.*\)"$$/\1/p' Cargo.toml)-1
OLDER = 0.0.1-1
e2e: NPM += --with-vm --with-deb
e2e: models photos ## install the package in a virtual PC, wire a door to it, and try everything on it (needs root)
	@cargo build --locked --example scenes
	@$(MAKE) --no-print-directory deb DEBFLAGS="--fast --version $(OLDER)"
	@$(MAKE) --no-print-directory deb DEBFLAGS=--fast
	@tests/vm/e2e.py $(OLDER) $(VERSION)

e2e-pi: NPM += --with-vm --with-deb --with-arm64
e2e-pi: models photos ## the same on a virtual Raspberry Pi 3B, in brief (needs root)
	@cargo build --locked --example scenes
	@$(MAKE) --no-print-directory deb ARCH=arm64 DEBFLAGS=--fast
	@tests/vm/e2e_pi.py $(VERSION)

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

# Seconds for each target; some of them: make fuzz SECONDS=600 TARGETS="onnx y4m"
SECONDS = 60
TARGETS =
fuzz: setup ## feed everything that reads bytes from outside with wrong ones; prints how many
	@cargo fuzz --version >/dev/null 2>&1 || cargo install --locked --version 0.13.2 cargo-fuzz
	@scripts/fuzz $(SECONDS) $(TARGETS)

# A folder of people s1 … s40, of whom s38 to s40 are never seen in training; another set takes settings of its own.
FACES ?= ../shared/data/orl
TRAINING ?= benches/training/orl.toml
TRAINED = target/train-demo
has-faces:
	@test -d $(FACES) || { echo "no faces in $(FACES): unpack the ORL faces (AT&T Laboratories Cambridge) there, or name \
	a folder with FACES=DIR and settings that fit it with TRAINING=FILE"; exit 1; }

train-demo: has-faces build ## train the classic Siamese network on the ORL faces for 5 and for 30 epochs; curves in target/train-demo
	@rm -rf $(TRAINED) && mkdir -p $(TRAINED)
	@for n in 5 30; do echo "$$n epochs:"; \
	$(ACCESSD) --config $(TRAINING) train --data $(FACES) --epochs $$n --out $(TRAINED)/$$n-epochs || exit 1; echo; done
	@$(ACCESSD) eval curves $(TRAINED)/5-epochs $(TRAINED)/30-epochs --out $(TRAINED)/loss.svg

TORCH = target/peer/venv
$(TORCH)/bin/python: benches/training/requirements.txt | setup
	@python3 -m venv $(TORCH)
	@$(TORCH)/bin/pip install --quiet --disable-pip-version-check --requirement benches/training/requirements.txt
	@touch $@

# A test that can tell more: make train-bench UNSEEN=10 SEEDS=12. RESUME=--resume goes on where it was cut off.
UNSEEN = 3
SEEDS = 3
RESUME =
train-bench: has-faces build $(TORCH)/bin/python ## set training beside PyTorch, in turn: seconds an epoch and EER for three seeds
	@$(TORCH)/bin/python benches/training/compare.py --accessd $(ACCESSD) --data $(FACES) --out target/peer \
	--unseen $(UNSEEN) --seeds $(SEEDS) $(RESUME)

clean: ## remove everything that was built or fetched
	@cargo clean
