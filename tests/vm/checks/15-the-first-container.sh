# A container that all other checks look at.

check "a project" "demo" cowl projects create --alias demo
check "a container runs" "running" cowl containers create --project demo --server-id node-vm --name one
check "systemd is running" "^running" inside "timeout 300 systemctl is-system-running --wait"
check "no unit has failed" "^0$" inside "systemctl --failed --no-legend | wc -l"
