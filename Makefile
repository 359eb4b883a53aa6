# Every target works alone on a fresh clone: it first prepares what is missing, and reuses the rest.
#   PYTHON      creates .venv; 3.11 or newer
#   PYTEST      more arguments for pytest, such as PYTEST="-k adapter -x"
#   IDENTITIES  how many people the demo trains
#   FULL        1 for the whole ablation study
#   KNOWN       ablations.json of an earlier run, which the study then goes on with
#   WORKERS     processes that share the ablation study
#   SEED        which people those are, and all of the demo's noise
PYTHON ?= python3
PYTEST ?=
IDENTITIES ?= 1
SEED ?= 0
FULL ?=
KNOWN ?=
WORKERS ?= 2
RUN := .venv/bin/python

.PHONY: help setup test test-browser screenshots demo gradients faces ablations bench cost clean
help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## prepare .venv and a ComfyUI (the one around this folder, else $COMFYUI_PATH, else a download)
	@$(PYTHON) -m tools.bootstrap

test: setup ## run the tests against the real ComfyUI
	@$(RUN) -P -m pytest tests $(PYTEST)

test-browser: setup ## run the tests in a headless Chromium (on Debian, as root, it installs one)
	@$(RUN) -m tools.pictures.chromium
	@$(RUN) -P -m pytest tests_browser $(PYTEST)

screenshots: setup ## take the pictures of docs/ and the thumbnails of workflows/ again
	@$(RUN) -m tools.pictures.chromium
	@$(RUN) -m tools.pictures.screenshots

demo: setup ## train an identity, sample before and after: see output/demo/ (IDENTITIES=1 SEED=0)
	@$(RUN) -m tools.run_demo --identities $(IDENTITIES) --seed $(SEED)

gradients: setup ## gradients of every model family against finite differences: see benchmarks/results/gradients.json
	@$(RUN) -m benchmarks.gradients

faces: setup ## face models, photos and the semantic reward against their oracles: see benchmarks/results/faces.json
	@$(RUN) -m benchmarks.faces.faces

ablations: setup ## the paper's ablations on the demo world: see output/ablations/ (FULL=1 WORKERS=2)
	@$(RUN) -m benchmarks.ablations.ablations --workers $(WORKERS) $(if $(FULL),--full) $(if $(KNOWN),--known $(KNOWN))

bench: setup ## speed and memory against the paper's loop: see benchmarks/results/speed.json (about 15 minutes)
	@$(RUN) -m benchmarks.speed.speed

cost: setup ## operations, hours and memory of one person in every family: see benchmarks/results/cost.json (about 15 minutes)
	@$(RUN) -m benchmarks.cost.cost

clean: ## remove .venv, .host and output
	rm -rf .venv .host output
