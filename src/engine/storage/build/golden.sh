# Runs inside a freshly unpacked Debian root: what a person expects to find, and what a first boot
# would do. The first lines of each part say why it is there.

# A person: uid 1000, root by sudo without a password.
useradd --create-home --uid 1000 --shell /bin/bash --groups sudo,adm user
install -m 0440 /dev/null /etc/sudoers.d/user
echo 'user ALL=(ALL:ALL) NOPASSWD: ALL' > /etc/sudoers.d/user
for home in /root /home/user; do
    sed 's/^#force_color_prompt=yes/force_color_prompt=yes/' /etc/skel/.bashrc > "$home/.bashrc"
    [ -f "$home/.profile" ] || cp /etc/skel/.profile "$home/.profile"
done
# The hint that sudo exists, printed at each login until sudo was used once.
touch /home/user/.sudo_as_admin_successful
chown user:user /home/user/.bashrc /home/user/.profile /home/user/.sudo_as_admin_successful
# A container has 131072 ids: the upper half is for containers that the user runs inside it.
echo 'user:65536:65536' > /etc/subuid
echo 'user:65536:65536' > /etc/subgid
: > /etc/motd

# Words and time.
echo 'LANG=C.UTF-8' > /etc/default/locale
echo 'LANG=C.UTF-8' > /etc/locale.conf
ln -sf ../usr/share/zoneinfo/Etc/UTC /etc/localtime
echo 'Etc/UTC' > /etc/timezone
cat > /etc/hosts <<'HOSTS'
127.0.0.1 localhost
::1       localhost ip6-localhost ip6-loopback
HOSTS

# dpkg need not flush each file: disks are snapshotted, not fsynced into safety.
rm -f /etc/dpkg/dpkg.cfg.d/99mmdebstrap
echo 'force-unsafe-io' > /etc/dpkg/dpkg.cfg.d/cowl

# The journal in memory, and little of it.
mkdir -p /etc/systemd/journald.conf.d
printf '[Journal]\nStorage=volatile\nRuntimeMaxUse=8M\n' > /etc/systemd/journald.conf.d/cowl.conf

# Units that have no work in a container: hardware, the host's file systems, caches built below,
# a login on a console that nobody sees. /tmp stays on the disk: the kit answers before systemd
# would mount a tmpfs over what was just written there, and memory is what a fleet is short of.
for unit in \
    console-getty.service systemd-firstboot.service systemd-remount-fs.service \
    ldconfig.service systemd-journal-catalog-update.service systemd-update-done.service \
    systemd-hwdb-update.service systemd-udevd.service systemd-udev-trigger.service \
    systemd-udevd-control.socket systemd-udevd-kernel.socket \
    systemd-tmpfiles-setup-dev.service systemd-tmpfiles-setup-dev-early.service \
    systemd-initctl.socket systemd-initctl.service systemd-vconsole-setup.service \
    systemd-network-generator.service systemd-journald-audit.socket systemd-pstore.service \
    systemd-machine-id-commit.service systemd-journal-flush.service \
    tmp.mount run-lock.mount \
    dev-hugepages.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount sys-fs-fuse-connections.mount
do
    ln -sf /dev/null "/etc/systemd/system/$unit"
done
# Timers that would wake every idle container; whoever wants one enables it again.
for timer in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer; do
    rm -f "/etc/systemd/system/timers.target.wants/$timer"
done
rm -f /etc/systemd/system/multi-user.target.wants/systemd-networkd.service \
    /etc/systemd/system/multi-user.target.wants/e2scrub_reap.service

# Made beforehand, so that systemd-tmpfiles does not make btrfs subvolumes of them, which snapshots
# would skip.
mkdir -p -m 0700 /var/lib/machines /var/lib/portables

# Podman's default limit of tasks needs the pids controller on cgroup v2, which hosts with hybrid
# cgroups cannot delegate: `podman run` would fail there. The container's own limit still holds.
mkdir -p /etc/containers/containers.conf.d
printf '[containers]\npids_limit = 0\n' > /etc/containers/containers.conf.d/50-cowl.conf

# What a first boot would do.
systemd-sysusers
SYSTEMD_TMPFILES_FORCE_SUBVOL=0 systemd-tmpfiles --create --exclude-prefix=/dev --exclude-prefix=/run --exclude-prefix=/proc --exclude-prefix=/sys || [ $? -eq 65 ] || [ $? -eq 73 ]
ldconfig
journalctl --update-catalog
rm -rf /var/log/journal
