# Two commands: `make run` and `make test`.  Everything else is a fab task.
SHELL := /bin/sh
VENV := .venv
PYTHONS := python3.14 python3.13 python3.12 python3.11 python3
PYTHON ?= $(shell for each in $(PYTHONS); do \
	command -v $$each >/dev/null 2>&1 && $$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$each && break; done)

.PHONY: run test help
help:
	@echo "make run    install what is missing and serve on http://127.0.0.1:8888"
	@echo "make test   install what is missing and run every test"
	@echo "Other tasks: $(VENV)/bin/fab -l (after one of the two)"

run: $(VENV)/base.stamp
	@$(VENV)/bin/fab runserver

test: $(VENV)/development.stamp
	@sh tests/harness/install_servers.sh
	@$(VENV)/bin/fab test_all

$(VENV)/bin/python:
	@"$(or $(PYTHON),false)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Chatmotor needs Python 3.11 or newer, which is none of: $(or $(PYTHON),$(PYTHONS)). Install one, or name it: make run PYTHON=/path/to/python3.12" >&2; exit 2; }
	@"$(PYTHON)" -m venv $(VENV) >/dev/null || { rm -rf $(VENV); \
		echo "$(PYTHON) cannot make a virtual environment here. On Debian and Ubuntu: apt install python3-venv; and the directory must be writable." >&2; exit 2; }

$(VENV)/base.stamp: requirements/base.txt | $(VENV)/bin/python
	@echo "Installing requirements/base.txt into $(VENV) ..." >&2
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/base.txt
	@touch $@

$(VENV)/development.stamp: requirements/development.txt requirements/base.txt | $(VENV)/bin/python
	@echo "Installing requirements/development.txt into $(VENV) ..." >&2
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/development.txt
	@touch $@ $(VENV)/base.stamp
