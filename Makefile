# Two commands for everybody: `make demo` and `make test`. Both set up what they need.
.PHONY: demo test setup lint fast bench faults proto lock

demo: setup
	.venv/bin/python examples/demo.py

test: setup
	@printf '\n== lint: ruff, mypy\n'
	.venv/bin/ruff check src tests bench examples
	.venv/bin/ruff format --check -q src tests bench examples
	.venv/bin/mypy
	@printf '\n== tests: first those without root, then kernel and labs\n'
	.venv/bin/pytest -q -m 'not kernel and not lab'
	.venv/bin/pytest -q -m 'kernel or lab'

fast: setup
	.venv/bin/pytest -q -m 'not kernel and not lab'

bench: setup
	.venv/bin/python -m bench

# A million operations on addresses while everything fails: hours.
faults: setup
	PYTHONPATH=tests .venv/bin/python -m ipam_faults --operations 1000000

setup:
	@scripts/setup

# The etcd messages, generated from the cut-down protocol and committed.
proto: setup
	.venv/bin/python -m grpc_tools.protoc -Isrc/tortie/store --python_out=src/tortie/store \
		--pyi_out=src/tortie/store src/tortie/store/etcd.proto

# New versions of the dependencies, with hashes. Needs uv.
lock:
	uv pip compile -q --upgrade --generate-hashes --no-emit-find-links --no-header \
		--python-version 3.11 pyproject.toml -o requirements.lock
	uv pip compile -q --upgrade --generate-hashes --no-emit-find-links --no-header \
		--python-version 3.11 --extra dev pyproject.toml -o requirements-dev.lock
