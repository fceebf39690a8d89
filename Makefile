# The verbs of this repository. `make` alone lists them.

TARGET := $(or $(CARGO_TARGET_DIR),target)
PREFIX ?= /usr/local
COWL   := $(TARGET)/release/cowl
# make run YES=1 asks nothing.
ASK    := $(if $(YES),-y)

.PHONY: help run build stop clean-state test test-long bench install

help:
	@sed -n 's/^## //p' Makefile

## make run          install what is missing, build, start the node, open the cockpit
run:
	@scripts/deps $(ASK)
	@$(MAKE) --no-print-directory build
	@$(COWL) up $(ASK)

## make build        compile only
build:
	cargo build --release --locked --bins

## make stop         stop all containers and the node
stop:
	@$(COWL) stop --containers

## make clean-state  remove all containers, images and settings (asks for a typed word)
clean-state:
	@$(COWL) clean-state $(ASK)

## make test         every check that CI runs; needs root
test:
	@scripts/test

## make test-long    the same, and the cases that take long
test-long:
	@COWL_TEST_LONG=1 scripts/test

## make bench        measure every promised figure beside systemd-nspawn (BENCH="--rows exec --runs 3")
bench:
	cargo build --profile dist --locked --bins
	@$(TARGET)/dist/cowl bench engine $(BENCH)

## make install      build the optimised program and install it with its unit and completions
install:
	cargo build --profile dist --locked --bins
	install -D -m 755 $(TARGET)/dist/cowl $(DESTDIR)$(PREFIX)/bin/cowl
	install -D -m 755 $(TARGET)/dist/cowl-kit $(DESTDIR)$(PREFIX)/bin/cowl-kit
	install -d $(DESTDIR)/etc/systemd/system
	sed 's|@BIN@|$(PREFIX)/bin|' packaging/cowl-node.service > $(DESTDIR)/etc/systemd/system/cowl-node.service
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/zsh/site-functions $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	$(TARGET)/dist/cowl completions bash > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/cowl
	$(TARGET)/dist/cowl completions zsh > $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_cowl
	$(TARGET)/dist/cowl completions fish > $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/cowl.fish
	@echo "Start it now and at boot with: systemctl enable --now cowl-node"
