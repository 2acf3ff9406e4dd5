# City Fleet: every command of this repository. `make help` lists them.
#
# The environments .venv, .venv-image and .venv-import are made on first use; all that is needed is git, make and Python 3.11-3.13.

.DEFAULT_GOAL := help
SHELL := /bin/sh
MAKEFLAGS += --no-print-directory
# Another project's modules may have the names of ours.
unexport PYTHONPATH PYTHONHOME
# Images of containers like to set it; then each of the many processes of a stack or a test compiles all of Airflow anew.
unexport PYTHONDONTWRITEBYTECODE

# Settings, as `make demo CITIES=austin,waco`.
PYTHON ?=
CITIES ?=
FLEET ?=
AS_OF ?=
UI_PORT ?= 8080
SAGEMAKER_PORT ?= 8585
PORT ?= 8686
CORS_ORIGINS ?=
FRESH ?=
DB ?=
EXECUTOR ?=
AIRFLOW ?=
WORKERS ?=
ARGS ?=
EXAMPLES ?= 3000
MINUTES ?= 2
N ?= 50
SEED ?= 0

# Whatever Python there is may start the bootstrap; it then looks for one that suits.
STARTER = $(firstword $(foreach name,python3 python3.13 python3.12 python3.11 python $(PYTHON),$(shell command -v $(name) 2>/dev/null)))
BIN = .venv/bin
STACK = $(BIN)/python -m local.stack

##@ Run it

demo: environments ## Five cities from raw data to a served model [CITIES=austin,waco|all FLEET= AS_OF=]
	@$(STACK) demo --cities "$(CITIES)" --fleet "$(FLEET)" --as-of "$(AS_OF)"

demo-scale: environments ## A model for each of thousands of synthetic customers, on one endpoint [N=10000]
	@$(STACK) demo-scale $(if $(filter-out file,$(origin N)),--customers "$(N)")

up: environments ## Start the local SageMaker and Airflow and leave them running [UI_PORT= SAGEMAKER_PORT= FLEET= FRESH=1 DB=postgres EXECUTOR=celery WORKERS=2]
	@$(STACK) up --ui-port "$(UI_PORT)" --sagemaker-port "$(SAGEMAKER_PORT)" --fleet "$(FLEET)" \
	  --db "$(DB)" --executor "$(EXECUTOR)" --workers "$(WORKERS)" $(if $(FRESH),--fresh)

down: environments ## Stop what `make up` has started
	@$(STACK) down

status: environments ## Say what runs, where its logs are, and how much memory it takes
	@$(STACK) status

serve: environments ## Answer predictions over HTTP, as the Lambda function does, against `make up` [FLEET= PORT= CORS_ORIGINS=]
	@$(STACK) serve --fleet "$(FLEET)" --port "$(PORT)" --cors-origins "$(CORS_ORIGINS)"

env: ## Print the environment of `make up` for your shell: eval "$$(make env)"
	@$(MAKE) environments 1>&2
	@$(STACK) env

##@ Work on it

quick: environments ## Run the tests that need nothing but their own process: half a minute [ARGS="-k gate"]
	@$(BIN)/python -m pytest -q -n 2 tests/quick $(ARGS)

test: environments ## Run all tests [ARGS="-k gate"]
	@$(BIN)/python -m pytest -n 2 $(ARGS)

check: environments lint types imports check-golden check-docs ## Run all checks; CI runs this and `make test`

lint: environments ## Check style and formatting (ruff)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: environments ## Check types (mypy)
	@$(BIN)/mypy

imports: environments ## Check which module may import which (import-linter)
	@PYTHONPATH=.:plugins:include $(BIN)/lint-imports

check-golden: environments ## Check that the requests to AWS are those in tests/golden
	@$(BIN)/python -m pytest -q tests/quick/city_fleet/jobs/test_job_requests.py tests/quick/city_fleet/infrastructure/test_template.py

check-docs: environments ## Check the fleet files, their schema, and what the documentation links to
	@./fleet lint
	@./fleet schema --check
	@$(BIN)/python -m local.sagemaker.reference --check
	@$(BIN)/python -m pytest -q tests/quick/docs

golden: environments ## Write tests/golden anew; look at the difference before you commit it
	@UPDATE_GOLDEN=1 $(BIN)/python -m pytest -q tests/quick/city_fleet/jobs/test_job_requests.py tests/quick/city_fleet/infrastructure/test_template.py

calls: environments ## Record anew what the code asks of AWS, from the tests that run it: tests/golden/calls.json
	@rm -f tests/golden/calls.json
	@CITY_FLEET_RECORD_CALLS=1 $(BIN)/python -m pytest -q -n 0 tests/airflow/test_calls.py tests/service/lambda/test_bundle.py \
	  $(addprefix tests/service/city_fleet/,approval champions/test_moves.py data retiring state/test_known_copies.py jobs/test_reaper.py \
	  orchestration/test_paid_once.py \
	  orchestration/test_whose_installation.py::test_an_endpoint_name_set_by_hand_does_not_take_over_anothers)

images: environments ## Write the table of managed images anew from the SageMaker SDK's; look at the difference
	@PYTHONPATH=.:plugins $(BIN)/python -m local.stack.image_table

openapi: environments ## Write include/lambda/predict/openapi.json from the code
	@PYTHONPATH=plugins $(BIN)/python -m city_fleet.prediction.openapi > include/lambda/predict/openapi.json

lambda: environments ## Pack the Lambda functions into dist/, ready for `aws lambda`
	@$(BIN)/python include/lambda/bundle.py

wheel: ## Build the wheel that an Airflow installs, into dist/ (docs/install.md)
	@uv=$$($(STARTER) local/stack/bootstrap.py --python "$(PYTHON)" --print-uv) && rm -f dist/*.whl && \
	  UV_PYTHON_DOWNLOADS=never $$uv build --quiet --wheel --out-dir dist . && ls dist/*.whl

package: environments wheel ## Pack City Fleet and its fleet files for Amazon MWAA, into dist/mwaa/ (docs/install/mwaa.md) [AIRFLOW=3.3.1]
	@PYTHONPATH=.:plugins $(BIN)/python -m local.stack.mwaa_package --wheel dist/city_fleet-*.whl --airflow "$(AIRFLOW)"

test-install: environments ## Walk every path of docs/install.md in an environment like the official image's: some minutes
	@CITY_FLEET_TEST_INSTALL=1 $(BIN)/python -m pytest -q -n 0 tests/e2e/test_install.py $(ARGS)

test-lost-database: environments ## Lose Airflow's database, at rest and in mid-night, and go on: some minutes
	@CITY_FLEET_TEST_LOST_DATABASE=1 $(BIN)/python -m pytest -q -n 0 \
	  tests/e2e/test_lost_database.py tests/e2e/test_lost_state.py $(ARGS)

test-celery: environments ## Six cities on PostgreSQL and Celery; a worker and a triggerer are killed: some minutes
	@CITY_FLEET_TEST_CELERY=1 $(BIN)/python -m pytest -q -s -n 0 tests/e2e/test_celery.py $(ARGS)

test-lineage: environments ## Follow raw data to the endpoint in events of Airflow's OpenLineage provider: some minutes
	@uv=$$($(STARTER) local/stack/bootstrap.py --python "$(PYTHON)" --print-uv) && \
	  $$uv pip install --quiet --no-deps --require-hashes --target .local/test-lineage --python $(BIN)/python -r requirements/lineage.lock
	@CITY_FLEET_TEST_LINEAGE=.local/test-lineage $(BIN)/python -m pytest -q -n 0 tests/e2e/test_lineage_events.py $(ARGS)

test-tutorial: environments notebook-environment ## Type every command of docs/tutorial.md and docs/own-a-model.md, in a copy: some minutes
	@CITY_FLEET_TEST_TUTORIAL=1 $(BIN)/python -m pytest -q -n 0 tests/e2e/test_tutorial.py $(ARGS)

test-long: environments ## Run what `make test` leaves out because it takes minutes, and nothing else [ARGS="-k clear"]
	@CITY_FLEET_TEST_LONG=1 $(BIN)/python -m pytest -n 2 -m long $(ARGS)

airflow-pictures: environments ## Take the pictures of Airflow in docs/pictures anew, from the stack of `make up`; needs Chromium
	@PYTHONPATH=.:plugins $(BIN)/python -m tests.support.airflow_pictures $(ARGS)

docs-local: environments ## Write the table of operations in docs/internals/local-sagemaker.md from the code
	@$(BIN)/python -m local.sagemaker.reference

fuzz: environments ## Send hostile requests to the local SageMaker for some minutes [ARGS="--hypothesis-seed=1"]
	@FUZZ_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest -q -s tests/service/local_sagemaker/test_fuzz.py $(ARGS)

chaos: environments ## Strike Airflow's processes and AWS N times while cities train: JSON [N=50 SEED=drawn ARGS=--nights 10]
	@PYTHONPATH=.:plugins $(BIN)/python -m tests.e2e.chaos --n "$(N)" --seed "$(if $(filter-out file,$(origin SEED)),$(SEED))" $(ARGS)

mutations: environments ## Make N small changes in a copy, and count those that `make quick` notices: JSON [N=60 SEED=1]
	@$(BIN)/python bench/mutations.py --n "$(N)" --seed "$(SEED)" $(ARGS)

format: environments ## Format the code and fix what can be fixed
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench-local: environments ## Measure the local SageMaker: JSON [ARGS="--jobs 5"]
	@$(BIN)/python bench/local_sagemaker.py $(ARGS)

bench-api: environments ## Measure what is asked of SageMaker's control plane: JSON [ARGS="--tasks 100"]
	@$(BIN)/python bench/control_plane.py $(ARGS)

bench-serving: environments ## Measure the model server beside its peers: JSON [ARGS="--only ours,fastapi"]
	@$(BIN)/python bench/serving.py $(ARGS)

bench-by-name: environments ## Measure what a forecast by a city's name takes, beside one by features: JSON [ARGS="--calls 200"]
	@PYTHONPATH=.:plugins $(BIN)/python bench/by_name.py $(ARGS)

bench-observers: environments ## Measure what it takes to count and keep predictions, beside not to: JSON [ARGS="--rounds 30"]
	@PYTHONPATH=.:plugins $(BIN)/python bench/observers.py $(ARGS)

bench-canary: environments ## Ask 10,000 times whether a canary gets its share: JSON [ARGS="--calls 500 --share 0.3"]
	@PYTHONPATH=.:plugins $(BIN)/python bench/canary_share.py $(ARGS)

bench-models: environments ## Measure how good the models are, beside other ways to make them: JSON [ARGS="--panels all --cities 0"]
	@$(BIN)/python bench/models.py $(ARGS)

bench-intervals: environments ## Measure how often intervals cover what happens, beside ETS: JSON [ARGS="--panels texas"]
	@$(BIN)/python bench/intervals.py $(ARGS)

bench-decay: environments ## Measure how well live errors are noticed, beside river: JSON [ARGS="--series 10"]
	@PYTHONPATH=.:plugins $(BIN)/python bench/live_errors.py $(ARGS)

bench-walks: environments ## Measure how often models of chance alone go live, beside models that should: JSON [ARGS="--walks 8"]
	@$(BIN)/python bench/random_walks.py $(ARGS)

bench-bodies: environments ## Measure how long others wait while bodies of 6 MB are evaluated: JSON [ARGS="--rounds 1"]
	@$(BIN)/python bench/large_bodies.py $(ARGS)

screenshots: environments ## Take pictures of the pages inside Airflow for the documentation
	@PYTHONPATH=.:plugins $(BIN)/python bench/screenshots.py $(ARGS)

bench-page: environments ## Measure the pages inside Airflow: JSON [ARGS="--cities 46 1000"]
	@PYTHONPATH=.:plugins $(BIN)/python bench/page.py $(ARGS)

bench-status: environments ## Measure what it costs to know how a fleet is: JSON [ARGS="--cities 1000"]
	@PYTHONPATH=plugins $(BIN)/python bench/fleet_status.py $(ARGS)

bench-try: environments ## Measure how long a trial at the desk takes: JSON [ARGS="--city dallas"]
	@$(BIN)/python bench/trial_time.py $(ARGS)

bench-cohort: environments ## Measure what one job of many cities saves, beside three jobs of each: JSON [ARGS="--cities 100"]
	@PYTHONPATH=.:plugins $(BIN)/python bench/cohort_job.py $(ARGS)

bench-engines: environments ## Measure SQLite, PostgreSQL and Celery beneath the same night: JSON [ARGS="--dags 10"]
	@PYTHONPATH=.:plugins $(BIN)/python bench/engines.py $(ARGS)

bench-database: environments ## Measure Airflow's own pages over thousands of DAGs: JSON [ARGS="--dags 1000 --unpause"]
	@PYTHONPATH=.:plugins $(BIN)/python bench/database.py $(ARGS)

bench-night: environments ## Measure real nights of 46 and 92 cities on the whole stack, some hours: JSON [ARGS="--only each-46"]
	@PYTHONPATH=.:plugins $(BIN)/python bench/night.py $(ARGS)

bench-nights: environments ## Reckon and simulate nights of many cities: JSON [ARGS="--cities 1000 --table --pictures"]
	@uv=$$($(STARTER) local/stack/bootstrap.py --python "$(PYTHON)" --print-uv) && \
	  $$uv pip install --quiet --require-hashes --target .local/bench-nights -r bench/requirements-night.txt && \
	  PYTHONPATH=plugins:.local/bench-nights $(BIN)/python bench/nights.py $(ARGS)

bench-parse: environments ## Measure what reading the DAG files costs, beside its peers: JSON [ARGS="--files --cities 10000"]
	@uv=$$($(STARTER) local/stack/bootstrap.py --python "$(PYTHON)" --print-uv) && \
	  $$uv pip install --quiet --no-deps --target .local/bench-parse --python $(BIN)/python -r bench/requirements-parse.txt
	@PYTHONPATH=plugins:.local/bench-parse $(BIN)/python bench/parse.py $(ARGS)

flips: environments ## Damage N artifacts, make their digests right, and load each into the model server [N=50 SEED=0]
	@ARTIFACT_FLIPS="$(N)" ARTIFACT_SEED="$(SEED)" $(BIN)/python -m pytest -q -s -n0 -k flipped \
	  tests/service/model_server/test_hostile_artifacts.py $(ARGS)

soak: environments ## Some minutes of mixed load for the model server [MINUTES=30]
	@SOAK_SECONDS=$$(($(MINUTES) * 60)) $(BIN)/python -m pytest -q -s -n0 tests/service/model_server/test_soak.py

deployment-secrets: environments ## Draw the secrets of docker-compose.production.yaml into secrets/
	@$(BIN)/python -m local.stack.deployment_secrets secrets

##@ Environments

environments: ## Make or update .venv, .venv-image and .venv-import [PYTHON=python3.12]
ifeq ($(STARTER),)
	@echo "make: City Fleet needs Python 3.11, 3.12 or 3.13, and there is no python3 here. Install one" \
	      "(on Debian or Ubuntu: apt-get install python3), or name it: make PYTHON=/path/to/python3.12" >&2; exit 1
else
	@$(STARTER) local/stack/bootstrap.py --python "$(PYTHON)"
endif

notebook-environment: ## Make or update .venv-notebook, in which notebooks of `./fleet try --notebook` run
	@$(STARTER) local/stack/bootstrap.py --python "$(PYTHON)" --notebook

# What production installs comes from requirements.txt without its tests; dev.lock is held to the same versions. Every
# package has its hashes: uv and pip refuse a file that has another one.
COMPILE = pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-emit-find-links --custom-compile-command "make lock"
LOCK = $(COMPILE) --overrides requirements/overrides.txt
lock: ## Choose the newest versions that the requirements allow and write all locks, with hashes
	@uv=$$($(STARTER) local/stack/bootstrap.py --python "$(PYTHON)" --print-uv) && \
	  $$uv $(LOCK) --upgrade requirements/dev.txt --output-file requirements/dev.lock && \
	  grep -v '^pytest' requirements.txt | $$uv $(LOCK) --constraint requirements/dev.lock - --output-file requirements/production.lock && \
	  $$uv $(COMPILE) --upgrade requirements/image.txt --output-file requirements/image.lock && \
	  $$uv $(COMPILE) --upgrade include/importer/requirements.txt --output-file requirements/import.lock && \
	  $$uv $(COMPILE) --upgrade --overrides requirements/notebook-overrides.txt requirements/notebook.txt \
	    --output-file requirements/notebook.lock && \
	  $$uv $(COMPILE) --upgrade include/model_server/requirements.txt --output-file include/model_server/requirements.lock && \
	  $$uv $(COMPILE) --no-deps requirements/lineage.txt --output-file requirements/lineage.lock && \
	  $$uv $(COMPILE) requirements/uv.txt --output-file requirements/uv.lock

base-images: environments ## Write the digests that the base images' tags have now into the Dockerfiles (needs docker)
	@$(BIN)/python -m local.stack.base_images

lock-image: ## Choose the newest versions of what stands for the official image of Airflow in tests
	@uv=$$($(STARTER) local/stack/bootstrap.py --python "$(PYTHON)" --print-uv) && cd tests/support/official_image && \
	  $$uv pip compile --quiet --universal --no-annotate --python-version 3.11 --no-emit-index-url --no-emit-find-links \
	  --custom-compile-command "make lock-image" --upgrade requirements.txt --output-file requirements.lock

clean: ## Remove the last demo, caches and build leftovers; the environments and what `make up` keeps stay
	rm -rf dist .local/demo .local/cache .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

help: ## List the commands
	@awk 'BEGIN {FS = ":.*## "} \
	  /^##@/ {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST) | sed 's/\$$\$$/$$/g'

# All of them: none makes a file of its name.
.PHONY: $(shell sed -n 's/^\([a-z-]*\):.*\#\#.*/\1/p' $(firstword $(MAKEFILE_LIST)))
