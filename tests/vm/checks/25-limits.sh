# Limits by v2 controllers, set while the container runs.

id=$(cowl containers get one --json | sed -n 's/^ *"id": "\([0-9a-f]*\)",*$/\1/p' | head -n 1)
limits=$(echo /sys/fs/cgroup/cowl-*/"$id")
# A line of what happened.
told() { cowl events -n 100 | grep -E -- "$1"; }
check "it has one group, and in it one that is delegated" "^$limits/payload$" ls -d "$limits/payload"
check "limits hold without a warning" '"warnings": \[\]' cowl containers set one --json --cpu 0.5 --cpu-weight 50 \
    --cpu-set 0 --memory 300M --memory-high 250M --swap 0 --pids 300 --disk 600M --io-read 200M --io-write 200M \
    --network-in 20M --network-out 20M
check "cpu.max" "^50000 100000$" cat "$limits/cpu.max"
check "cpu.weight" "^50$" cat "$limits/cpu.weight"
check "cpuset.cpus" "^0$" cat "$limits/cpuset.cpus"
check "memory.max" "^314572800$" cat "$limits/memory.max"
check "memory.high" "^262144000$" cat "$limits/memory.high"
check "memory.swap.max" "^0$" cat "$limits/memory.swap.max"
check "pids.max" "^300$" cat "$limits/pids.max"
check "io.max" "rbps=209715200 wbps=209715200" cat "$limits/io.max"
check "too many tasks are refused" "temporarily unavailable" inside \
    "perl -e 'while (\$n++ < 1000) { \$p = fork; last unless defined \$p; if (!\$p) { sleep 99; exit } push @p, \$p } print \$!; kill 9, @p'"
# A name of its own, to be looked for among what is told.
check "a unit's own limit kills" "Result=oom-kill" inside "cp /usr/bin/tail /run/innerhog; systemd-run --quiet --wait \
    --unit=tight --property=MemoryMax=20M --property=MemorySwapMax=0 /run/innerhog /dev/zero; \
    systemctl show --property=Result tight; systemctl reset-failed tight"
# Slowed down, it would take long to come to its end.
check "the high mark goes" "memory 300M, swap" cowl containers set one --unset memory-high
check "memory.high is open" "^max$" cat "$limits/memory.high"
check "a memory bomb is killed" "rc 137" inside "perl -e '\$x = q(x) x 400_000_000'; echo rc \$?"
check "the kill is told by name" "perl" within 60 told 'container\.oom .*memory perl'
check "the kill by the unit's is not, and is older" "^0$" eval 'cowl events -n 100 | grep -c innerhog; true'
check "the refused fork is told" "pids" within 60 told 'container\.limit_hit .*pids'
check "a full quota refuses" "quota exceeded" inside \
    "dd if=/dev/urandom of=/root/big bs=1M count=700 conv=fsync 2>&1; rm -f /root/big"
check "all limits go" '"limits": \{\}' cowl containers set one --json --unset all
check "cpu.max is open" "^max 100000$" cat "$limits/cpu.max"
# With tasks inside, the kernel lets nobody empty it again.
check "cpuset.cpus is open" "^0-1$" cat "$limits/cpuset.cpus"
check "io.max is open" "^$" cat "$limits/io.max"
