# Containers inside the container: podman with limits, by the controllers that are handed down.

install='export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq && apt-get install -y --no-install-recommends podman crun netavark busybox-static'
check "podman is installed" "Setting up podman" inside "$install"
check "a root file system of nothing but busybox" "^cat$" inside \
    'mkdir -p /srv/root/bin && cp /usr/bin/busybox /srv/root/bin/ && ln -s busybox /srv/root/bin/cat && ls /srv/root/bin'
run='podman run --rm --network none --memory 64m --pids-limit 50 --rootfs /srv/root'
check "podman limits memory" "^67108864$" inside "$run /bin/cat /sys/fs/cgroup/memory.max"
check "podman limits tasks" "^50$" inside "$run /bin/cat /sys/fs/cgroup/pids.max"
