/* Processes and namespaces outside; what all containers share. */
#include "probe.h"

#define NS_GET_USERNS _IO(0xb7, 1)
#define NS_GET_PARENT _IO(0xb7, 2)
#define NS_MNT_GET_NEXT _IOR(0xb7, 11, char[16])
#define NS_MNT_GET_PREV _IOR(0xb7, 12, char[16])

void outside(void) {
    int pid_ns = open("/proc/self/ns/pid", O_RDONLY), user_ns = open("/proc/self/ns/user", O_RDONLY);
    int net_ns = open("/proc/self/ns/net", O_RDONLY), mnt_ns = open("/proc/self/ns/mnt", O_RDONLY);
    MUST_FAIL("parent of the pid namespace", ioctl(pid_ns, NS_GET_PARENT));
    MUST_FAIL("parent of the user namespace", ioctl(user_ns, NS_GET_PARENT));
    int owner = ioctl(net_ns, NS_GET_USERNS);
    MUST_FAIL("parent of the network's owner", ioctl(owner, NS_GET_PARENT));
    char info[16] = {16};
    MUST_FAIL("next mount namespace", ioctl(mnt_ns, NS_MNT_GET_NEXT, info));
    MUST_FAIL("previous mount namespace", ioctl(mnt_ns, NS_MNT_GET_PREV, info));
    /* Every number a process outside could have. */
    int found = 0;
    for (int pid = 1; pid <= 4194304; pid++)
        if (kill(pid, 0) == 0 || errno == EPERM) {
            char path[64];
            struct stat st;
            snprintf(path, sizeof path, "/proc/%d", pid);
            if (stat(path, &st) != 0)
                found++;
        }
    tell("signal to what proc does not show", found > 0, found ? "%d" : "none", found);
    MUST_FAIL("signal to all but us", kill(-4194300, 0));
    MUST_FAIL("trace pid 0's", ptrace(PTRACE_ATTACH, 0, 0, 0));
    struct stat mine, theirs;
    /* The parent of the kit is outside; its number inside must be none. */
    int strangers = 0;
    DIR *dir = opendir("/proc");
    struct dirent *entry;
    while (dir && (entry = readdir(dir))) {
        int pid = atoi(entry->d_name);
        char path[64], link[256];
        if (pid <= 0)
            continue;
        static const char *const kinds[] = {"user", "pid", "mnt", "net", "ipc", "uts", "cgroup"};
        for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
            snprintf(path, sizeof path, "/proc/%d/ns/%s", pid, kinds[i]);
            ssize_t n = readlink(path, link, sizeof link - 1);
            if (n < 0)
                continue;
            snprintf(path, sizeof path, "/proc/1/ns/%s", kinds[i]);
            char ours[256];
            ssize_t m = readlink(path, ours, sizeof ours - 1);
            /* systemd gives some services mount and uts namespaces of their own. */
            if (m >= 0 && (n != m || memcmp(link, ours, n)) && i != 2 && i != 5 && i != 4 && i != 3)
                strangers++;
        }
    }
    tell("process of another namespace", strangers > 0, strangers ? "%d" : "none", strangers);
    (void)mine;
    (void)theirs;
}

void shared(void) {
    struct {
        long long fd;
        char name[4088];
    } volume = {0};
    strcpy(volume.name, "escape");
    int top = open("/", O_RDONLY | O_DIRECTORY), usr = open("/usr", O_RDONLY | O_DIRECTORY);
    int dirs[] = {top, usr};
    const char *names[] = {"/", "/usr"};
    for (int i = 0; i < 2; i++) {
        static const struct {
            unsigned long request;
            const char *name;
        } requests[] = {{0x5000940e, "SUBVOL_CREATE"},  {0x50009401, "SNAP_CREATE"},     {0x50009417, "SNAP_CREATE_V2"},
                        {0x50009418, "SUBVOL_CREATE_V2"}, {0x5000940f, "SNAP_DESTROY"},  {0x5000943f, "SNAP_DESTROY_V2"},
                        {0x4008941a, "SUBVOL_SETFLAGS"}};
        for (size_t j = 0; j < sizeof requests / sizeof *requests; j++) {
            char name[64];
            snprintf(name, sizeof name, "%s on %s", requests[j].name, names[i]);
            MUST_FAIL(name, ioctl(dirs[i], requests[j].request, &volume));
            if (errno != ENOTTY)
                tell(name, 1, "answers %s, not ENOTTY", strerrorname_np(errno));
        }
    }
    /* Programs of the host that are run here by descriptor. */
    DIR *procs = opendir("/proc");
    struct dirent *entry;
    int kits = 0;
    while (procs && (entry = readdir(procs))) {
        char path[300], comm[64] = "";
        snprintf(path, sizeof path, "/proc/%s/comm", entry->d_name);
        int fd = open(path, O_RDONLY);
        ssize_t n = fd < 0 ? -1 : read(fd, comm, sizeof comm - 1);
        if (fd >= 0)
            close(fd);
        if (n <= 0 || strncmp(comm, "cowl-kit", 8) != 0)
            continue;
        kits++;
        snprintf(path, sizeof path, "/proc/%s/exe", entry->d_name);
        MUST_FAIL("write the kit", open(path, O_WRONLY));
        MUST_FAIL("write the kit, truncating", open(path, O_RDWR | O_TRUNC));
        MUST_FAIL("chmod the kit", chmod(path, 0777));
        MUST_FAIL("chown the kit", chown(path, 0, 0));
        MUST_FAIL("mark the kit", fsetxattr(open(path, O_RDONLY), "user.x", "x", 1, 0));
        MUST_FAIL("link the kit", linkat(AT_FDCWD, path, AT_FDCWD, "/root/kit", AT_SYMLINK_FOLLOW));
        snprintf(path, sizeof path, "/proc/%s/exe/..", entry->d_name);
        MUST_FAIL("beside the kit", open(path, O_RDONLY));
        /* Bound here it is as read-only as there. */
        snprintf(path, sizeof path, "/proc/%s/exe", entry->d_name);
        close(open("/root/bound", O_CREAT | O_WRONLY, 0644));
        if (mount(path, "/root/bound", NULL, MS_BIND, NULL) == 0) {
            mount(NULL, "/root/bound", NULL, MS_BIND | MS_REMOUNT, NULL);
            MUST_FAIL("write the kit through a bind", open("/root/bound", O_WRONLY));
            umount("/root/bound");
        } else {
            tell("bind the kit", 0, NULL);
        }
    }
    tell("kits", kits == 0, "%d attacked", kits);
}

/* The uid that owns a user namespace, as this process sees it. */
int owner(const char *path) {
    unsigned uid = 0;
    int fd = open(path, O_RDONLY);
    if (ioctl(fd, _IO(0xb7, 4), &uid) != 0)
        return 1;
    printf("%u\n", uid);
    return 0;
}
