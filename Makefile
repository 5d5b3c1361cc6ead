# Heed. `make up` and `make test` set up what they need by themselves, and may be repeated or interrupted.
PYTHON ?= python3
IN_VENV := .venv/bin/python
.DEFAULT_GOAL := help
.PHONY: help up test check check-python check-web fmt loop bench restore setup

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

up: setup ## run everything on this machine and print the address; Ctrl-C stops it
	@$(IN_VENV) scripts/up.py

test: ## set up, then every check and every test
	@$(PYTHON) scripts/setup.py --dev --browser
	@$(MAKE) --no-print-directory check

check: ## every check and every test, without the set-up
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target check-python check-web
	@$(IN_VENV) -m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder

check-python:
	@$(IN_VENV) -m ruff format --check .
	@$(IN_VENV) -m ruff check .
	@$(IN_VENV) -m mypy
	@.venv/bin/lint-imports

check-web:
	@$(IN_VENV) -m scripts.web check

fmt: ## format the code and sort the imports
	@$(IN_VENV) -m ruff format .
	@$(IN_VENV) -m ruff check --fix .

loop: setup ## the whole loop with scripted people (ROUNDS=3 for three rounds, PROMPTS=file.jsonl for your own prompts)
	@$(IN_VENV) -m scripts.loop $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(PROMPTS),--prompts $(PROMPTS))

bench: setup ## the benchmarks of serving and training
	@$(IN_VENV) -m bench.serving
	@$(IN_VENV) -m bench.training

restore: setup ## fill an empty Redis from an archive: FROM=folder
	@$(IN_VENV) -m scripts.archive restore $(FROM)

setup: ## install what `make up` needs into .venv and build the web page
	@$(PYTHON) scripts/setup.py
