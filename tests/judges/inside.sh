#!/bin/sh
# Runs inside a container as root: installs the judges, runs them, prints a line of counts for each.
# What they wrote is in /root/judges.
set -u
export DEBIAN_FRONTEND=noninteractive
out=/root/judges
mkdir -p $out && cd $out || exit 1
# What the shell says of programs that end by a signal is not a count.
exec 2>errors.txt

say() { printf '%s\n' "$*"; }

apt-get update -qq >apt.log 2>&1 &&
    apt-get install -y --no-install-recommends systemd-tests systemd-cryptsetup libnss-systemd \
        libtss2-esys-3.0.2-0t64 libtss2-mu-4.0.1-0t64 libtss2-rc0t64 stress-ng lynis checksec procps file \
        >>apt.log 2>&1 || { say "cannot install the judges:"; tail -n 3 apt.log; exit 1; }

# systemd's own unit tests. 77 is its way to say "does not apply here".
for test in /usr/lib/systemd/tests/unit-tests/test-*; do
    name=$(basename "$test")
    (cd /usr/lib/systemd/tests && timeout -k 5 60 "$test") >"systemd.$name" 2>&1 </dev/null
    echo "$? $name"
done >systemd.txt
say "systemd-tests: $(awk '$1 == 0 { p++ } $1 == 77 { s++ } $1 != 0 && $1 != 77 { f++; n = n " " $2 }
    END { printf "%d run, %d pass, %d skip, %d fail%s", NR, p, s, f, n ? " (" substr(n, 2) ")" : "" }' systemd.txt)"

# A second of each stressor; those that need what a container must not have skip themselves.
mkdir -p s && (cd s && stress-ng --seq 1 --timeout 1 --oom-avoid \
    --class os,scheduler,ipc,pipe,security,vm,filesystem,network,interrupt,cpu-cache) >stress.txt 2>&1
say "stress-ng: exit $?, $(sed -n 's/.*\] \(skipped\|passed\|failed\|metrics untrustworthy\): *\([0-9]*\).*/\2 \1/p' stress.txt | paste -sd, | sed 's/,/, /g')"

lynis audit system --quick --no-colors >lynis.txt 2>&1
say "lynis: $(sed -n 's/.*Hardening index : \([0-9]*\).*/hardening index \1/p' lynis.txt), $(grep -c '^  ! ' lynis.txt) warnings"

checksec --kernel >checksec.txt 2>&1
say "checksec: $(grep -ciE 'enabled' checksec.txt) of the kernel's protections found enabled"
systemctl is-system-running | sed 's/^/systemd afterwards: /'
