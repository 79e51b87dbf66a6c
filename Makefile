# make demo   a lab of three namespaces, a real ruleset as eBPF, judged by the kernel's iptables
# make bench  throughput, latency, load times and memory beside iptables, into docs/performance.md
# make test   lint, types and all tests but the VM matrix
# Both set up what they need: Debian packages, a virtual environment, this package in it.

VENV   := .venv
PYTHON := $(VENV)/bin/python
STAMP  := $(VENV)/.installed

.PHONY: demo bench test lint unit kernel e2e clients test-vm fuzz fuzz-parser clean setup

demo: setup
	$(PYTHON) -m demo

bench: setup
	PYTHON=$(PYTHON) bench/run --write --json bench-results.json

# What needs no kernel of its own is done by two at a time.
test: setup lint
	$(PYTHON) -m pytest -q -n 2 tests/unit tests/golden
	$(PYTHON) -m pytest -q tests/kernel tests/e2e

lint: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

unit: $(STAMP)
	$(PYTHON) -m pytest -q tests/unit tests/golden

kernel: setup
	$(PYTHON) -m pytest -q tests/kernel

e2e: setup
	$(PYTHON) -m pytest -q tests/e2e

# ufw, docker and other programs that call iptables, from Debian, in a root of their own that is
# kept in ~/.cache/bpfilter-clients; BPFILTER_CLIENTS_COMMAND=nft judges another command than ours.
clients: setup
	$(PYTHON) -m pytest -q tests/e2e/clients

# On other kernels, in virtual machines: KERNELS="trixie bookworm", default all. Their packages
# are kept in ~/.cache/bpfilter-vm.
test-vm: setup
	@scripts/debian-packages vm
	$(PYTHON) -m tests.vm $(VMFLAGS) $(KERNELS)

# Until stopped; what differs is kept in fuzz-findings/.
fuzz: setup
	$(PYTHON) -m tests.harness.fuzz

# A minute of mangled rulesets for the parser; FUZZ="--seed N" repeats one.
fuzz-parser: $(STAMP)
	$(PYTHON) -m tests.harness.fuzz_parser $(FUZZ)

setup: $(STAMP)
	@scripts/debian-packages

$(STAMP): pyproject.toml requirements.txt scripts/make-venv
	scripts/make-venv $(VENV)
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
