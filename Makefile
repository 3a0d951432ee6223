# Everything a person or a build does with this project. Needs python3 (3.11 or later), git, make.

PYTHON ?= python3
PORT ?= 9000
BIND ?= 127.0.0.1

# Whatever the directory make was called from, and whatever the shell there has activated.
ROOT := $(dir $(abspath $(lastword $(MAKEFILE_LIST))))
unexport VIRTUAL_ENV PYTHONHOME PYTHONPATH DJANGO_SETTINGS_MODULE
export PYTHONUNBUFFERED := 1
SHELL := /bin/sh
.DEFAULT_GOAL := help
# What belongs together is in one recipe: -j must not mix it up.
.NOTPARALLEL:

IN = cd "$(ROOT)" &&
PY = .venv/bin/python
# The demo, as `make run` and `make password` see it; the environment may say otherwise.
DEMO = DEBUG="$${DEBUG:-1}" MASHIN_ASK="$${MASHIN_ASK:-assume}" SECRET_KEY="$${SECRET_KEY:-$$(cat .secret_key)}"
# A deployment behind TLS, for `check --deploy`.
DEPLOYED = DEBUG=0 BEHIND_TLS=1 ALLOWED_HOSTS=app.example SECRET_KEY="$$($(PY) -c 'import secrets; print(secrets.token_urlsafe(64))')"

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' "$(ROOT)Makefile" | sed -E 's/:.*## /\t/' | awk -F '\t' '{ printf "make %-10s %s\n", $$1, $$2 }'

.PHONY: run
run: base secret ## Serve the demo on http://127.0.0.1:9000 (PORT=, BIND=, DEBUG=0)
	@$(IN) $(DEMO) $(PY) manage.py prepare_demo
	@$(IN) $(DEMO) exec $(PY) manage.py serve --bind "$(BIND)" --port "$(PORT)"

.PHONY: password
password: base secret ## Give the demo's admin a new password
	@$(IN) $(DEMO) $(PY) manage.py prepare_demo --new-password

.PHONY: test
test: tools browser ## Run all tests (ARGS='-k word' for some)
	@$(IN) $(PY) -m tests $(ARGS)

.PHONY: check
check: tools ## Judge style, types, architecture, migrations, deployment
	@$(IN) $(PY) -m ruff check .
	@$(IN) $(PY) -m ruff format --check .
	@$(IN) $(PY) -m mypy
	@$(IN) $(PY) -c 'from importlinter.cli import lint_imports_command as lint; lint()'
	@$(IN) $(DEPLOYED) $(PY) manage.py makemigrations --check --dry-run
	@$(IN) $(DEPLOYED) $(PY) manage.py check --deploy --fail-level WARNING

.PHONY: format
format: tools ## Lay out the sources, mend what can be mended
	@$(IN) $(PY) -m ruff check --fix .
	@$(IN) $(PY) -m ruff format .

# Needs GNU gettext. The texts of the reference project's own templates are in locale/.
.PHONY: messages
messages: base ## Collect the texts to translate in */locale/, compile the translations
	@$(IN) DEBUG=1 $(PY) manage.py makemessages --all --no-obsolete --no-wrap --add-location file \
	  --ignore tests --ignore benchmarks --ignore docs
	@$(IN) DEBUG=1 $(PY) manage.py compilemessages --ignore .venv

.PHONY: bench
bench: ## Measure against named peers, side by side
	@$(IN) $(PYTHON) requirements/install.py bench
	@$(IN) $(PY) -m benchmarks $(ARGS)

# Compiled with the oldest Python there is support for, from the package index alone: what this
# machine adds to pip's search (PIP_FIND_LINKS, a configuration file) must not get into a lock.
.PHONY: lock
lock: tools ## Compile requirements/*.in to *.txt with hashes (ARGS=--upgrade)
	@$(IN) for name in base production test docs bench; do \
	  constraint=; [ $$name = base ] || constraint="--constraint requirements/base.txt"; \
	  echo "requirements/$$name.txt"; \
	  env -u PIP_FIND_LINKS -u PIP_EXTRA_INDEX_URL PIP_CONFIG_FILE=/dev/null \
	  $(PY) -m piptools compile --quiet --generate-hashes --strip-extras --allow-unsafe \
	    --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options \
	    --no-build-isolation --no-header $$constraint $(ARGS) \
	    --output-file requirements/$$name.txt pyproject.toml requirements/$$name.in && \
	  { printf '# Compiled by `make lock` with Python %s: every version, with the hashes of all its files.\n' \
	      "$$($(PY) -c 'import sys; print("%d.%d" % sys.version_info[:2])')"; \
	    cat requirements/$$name.txt; } > requirements/.lock && mv requirements/.lock requirements/$$name.txt || exit 1; \
	done

.PHONY: clean
clean: ## Remove what was made here: .venv, caches, the demo's database and key
	@$(IN) rm -rf .venv .venv.lock .secret_key db.sqlite3* staticfiles dist build .coverage \
	  .hypothesis .mypy_cache .ruff_cache .pytest_cache .import_linter_cache *.egg-info
	@$(IN) find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: base tools secret browser
base:
	@$(IN) $(PYTHON) requirements/install.py base

tools:
	@$(IN) $(PYTHON) requirements/install.py test

secret:
	@$(IN) test -s .secret_key || (umask 077 && $(PY) -c 'import secrets; print(secrets.token_urlsafe(64))' > .secret_key)

browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "Installing Chromium with apt …"; \
	    { apt-get install -y -qq chromium || { apt-get update -qq && apt-get install -y -qq chromium; }; } >/dev/null 2>&1 \
	      || echo "apt could not install Chromium: the browser tests will say that they did not run."; \
	  else echo "There is no Chromium: the browser tests will say that they did not run."; fi
