//! The image starts only what has something to do, and still does all that a person configures.

use crate::harness::{eventually, shared};
use crate::stories;

stories![what_a_person_configures_takes_effect_at_the_next_boot, logins_wake_what_keeps_them];

fn what_a_person_configures_takes_effect_at_the_next_boot() {
    let node = shared::node();
    let c = node.container("configured");
    c.booted();
    c.says(
        "mkdir /srv/mem && echo 'tmpfs /srv/mem tmpfs size=1m 0 0' >> /etc/fstab
         echo net.ipv4.ip_forward=1 > /etc/sysctl.d/99-router.conf
         printf '#!/bin/sh\ntouch /root/rc-local\n' > /etc/rc.local && chmod +x /etc/rc.local
         cat > /etc/init.d/old <<'OLD' && chmod +x /etc/init.d/old && update-rc.d old defaults
#!/bin/sh
### BEGIN INIT INFO
# Provides: old
# Required-Start: $local_fs
# Required-Stop:
# Default-Start: 2 3 4 5
# Default-Stop:
### END INIT INFO
[ \"$1\" != start ] || touch /root/old
OLD",
    );
    c.cowl(&["containers", "restart"]).ok();
    assert_eq!(c.booted(), "running", "{}", c.exec("systemctl --failed --no-legend").stdout);
    assert_eq!(c.says("findmnt -no FSTYPE /srv/mem"), "tmpfs");
    assert_eq!(c.says("cat /proc/sys/net/ipv4/ip_forward"), "1");
    assert_eq!(c.says("ls /root/rc-local /root/old | wc -l"), "2");
}

fn logins_wake_what_keeps_them() {
    let node = shared::node();
    let c = node.container("logins");
    assert_eq!(c.booted(), "running");
    assert_eq!(c.exec("systemctl is-active dbus.service systemd-logind.service").stdout.trim(), "inactive\ninactive");
    assert_eq!(c.says("su - user -c 'loginctl show-session --property=Name --value $XDG_SESSION_ID'"), "user");
    assert_eq!(c.says("su - user -c 'systemctl --user is-system-running --wait'"), "running");
    // Who lingers is there after a boot without anybody's login.
    c.says("loginctl enable-linger user");
    c.cowl(&["containers", "restart"]).ok();
    eventually("the services of a user who lingers", 60, || {
        (c.exec("systemctl is-active user@1000.service").stdout.trim() == "active").then_some(())
    });
    assert_eq!(c.booted(), "running");
}
