# The life of a container on this kernel.

check "its terminal answers over TLS" "Debian" eval \
    'curl --silent --show-error --cacert "$(cowl ca path)" "$(cowl url one terminal-1)/api/v1/terminal/execute" \
        -d "{\"command\":\"cat /etc/os-release\",\"wait\":true}"'
check "it reaches the network" "Debian" inside "curl --silent --show-error http://deb.debian.org/debian/README"
check "controllers are delegated" "memory" inside "cat /sys/fs/cgroup/cgroup.controllers"
check "systemd uses them" "52428800" inside \
    "systemctl set-property --runtime dbus.service MemoryMax=50M && cat /sys/fs/cgroup/system.slice/dbus.service/memory.max"
check "/usr is an overlay that can be written" "overlay" inside \
    "touch /usr/local/bin/x && rm /usr/local/bin/x && stat -f -c %T /usr | sed s/overlayfs/overlay/"
check "memory and CPU are counted" "usage" cowl containers stats one --json
check "pause" "paused" cowl containers pause one
check "resume" "running" cowl containers resume one
check "a snapshot" "before" cowl snapshots create -c one --alias before
check "a change" "changed" inside "touch /root/changed && ls /root"
check "a restore" "." cowl snapshots restore before -c one
check "the change is gone" "^0$" inside "ls /root | grep -c changed; true"
