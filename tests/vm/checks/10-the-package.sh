# Installing the package as a person does, and its unit.

check "Debian's lists are read" "." within 60 apt-get update --error-on=any
check "apt installs it with what it needs" "Setting up cowl" apt-get install -y --no-install-recommends /srv/cowl.deb
check "it brought the programs it runs" "^all$" eval 'type -P mkfs.btrfs nft mmdebstrap losetup && echo all'
check "it made the group" "^cowl:" getent group cowl
check "it starts nothing by itself" "^inactive" eval 'systemctl is-active cowl-node; true'
check "it is not enabled by itself" "^disabled" eval 'systemctl is-enabled cowl-node; true'
check "manual pages came with it" "restore" zcat /usr/share/man/man1/cowl-snapshots.1.gz
check "completions came with it" "cowl" cat /usr/share/bash-completion/completions/cowl
check "no node, said by the exit code" "^3$" eval 'cowl status >/dev/null 2>&1; echo $?'

# The image is brought along: building one under emulation takes an hour.
mkdir -p /etc/systemd/system/cowl-node.service.d
cat >/etc/systemd/system/cowl-node.service.d/test.conf <<'UNIT'
[Service]
Environment=COWL_TEST_IMAGE=/srv/image.cowl COWL_POOL_SIZE=4G
UNIT
systemctl daemon-reload
check "systemctl enable --now" "." eval 'systemctl enable --now cowl-node && echo done'
check "the unit says it is ready" "^active" systemctl is-active cowl-node
check "the doctor finds nothing to mend" "v2" cowl doctor
ready() { cowl images list --json | grep -E '"state": ?"ready"'; }
check "the image becomes ready" "ready" within 1800 ready
