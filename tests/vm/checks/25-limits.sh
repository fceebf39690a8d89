# Limits by v2 controllers, set while the container runs.

group=$(dirname "$(ls -d /sys/fs/cgroup/cowl-*/*/payload | head -n 1)")
check "limits hold without a warning" '"warnings": \[\]' cowl containers set one --json --cpu 0.5 --cpu-weight 50 \
    --cpu-set 0 --memory 300M --memory-high 250M --swap 0 --pids 300 --disk 600M --io-read 200M --io-write 200M \
    --network-in 20M --network-out 20M
check "cpu.max" "^50000 100000$" cat "$group/cpu.max"
check "cpu.weight" "^50$" cat "$group/cpu.weight"
check "cpuset.cpus" "^0$" cat "$group/cpuset.cpus"
check "memory.max" "^314572800$" cat "$group/memory.max"
check "memory.high" "^262144000$" cat "$group/memory.high"
check "memory.swap.max" "^0$" cat "$group/memory.swap.max"
check "pids.max" "^300$" cat "$group/pids.max"
check "io.max" "rbps=209715200 wbps=209715200" cat "$group/io.max"
check "too many tasks are refused" "temporarily unavailable" inside \
    "perl -e 'while (\$n++ < 1000) { \$p = fork; last unless defined \$p; if (!\$p) { sleep 99; exit } push @p, \$p } print \$!; kill 9, @p'"
# Slowed down, it would take long to come to its end.
check "the high mark goes" "memory" cowl containers set one --unset memory-high
check "memory.high is open" "^max$" cat "$group/memory.high"
check "a memory bomb is killed" "rc 137" inside "perl -e '\$x = q(x) x 400_000_000'; echo rc \$?"
sleep 35
check "the kill is told by name" "container.oom.*perl" cowl events -n 100
check "the refused fork is told" "container.limit_hit.*pids" cowl events -n 100
check "a full quota refuses" "quota exceeded" inside \
    "dd if=/dev/urandom of=/root/big bs=1M count=700 conv=fsync 2>&1; rm -f /root/big"
check "all limits go" '"limits": \{\}' cowl containers set one --json --unset all
check "cpu.max is open" "^max 100000$" cat "$group/cpu.max"
