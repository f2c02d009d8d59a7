# What people and CI call. Each target is one line; the work is in scripts/.

PYTHONS := pytest9 pytest8 pytest7
RUFF := .venvs/lint/bin/ruff

# The end-to-end tests wait more than they work: more of them than processors at once.
export RUST_TEST_THREADS ?= 4

# What no version of pytest makes a difference to; `make test SAME_WITH_EVERY_PYTEST=plugins`
# runs it with each all the same.
SAME_WITH_EVERY_PYTEST := plugins help recipes generated history shared_history order shard filters bad_input github quarantine \
	terminal view watchdog interrupt faults leaks replay remembered handoff identity serve::life serve::known serve::runs
OLDER := $(foreach module,$(SAME_WITH_EVERY_PYTEST),--skip $(module)::)

.PHONY: demo test lint parity bench install venvs postgres

# A real suite through the pipeline, twice.
demo:
	scripts/demo

# Everything with the newest pytest, then the end-to-end tests with the older ones.
test: venvs postgres
	cargo build --workspace --locked
	RPT_TEST_PYTHON="$(CURDIR)/.venvs/pytest9/bin/python" RPT_TEST_PLUGINS_PYTHON="$(CURDIR)/.venvs/plugins/bin/python" \
		cargo test --workspace --locked
	RPT_TEST_PYTHON="$(CURDIR)/.venvs/pytest8/bin/python" cargo test --locked -p rpt-tests --test it -- $(OLDER)
	RPT_TEST_PYTHON="$(CURDIR)/.venvs/pytest7/bin/python" cargo test --locked -p rpt-tests --test it -- $(OLDER)
	if [ -d lib/shim/tests ]; then for name in $(PYTHONS); do \
		.venvs/$$name/bin/python -m pytest -q -p no:cacheprovider lib/shim/tests || exit 1; done; fi

lint: .venvs/lint/.stamp
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	$(RUFF) check --quiet .
	$(RUFF) format --quiet --check .

# Against plain pytest on real suites, fetched from the package index.
parity:
	cargo build --release --locked
	scripts/parity

bench:
	cargo build --release --locked
	scripts/bench

install:
	scripts/install

venvs:
	scripts/venv $(PYTHONS) plugins >/dev/null

# A history that a team shares is tested with a real server: installed where there is none.
postgres:
	scripts/postgres >/dev/null

.venvs/lint/.stamp: scripts/requirements/lint.txt
	scripts/venv lint >/dev/null
	touch $@
