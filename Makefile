# tcp-failure-lab: every target installs and builds what it needs when it is stale.
# Flags for a program go into ARGS:  make bomb ARGS="--count 1000"

.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:

BIN := node_modules/.bin
SOURCES := $(shell find cmd lib bench docs -name '*.ts' -not -name '*.test.ts' 2>/dev/null)
# A folder of dependencies or of built code that lags behind its sources is made again.
INSTALLED := node_modules/.installed
BUILT := dist/.built
ARGS ?=
NAME ?=

# `kill` of a make in the background ends the shell between make and the program: that ends the program, too. PR_SET_PDEATHSIG, prctl(2).
NODE := $(shell setpriv --pdeathsig TERM true 2>/dev/null && echo setpriv --pdeathsig TERM --) node
# Ctrl-C ends a program with 130: for make that is no error worth a line.
UNLESS_CTRL_C = || { code=$$?; [ $$code -eq 130 ] || exit $$code; }
RUN = $(NODE) dist/cmd/$(1).js $(2) $(ARGS) $(UNLESS_CTRL_C)

.PHONY: help
help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(INSTALLED): package-lock.json package.json
	npm ci --no-audit --no-fund
	touch $@

$(BUILT): $(INSTALLED) tsconfig.json tsconfig.build.json $(SOURCES) $(sort $(dir $(SOURCES)))
	rm -rf dist
	$(BIN)/tsc -p tsconfig.build.json
	chmod +x dist/cmd/*.js
	mkdir dist/bin
	for file in dist/cmd/*.js; do ln -s "../cmd/$${file##*/}" "dist/bin/$$(basename "$$file" .js)"; done
	touch $@

.PHONY: build
build: $(BUILT) ## Compile to dist/

.PHONY: demo
demo: $(BUILT) ## Break TCP four times, with evidence, explanation and fix (20 s)
	@$(call RUN,lab,demo)

.PHONY: server
server: $(BUILT) ## Echo server on 127.0.0.1:8080 (HOST, PORT, LEAK, ARGS)
	@$(call RUN,server,)

.PHONY: leak
leak: $(BUILT) ## The same, never closing a connection: CLOSE_WAIT
	@$(call RUN,server,--leak)

.PHONY: client
client: $(BUILT) ## Connect, send, check the echo (HOST, PORT, CONNECTIONS, ARGS)
	@$(call RUN,client,)

.PHONY: bomb
bomb: $(BUILT) ## Connect and close until something gives (HOST, PORT, ARGS)
	@$(call RUN,bomb,)

.PHONY: multiplex
multiplex: $(BUILT) ## 500 connections at once on one thread (CONNECTIONS, ARGS)
	@$(call RUN,multiplex,)

.PHONY: watch
watch: $(BUILT) ## The table of TCP states, repainted every second (ARGS)
	@$(call RUN,states,--watch)

.PHONY: trace
trace: $(BUILT) ## One connection as calls, packets and states on one clock (ARGS)
	@$(call RUN,trace,)

# A shell ends as the last command typed in it has: at a terminal that is no error of make's.
.PHONY: shell
shell: $(BUILT) ## A shell in a private network; from a second terminal, joins it
	@$(NODE) dist/cmd/lab.js shell $(ARGS) || [ -t 0 ]

.PHONY: lab
lab: $(BUILT) ## Run a lab: make lab NAME=fd-leak; without NAME, list them
	@$(call RUN,lab,$(if $(NAME),run $(NAME),list))

.PHONY: labs
labs: $(BUILT) ## Run all labs, two at a time (ARGS)
	@$(call RUN,lab,run --all --jobs 2)

.PHONY: ulimit
ulimit: $(BUILT) ## Run the lab on descriptor limits
	@$(call RUN,lab,run ulimit)

.PHONY: test
test: $(BUILT) ## Run all tests
	$(BIN)/vitest run $(ARGS)

.PHONY: fuzz
fuzz: $(BUILT) ## A million malformed inputs at a server (FUZZ_INPUTS, FUZZ_SEED)
	FUZZ_INPUTS=$${FUZZ_INPUTS:-1000000} $(BIN)/vitest run cmd/fuzz.test.ts

.PHONY: test-matrix
test-matrix: $(BUILT) ## Run all tests on Node 20, 22, 24 and 26 (from npm)
	for version in 20 22 24 26; do
	  echo "--- Node $$version"
	  npx --yes node@$$version $(BIN)/../vitest/vitest.mjs run
	done

.PHONY: docker-test
docker-test: ## Run what docs/docker.md tells to type, at a real Docker Engine
	@.ci/docker-test

.PHONY: lint
lint: $(INSTALLED) ## ESLint, Prettier, types, Dockerfile
	$(BIN)/tsc -p .
	$(BIN)/eslint .
	$(BIN)/prettier --check --log-level warn .
	$(BIN)/dockerfile-utils lint Dockerfile

.PHONY: check
check: lint test docs-fresh ## Lint, all tests, is the documentation fresh? What CI does first

.PHONY: docs
docs: $(BUILT) ## Write the generated part of the documentation
	node dist/docs/generate.js

.PHONY: docs-fresh
docs-fresh: $(BUILT)
	node dist/docs/generate.js --check

.PHONY: docs-run
docs-run: $(BUILT) ## Run every command that stands in the documents
	node dist/docs/console.js docs/concepts/*.md docs/protocol-client.md docs/trace.md docs/trace/*.md
	node dist/docs/readme.js

.PHONY: docs-record
docs-record: $(BUILT) ## The same, with fresh recordings of every lab, or of NAME
	node dist/docs/generate.js --record $(NAME)

.PHONY: bench
bench: $(BUILT) ## Measure, side by side with other programs (ARGS)
	@$(NODE) dist/bench/main.js $(ARGS) $(UNLESS_CTRL_C)

.PHONY: bench-record
bench-record: $(BUILT) ## Measure everything for docs/benchmarks.md, with growth
	node dist/bench/main.js --growth --json > dist/benchmarks.json || [ $$? -eq 1 ]
	$(BIN)/prettier --parser json < dist/benchmarks.json > docs/benchmarks/$$(date -u +%F).json
	node dist/docs/generate.js

.PHONY: clean
clean: ## Remove what was installed and built
	rm -rf dist node_modules
