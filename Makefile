# Every target works alone in a fresh clone: it sets up .venv first.
PYTHON ?= python3
BIN := .venv/bin
# Tests share the cores; four processes at most, since each holds its own models.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal
LINTED := src tests benchmarks examples docs/screenshots.py
# Old versions fail where models, tokenizers, files and requests are read; these tests pass through all of it.
FLOOR_TESTS := tests/test_older_files.py tests/subject tests/dictionary tests/attribution/test_trace.py tests/cli/test_cli.py
# Not those whose stand-in tensors old libraries refuse, nor the words in which transformers describes a faulty configuration.
FLOOR_TESTS += --ignore=tests/subject/test_devices.py --ignore=tests/dictionary/test_devices.py \
	--deselect=tests/subject/test_loading.py::test_a_faulty_configuration_is_refused_for_its_fault
# Shapes and types of every call are checked (jaxtyping, beartype) but in these tests, which run Clew as its users do or
# call what others call as well: the checks take half of the time.
AS_USERS := tests/cli tests/web tests/organism tests/test_docs.py tests/test_examples.py tests/test_smollm2_page.py
AS_USERS += tests/agents tests/features tests/harvest tests/labels tests/runs tests/search
AS_USERS += tests/files tests/kit tests/test_devices.py tests/test_older_files.py tests/subject/test_dtypes.py
AS_USERS += $(addprefix tests/subject/test_,packaged.py subject.py)
AS_USERS += $(addprefix tests/attribution/test_,effects.py neuron_graphs.py partial_dictionaries.py prediction.py sweep.py trace.py)
AS_USERS += $(addprefix tests/intervention/test_,audit.py curves.py generate.py hop_skipping.py) tests/studies
AS_USERS += $(addprefix tests/training/test_,batch_topk.py effects.py finetune.py resume.py trainer.py) tests/intervention/test_run.py
UNCHECKED := --override-ini addopts="-ra --import-mode=importlib --strict-markers"
# Where marked tests are: to collect all of the others takes as long as they do.
ALONE = $(shell grep -rlE 'mark\.alone\b' tests --include=*.py)
LONG = $(shell grep -rlE 'mark\.(long|peer)\b' tests --include=*.py)
PROMPT ?= The capital of France is
export HF_HUB_OFFLINE = 1
export TOKENIZERS_PARALLELISM = false
export OMP_WAIT_POLICY = PASSIVE
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: check-kernels check-stress install page page-check demo test quick docs check-long check-floors lint types format mutants bench-trace bench-generate bench-audit bench-rankings bench-smollm2 bench-train bench-plan bench-frontier bench-harvest bench-page bench-scale clean

install: .venv/installed

.venv/installed: pyproject.toml requirements.lock requirements-torch.lock
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-compile --no-deps --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-compile --requirement requirements-torch.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

# The page is built with Node 20 into src/clew/web/static, which is committed: using Clew needs no Node.
page:
	cd web && npm ci && npm run build

page-check:
	cd web && npm ci && npm run lint && npm run format:check && npm run api && npm test && npm run types && npm run build
	git diff --exit-code -- src/clew/web/static web/src/api.d.ts
	test -z "$$(git ls-files --others --exclude-standard src/clew/web/static)"

demo: install
	$(BIN)/clew explain "$(PROMPT)"
	$(BIN)/clew trace "$(PROMPT)" --html demo.html

test: install lint types
	$(PYTEST) -m "not long and not stress and not peer and not alone" $(addprefix --ignore=,$(AS_USERS))
	$(PYTEST) $(UNCHECKED) -m "not long and not stress and not peer and not alone" $(AS_USERS)
	$(BIN)/python -m pytest $(UNCHECKED) -m "alone and not long and not stress" $(ALONE)

# Before a commit: what the change touches, stopped after a minute. What it had no time for, make test runs.
quick: install lint types
	@chosen="$$($(BIN)/python tests/changed.py)"; test -n "$$chosen" || { echo "no tests of what changed"; exit 0; }; \
	timeout --signal=INT 60 $(PYTEST) -q -x -m "not long and not stress and not peer and not alone" $$chosen; code=$$?; \
	case $$code in \
		0|5) ;; \
		124) echo "a minute is over: what was run passed; make test runs the rest" ;; \
		*) exit $$code ;; \
	esac

# The docs site, in site/. Warnings are errors, and nothing is fetched.
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

# circuit-tracer, for the tests of parity and make bench-trace.
.peer/installed: benchmarks/requirements-peer.txt
	$(PYTHON) -m venv .peer
	.peer/bin/python -m pip install --quiet --no-compile --requirement $<
	touch $@

# The lowest versions that pyproject.toml allows, in an environment of their own. Their own deprecations are not ours,
# and old jaxtyping and beartype check no shapes here: the usual tests do.
.floors/installed: pyproject.toml requirements-floors.txt
	$(PYTHON) -m venv .floors
	.floors/bin/python -m pip install --quiet --no-compile --requirement requirements-floors.txt
	.floors/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

check-floors: .floors/installed
	.floors/bin/python -m pytest --quiet --override-ini filterwarnings=ignore \
		--override-ini addopts="--import-mode=importlib --strict-markers" \
		-m "not long and not stress and not peer and not alone and not minilm and not smollm2" $(FLOOR_TESTS)

# Triton takes 1 GB: it has a folder of its own, is no part of the lock, and comes with torch where there is a GPU.
.triton/installed: | install
	$(BIN)/python -m pip install --quiet --no-compile --no-deps --target .triton triton==3.9.0
	touch $@

# The kernels for GPUs, run by Triton's interpreter on the CPU, and compiled for GPUs that need not be there.
check-kernels: install .triton/installed
	PYTHONPATH=.triton TRITON_INTERPRET=1 $(PYTEST) $(UNCHECKED) tests/kernels/test_triton_rows.py

check-long: install .peer/installed
	$(PYTEST) $(UNCHECKED) -m "(long or peer) and not alone and not stress" $(LONG)
	$(BIN)/python -m pytest $(UNCHECKED) -m "alone and long and not stress" $(ALONE)
	$(BIN)/clew organism exam minnow

# Kills, made-up requests, two minutes of load, large graphs and pages of SmolLM2: others do each a few times or smaller.
# Not part of CI: it takes its time twice.
check-stress: install
	$(PYTEST) $(UNCHECKED) -m "stress and not alone" tests
	$(BIN)/python -m pytest $(UNCHECKED) -m "stress and alone" $(ALONE)

# How much would the tests notice? Small wrong versions of the source; see tests/mutants.py. Not part of CI: it takes hours.
mutants: install
	nice -n 19 $(BIN)/python -m tests.mutants --count $(or $(COUNT),150) --seed $(or $(SEED),0)

lint: install
	$(BIN)/ruff format --check $(LINTED)
	$(BIN)/ruff check $(LINTED)

types: install
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix $(LINTED)
	$(BIN)/ruff format $(LINTED)

bench-trace: install .peer/installed
	$(BIN)/python benchmarks/trace.py

bench-generate: install
	$(BIN)/python benchmarks/generate.py

bench-audit: install
	$(BIN)/python benchmarks/audit.py

bench-smollm2: install
	$(BIN)/python benchmarks/smollm2.py

bench-rankings: install
	$(BIN)/python benchmarks/rankings.py

bench-train: install
	$(BIN)/python benchmarks/train.py

bench-plan: install
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/plan.py --check

bench-frontier: install
	$(BIN)/python benchmarks/frontier.py runs/frontier.jsonl --figure runs/frontier.png

bench-harvest: install
	$(BIN)/python benchmarks/harvest.py

bench-page: install
	$(BIN)/python benchmarks/page.py

# Writes 13 GB of random dictionaries into FOLDER and deletes them in the end.
bench-scale: install
	$(BIN)/python benchmarks/scale.py --folder $(or $(FOLDER),runs/scale) --delete

clean:
	rm -rf site .venv .peer .triton .floors .mypy_cache .pytest_cache .ruff_cache demo.html
