/* Files that steer or show the host, with all masks taken away; control groups. */
#include "probe.h"

/* A file that must not give a byte. */
static void must_not_read(const char *path) {
    char byte;
    errno = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t n = fd < 0 ? -1 : read(fd, &byte, 1);
    tell(path, n > 0, n > 0 ? "read a byte" : n == 0 ? "empty" : NULL);
    if (fd >= 0)
        close(fd);
}

/* Writes back what a file holds; a knob that takes its own value back could take another. */
static void rewrite(const char *path) {
    char old[4096];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t n = fd < 0 ? -1 : read(fd, old, sizeof old - 1);
    if (fd >= 0)
        close(fd);
    old[n > 0 ? n : 0] = 0;
    errno = 0;
    int got = write_to(path, n > 0 ? old : "0");
    if (got == 0)
        tell(path, 1, "took its own value");
    else if (errno != ENOENT)
        printf("%s refused %s\n", path, strerrorname_np(errno));
}

/* What belongs to the own namespaces, below /proc/sys. */
static int is_own(const char *path) {
    static const char *const own[] = {"/net/",          "/user/",        "/fs/mqueue/",    "/kernel/hostname",
                                      "/kernel/domainname", "/kernel/msg", "/kernel/sem",   "/kernel/shm",
                                      "/kernel/auto_msgmni", "/kernel/ns_last_pid", "/kernel/pid_max"};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (strncmp(path, own[i], strlen(own[i])) == 0)
            return 1;
    return 0;
}

static void walk(const char *top, const char *below, int depth, int all) {
    char path[4096];
    snprintf(path, sizeof path, "%s%s", top, below);
    DIR *dir = depth > 0 ? opendir(path) : NULL;
    if (!dir)
        return;
    struct dirent *entry;
    while ((entry = readdir(dir))) {
        char next[2048];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(next, sizeof next, "%s/%s", below, entry->d_name);
        snprintf(path, sizeof path, "%s%s", top, next);
        struct stat st;
        if (lstat(path, &st) != 0)
            continue;
        if (S_ISDIR(st.st_mode))
            walk(top, next, depth - 1, all);
        else if (S_ISREG(st.st_mode) && (st.st_mode & 0222) && (all || !is_own(next)))
            rewrite(path);
    }
    closedir(dir);
}

void knobs(const char *proc, const char *sys) {
    char path[4096];
    /* Remounts first: whatever is read-only must not be so by the mount alone. */
    mount(NULL, sys, NULL, MS_REMOUNT | MS_BIND, NULL);
    snprintf(path, sizeof path, "%s/sys", proc);
    walk(path, "", 6, 0);
    static const char *const files[] = {"/sysrq-trigger", "/irq/default_smp_affinity", "/acpi/wakeup", "/mtrr",
                                        "/scsi/scsi", "/timer_list", "/latency_stats", "/sys/kernel/core_pattern",
                                        "/sys/kernel/modprobe", "/sys/kernel/hotplug", "/sys/vm/drop_caches",
                                        "/sys/kernel/panic", "/sys/kernel/usermodehelper/bset"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s%s", proc, files[i]);
        MUST_FAIL(path, open(path, O_WRONLY));
    }
    static const char *const places[] = {"/kernel", "/module", "/power", "/fs/btrfs", "/fs/ext4", "/block",
                                         "/firmware", "/bus", "/devices/system", "/devices/virtual/block",
                                         "/devices/pci0000:00", "/devices/virtual/bdi"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        snprintf(path, sizeof path, "%s%s", sys, places[i]);
        walk(path, "", 7, 1);
    }
    static const char *const knobs[] = {"/kernel/mm/ksm/run", "/kernel/uevent_helper", "/kernel/kexec_crash_size",
                                        "/power/state", "/kernel/mm/transparent_hugepage/enabled"};
    for (size_t i = 0; i < sizeof knobs / sizeof *knobs; i++) {
        snprintf(path, sizeof path, "%s%s", sys, knobs[i]);
        MUST_FAIL(path, open(path, O_WRONLY));
    }
    static const char *const secret[] = {"/kcore", "/kmsg", "/kpagecount", "/kpageflags", "/slabinfo", "/vmallocinfo",
                                         "/timer_list"};
    for (size_t i = 0; i < sizeof secret / sizeof *secret; i++) {
        snprintf(path, sizeof path, "%s%s", proc, secret[i]);
        must_not_read(path);
    }
    /* Addresses of the kernel must be hidden also where the list of symbols is shown. */
    snprintf(path, sizeof path, "%s/kallsyms", proc);
    FILE *symbols = fopen(path, "r");
    unsigned long address = 0, seen = 0;
    while (symbols && fscanf(symbols, "%lx %*[^\n]", &address) == 1)
        seen |= address;
    tell("kallsyms", seen != 0, seen ? "an address" : "zeros");
    if (symbols)
        fclose(symbols);
    /* Nobody's keys but our own. */
    snprintf(path, sizeof path, "%s/keys", proc);
    FILE *keys = fopen(path, "r");
    char line[512];
    int foreign = 0;
    while (keys && fgets(line, sizeof line, keys)) {
        unsigned uid = 0;
        if (sscanf(line, "%*x %*s %*d %*s %*x %u", &uid) == 1 && uid == 65534)
            foreign++;
    }
    tell("keys", foreign > 0, foreign ? "%d of others" : "none of others", foreign);
    if (keys)
        fclose(keys);
}

static void limits_in(const char *top) {
    DIR *dir = opendir(top);
    struct dirent *entry;
    char path[4096];
    /* The group at the top holds the container's own limits; below is its own business. */
    while (dir && (entry = readdir(dir))) {
        struct stat st;
        snprintf(path, sizeof path, "%s/%s", top, entry->d_name);
        static const char *const own[] = {"cgroup.procs", "cgroup.threads", "cgroup.subtree_control", "tasks"};
        int ours = 0;
        for (size_t i = 0; i < sizeof own / sizeof *own; i++)
            ours |= strcmp(entry->d_name, own[i]) == 0;
        if (stat(path, &st) != 0 || !S_ISREG(st.st_mode) || ours)
            continue;
        MUST_FAIL(path, open(path, O_WRONLY));
    }
    if (dir)
        closedir(dir);
}

void cgroups(void) {
    limits_in("/sys/fs/cgroup");
    static const char *const v1[] = {"memory", "cpu", "cpuacct", "pids", "freezer", "blkio", "devices", "cpuset",
                                     "name=systemd", "net_cls", "hugetlb"};
    mkdir("/root/cg", 0755);
    for (size_t i = 0; i < sizeof v1 / sizeof *v1; i++) {
        char options[64];
        snprintf(options, sizeof options, v1[i][4] == '=' ? "none,%s" : "%s", v1[i]);
        errno = 0;
        if (mount("none", "/root/cg", "cgroup", 0, options) != 0) {
            tell(v1[i], 0, NULL);
            continue;
        }
        /* Our own part may be looked at; its limits and the release agent may not be changed. */
        limits_in("/root/cg");
        MUST_FAIL("release_agent", write_to("/root/cg/release_agent", "/bin/sh"));
        MUST_FAIL("a group beside ours", mkdir("/root/cg/escape", 0755));
        MUST_FAIL("remount with release_agent", mount("none", "/root/cg", "cgroup", MS_REMOUNT, "release_agent=/bin/sh"));
        umount("/root/cg");
    }
    MUST_FAIL("new hierarchy", mount("none", "/root/cg", "cgroup", 0, "none,name=escape"));
    MUST_FAIL("mkdir in the parent", mkdir("/sys/fs/cgroup/../escape", 0755));
    MUST_FAIL("limit by the parent", open("/proc/1/root/sys/fs/cgroup/../memory.max", O_WRONLY));
    MUST_FAIL("lower our badness", write_to("/proc/self/oom_score_adj", "-500"));
}
