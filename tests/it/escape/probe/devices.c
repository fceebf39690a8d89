/* Devices of the host, and what hangs on them. */
#include "probe.h"

void devices(void) {
    static const struct {
        const char *name;
        int kind, major, minor;
    } nodes[] = {{"disk", S_IFBLK, 254, 0}, {"sda", S_IFBLK, 8, 0},       {"loop0", S_IFBLK, 7, 0},
                 {"mem", S_IFCHR, 1, 1},    {"kmsg", S_IFCHR, 1, 11},     {"loop-control", S_IFCHR, 10, 237},
                 {"kvm", S_IFCHR, 10, 232}, {"btrfs-control", S_IFCHR, 10, 234}, {"msr", S_IFCHR, 202, 0},
                 {"tty0", S_IFCHR, 4, 0},   {"console", S_IFCHR, 5, 1},   {"vhost-vsock", S_IFCHR, 10, 241}};
    for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++) {
        const char *places[] = {"/root", "/dev", "/dev/shm", "/run", "/tmp", "/usr/local"};
        for (size_t j = 0; j < sizeof places / sizeof *places; j++) {
            char path[128];
            snprintf(path, sizeof path, "%s/escape-%s", places[j], nodes[i].name);
            unlink(path);
            errno = 0;
            if (mknod(path, nodes[i].kind | 0666, makedev(nodes[i].major, nodes[i].minor)) == 0) {
                /* The node alone is a file like others; opened it would be the device. */
                int fd = open(path, O_RDWR | O_NONBLOCK);
                tell(path, fd >= 0, fd >= 0 ? "opened" : NULL);
                unlink(path);
            } else {
                tell(path, 0, NULL);
            }
        }
    }
    static const char *const there[] = {"/dev/loop-control", "/dev/loop0", "/dev/kmsg", "/dev/mem",       "/dev/kvm",
                                        "/dev/vda",          "/dev/sda",   "/dev/port", "/dev/autofs",    "/dev/uinput",
                                        "/dev/btrfs-control", "/dev/mapper/control", "/dev/cpu/0/msr"};
    for (size_t i = 0; i < sizeof there / sizeof *there; i++)
        MUST_FAIL(there[i], open(there[i], O_RDWR | O_NONBLOCK));
    static const char *const kinds[] = {"btrfs", "ext4", "xfs", "vfat", "squashfs", "iso9660"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        MUST_FAIL(kinds[i], mount("/dev/loop0", "/mnt", kinds[i], MS_RDONLY, NULL));
    static const char *const whole[] = {"debugfs", "tracefs", "securityfs", "pstore", "efivarfs",
                                        "configfs", "devtmpfs", "nfsd", "selinuxfs", "functionfs"};
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        MUST_FAIL(whole[i], mount("none", "/mnt", whole[i], 0, NULL));
}

/* Takes what is mounted on a directory away and puts a link to `target`, or a pipe, in its place. */
int replace(const char *path, const char *target) {
    while (umount2(path, MNT_DETACH) == 0) {
    }
    if (rmdir(path) != 0) {
        perror(path);
        return 1;
    }
    return strcmp(target, "pipe") ? symlink(target, path) : mkfifo(path, 0644);
}
