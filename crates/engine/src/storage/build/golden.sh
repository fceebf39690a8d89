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

# Shells for one command are login shells; they need not start programs to learn what bash knows.
sed -i 's/"$(id -u)"/"${EUID:-$(id -u)}"/; s|\$(run-parts --list .* /etc/profile.d)|/etc/profile.d/[a-zA-Z0-9_]*.sh|' /etc/profile

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

# Every program that a boot starts costs 10 ms of CPU, most of it for linking. What follows starts
# only the ones that have something to do.

# Generators: for disks, consoles, sleep and boot loaders, never; for what a person may have
# configured since, when it is there. Packages that bring others have them run as ever.
generators=/usr/lib/systemd/system-generators
mkdir -p /etc/systemd/system-generators
for generator in "$generators"/systemd-*; do
    ln -sf /dev/null "/etc/systemd/system-generators/${generator##*/}"
done
scripts=" $(cd /etc/init.d && echo *) "
cat > /etc/systemd/system-generators/cowl <<GENERATOR
#!/bin/sh
# Runs those of systemd's generators that find something to read here.
while read -r what rest; do
    case "\$what" in '' | '#'*) ;; *) $generators/systemd-fstab-generator "\$@"; break ;; esac
done 2> /dev/null < /etc/fstab
for script in /etc/init.d/*; do
    case "$scripts" in *" \${script##*/} "*) ;; *) $generators/systemd-sysv-generator "\$@"; break ;; esac
done
[ ! -x /etc/rc.local ] || $generators/systemd-rc-local-generator "\$@"
[ ! -x /usr/sbin/sshd ] || $generators/systemd-ssh-generator "\$@"
[ ! -L /system-update ] || $generators/systemd-system-update-generator "\$@"
exit 0
GENERATOR
chmod 755 /etc/systemd/system-generators/cowl

# The bus and the keeper of logins start when first asked (their sockets and names are there from
# the beginning); at boot only for users who linger.
mkdir -p /etc/systemd/system/multi-user.target.wants
for unit in dbus.service systemd-logind.service systemd-user-sessions.service; do
    ln -sf /dev/null "/etc/systemd/system/multi-user.target.wants/$unit"
done
# Nobody is kept out while the system comes up, so nobody need be let in afterwards.
ln -sf /dev/null /etc/tmpfiles.d/systemd-nologin.conf
cat > /etc/systemd/system/cowl-linger.service <<'UNIT'
[Unit]
Description=Services of users who are not logged in
ConditionDirectoryNotEmpty=/var/lib/systemd/linger

[Service]
Type=oneshot
ExecStart=/usr/bin/systemctl --no-block start systemd-logind.service

[Install]
WantedBy=multi-user.target
UNIT
ln -sf /etc/systemd/system/cowl-linger.service /etc/systemd/system/multi-user.target.wants/cowl-linger.service

# Debian's own settings (10-coredump-debian, 50-pid-max) are the host's affair; any other's are applied.
mkdir -p /etc/systemd/system/systemd-sysctl.service.d
cat > /etc/systemd/system/systemd-sysctl.service.d/cowl.conf <<'UNIT'
[Unit]
ConditionPathExists=|/etc/sysctl.conf
ConditionPathExistsGlob=|/etc/sysctl.d/*.conf
ConditionPathExistsGlob=|/run/sysctl.d/*.conf
ConditionPathExistsGlob=|/usr/local/lib/sysctl.d/*.conf
ConditionPathExistsGlob=|/usr/lib/sysctl.d/[!15]*.conf
ConditionPathExistsGlob=|/usr/lib/sysctl.d/1[!0]*.conf
ConditionPathExistsGlob=|/usr/lib/sysctl.d/10-[!c]*.conf
ConditionPathExistsGlob=|/usr/lib/sysctl.d/5[!0]*.conf
ConditionPathExistsGlob=|/usr/lib/sysctl.d/50-[!p]*.conf
UNIT

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
