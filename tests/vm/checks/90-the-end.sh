# Nothing runs when the package is gone, and nobody's machines are.

check "stop" "stopped" cowl containers stop one
check "start" "running" cowl containers start one
check "the package can be removed" "Removing cowl" apt-get remove -y cowl
check "no node runs" "^0$" eval 'pgrep -c -x cowl; true'
check "no container runs" "^0$" eval 'pgrep -c -f "cowl shim"; true'
check "purging it leaves the containers and says so" "holds the containers" apt-get purge -y cowl
check "they are there" "node.db" ls /var/lib/cowl
