# A container that all other checks look at.

check "a project" "demo" cowl projects create --alias demo
check "a container runs" "running" cowl containers create --project demo --server-id node-vm --name one
# It runs from the moment that init does; the bus comes later.
check "systemd is running" "^running" within 300 inside "timeout 300 systemctl is-system-running --wait"
check "no unit has failed" "^none$" inside "failed=\$(systemctl --failed --no-legend) && echo \${failed:-none}"
