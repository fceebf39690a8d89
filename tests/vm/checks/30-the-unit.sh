# A node under systemd ends and comes back; its containers do not notice.

boots() { inside "cat /proc/sys/kernel/random/boot_id /proc/1/stat | cut -d' ' -f1,22"; }
before=$(boots)
kept() { [ "$(boots)" = "$before" ] && echo kept; }
node() { systemctl show --property=MainPID --value cowl-node; }

first=$(node)
systemctl kill --kill-whom=main --signal=KILL cowl-node
renewed() { [ "$(node)" != "$first" ] && [ "$(node)" != 0 ] && cowl status; }
check "a killed node is started again" "." within 60 renewed
check "the container ran on" "kept" within 30 kept
check "systemctl restart" "." eval 'systemctl restart cowl-node && cowl status'
check "the container ran on" "kept" within 30 kept
systemctl stop cowl-node
check "it runs on without a node" "[0-9]" pgrep -f "cowl shim"
check "systemctl start finds it again" "." eval 'systemctl start cowl-node && cowl status'
check "the container ran on" "kept" within 30 kept

first=$(node)
check "installing it again" "." apt-get install -y --reinstall /srv/cowl.deb
check "renews the node" "." within 60 renewed
check "the container ran on" "kept" within 30 kept
