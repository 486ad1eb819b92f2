# Ciliate. `make help` lists the targets; `sandbox` and `test` do all set-up themselves.
SHELL := /bin/bash
NODE := node_modules/node/bin/node
export PATH := $(CURDIR)/node_modules/node/bin:$(CURDIR)/node_modules/.bin:$(PATH)
CLANG ?= clang
BPF_CFLAGS := -O2 -g -target bpf -mcpu=v3 -std=gnu11 -Wall -Wextra -Werror -I/usr/include/$(shell uname -m)-linux-gnu
BPF_SOURCES := $(wildcard bpf/*.bpf.c)
LOADS := $(patsubst bench/load/%.c,build/bench/%,$(filter-out %.bpf.c,$(wildcard bench/load/*.c))) build/bench/frames.bpf.o
BPF_OBJECTS := $(BPF_SOURCES:bpf/%.bpf.c=build/bpf/%.bpf.o)

.DEFAULT_GOAL := help
.PHONY: help setup packages objects bundles build gen sandbox down test conformance bench lint typecheck clean

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: packages node_modules/.stamp ## Debian packages, Node and npm packages (part of every other target)

packages:
	@tools/debian-packages

node_modules/.stamp: package.json package-lock.json $(wildcard packages/*/package.json)
	npm ci --no-audit --no-fund
	@touch $@

objects: setup $(BPF_OBJECTS) ## eBPF objects into build/bpf

build/bpf/abi.bpf.o: bpf/abi.bpf.c $(wildcard bpf/lib/*.h)
	@mkdir -p $(@D)
	$(CLANG) $(BPF_CFLAGS) -c $< -o $@

# Names the layout that every object is compiled with, so that an agent of another version refuses it.
build/bpf/abi-hash: build/bpf/abi.bpf.o tools/gen-abi.ts
	@$(NODE) tools/gen-abi.ts --hash > $@

build/bpf/%.bpf.o: bpf/%.bpf.c $(wildcard bpf/lib/*.h) build/bpf/abi-hash
	@mkdir -p $(@D)
	$(CLANG) $(BPF_CFLAGS) -DABI_HASH='"'$$(cat build/bpf/abi-hash)'"' -c $< -o $@

bundles: setup ## JavaScript bundles into build/
	$(NODE) tools/build.ts

build: objects bundles ## Everything a node runs

gen: objects ## Regenerate packages/abi/src/gen from BTF
	$(NODE) tools/gen-abi.ts

sandbox: build ## Two nodes on this machine, left running (needs root); NODES=3 ROUTING=native change it
	./ciliate sandbox up --detach $(if $(NODES),--nodes $(NODES)) $(if $(ROUTING),--routing $(ROUTING))

down: setup ## Take the sandbox down, leave nothing
	./ciliate sandbox down

test: build ## Every check and every test (needs root); ends with "N passed, N failed"
	$(NODE) tools/test.ts all

conformance: build ## The conformance drivers alone
	$(NODE) tools/test.ts conformance

bench: build $(LOADS) ## Every benchmark, side by side, into bench/results
	$(NODE) bench/run.ts

build/bench/%.bpf.o: bench/load/%.bpf.c
	@mkdir -p $(@D)
	$(CLANG) $(BPF_CFLAGS) -c $< -o $@

build/bench/%: bench/load/%.c
	@mkdir -p $(@D)
	gcc -O2 -Wall -Wextra -Werror -o $@ $<

lint: setup
	npm run lint && npm run check-deps

typecheck: setup
	npm run typecheck

clean: ## Remove what the build made
	rm -rf build
