# The verbs of this repository. `make` alone lists them.

TARGET := $(or $(CARGO_TARGET_DIR),target)
PREFIX ?= /usr/local
COWL   := $(TARGET)/release/cowl
SHARE  := $(TARGET)/dist/share
# make run YES=1 asks nothing.
ASK    := $(if $(YES),-y)

.PHONY: help run build stop clean-state test test-long test-v2 bench deb install share

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

## make test-v2      the package in a virtual machine with Debian 13 as it comes, emulated: slow
test-v2: deb
	@scripts/test-v2

## make bench        measure every promised figure beside systemd-nspawn (BENCH="--rows exec --runs 3")
bench:
	cargo build --profile dist --locked --bins
	@$(TARGET)/dist/cowl bench engine $(BENCH)

## make deb          build a Debian package of the optimised program; needs cargo-deb
deb: share
	@command -v cargo-deb >/dev/null || { echo "cargo-deb is missing: cargo install cargo-deb --locked" >&2; exit 1; }
	cargo deb --no-build --profile dist --output $(TARGET)/cowl.deb

## make install      build the optimised program and install it with its unit and completions
install: share
	install -D -m 755 $(TARGET)/dist/cowl $(DESTDIR)$(PREFIX)/bin/cowl
	install -D -m 755 $(TARGET)/dist/cowl-kit $(DESTDIR)$(PREFIX)/bin/cowl-kit
	install -d $(DESTDIR)/etc/systemd/system
	sed 's|/usr/bin|$(PREFIX)/bin|' packaging/cowl-node.service > $(DESTDIR)/etc/systemd/system/cowl-node.service
	install -D -m 644 $(SHARE)/cowl.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/cowl
	install -D -m 644 $(SHARE)/_cowl $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_cowl
	install -D -m 644 $(SHARE)/cowl.fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/cowl.fish
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man1 $(SHARE)/man/*.1.gz
	@echo "Start it now and at boot with: systemctl enable --now cowl-node"

# The optimised program, and what it writes about itself.
share:
	cargo build --profile dist --locked --bins
	rm -rf $(SHARE)
	$(TARGET)/dist/cowl man $(SHARE)/man
	gzip -9n $(SHARE)/man/*.1
	$(TARGET)/dist/cowl completions bash > $(SHARE)/cowl.bash
	$(TARGET)/dist/cowl completions zsh > $(SHARE)/_cowl
	$(TARGET)/dist/cowl completions fish > $(SHARE)/cowl.fish
