# Sleep, by a halt and by the freezer of v2, which hands the page cache back.

group=$(echo /sys/fs/cgroup/cowl-*/"$(cowl containers get one --json | sed -n 's/^ *"id": "\([0-9a-f]*\)",*$/\1/p' | head -n 1)")
born() { inside "cat /proc/sys/kernel/random/boot_id; cut -d' ' -f22 /proc/1/stat"; }
check "it falls asleep" "asleep" cowl containers sleep one
check "nothing of it is left to run" "^gone$" eval '[ -e "$group" ] || echo gone'
check "a request wakes it" "awake" inside "echo awake"
check "it may sleep by the freezer" "freeze" cowl containers set one --json --sleep-mode freeze
check "its pages are cached" "^[0-9]+$" inside "dd if=/dev/urandom of=/root/cached bs=1M count=100 conv=fsync 2>&1 && \
    cat /root/cached >/dev/null && stat -c %s /root/cached"
before=$(born)
charged=$(cat "$group/memory.current")
check "it falls asleep in ice" "asleep" cowl containers sleep one
check "the kernel says that it is frozen" "^frozen 1$" cat "$group/cgroup.events"
reclaimed() { echo "$charged, then $(cat "$group/memory.current")"; [ "$(cat "$group/memory.current")" -lt $((charged - 50000000)) ]; }
check "its cache was handed back" "then" within 60 reclaimed
check "a request wakes it as it was" "same" eval '[ "$(born)" = "$before" ] && echo same'
check "the kernel says that it thawed" "^frozen 0$" cat "$group/cgroup.events"
check "it sleeps as before again" '"settings"' cowl containers set one --json --unset sleep-mode
