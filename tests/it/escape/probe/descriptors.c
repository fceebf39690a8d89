/* Descriptors that lead outside. */
#include "probe.h"

#define SIOCGSKNS 0x894C

static int leads_out(int fd, const char *who, const char *target, dev_t root, dev_t usr) {
    struct stat st;
    int bad = 0;
    if (fstat(fd, &st) != 0)
        return 0;
    if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)) {
        /* A file of a file system that is not mounted here. */
        FILE *table = fopen("/proc/self/mountinfo", "r");
        char line[4096];
        int known = st.st_dev == root || st.st_dev == usr;
        while (table && !known && fgets(line, sizeof line, table)) {
            unsigned major, minor;
            if (sscanf(line, "%*d %*d %u:%u", &major, &minor) == 2 && makedev(major, minor) == st.st_dev)
                known = 1;
        }
        if (table)
            fclose(table);
        /* Anonymous memory and namespace files have devices of their own. */
        int memory = strncmp(target, "/memfd:", 7) == 0 || strncmp(target, "/dev/zero", 9) == 0 ||
                     strncmp(target, "mnt:", 4) == 0 || strncmp(target, "net:", 4) == 0 ||
                     strncmp(target, "/[aio]", 6) == 0 || strchr(target, ':') != NULL;
        if (!known && !memory) {
            tell(who, 1, "%s of device %u:%u", target, major(st.st_dev), minor(st.st_dev));
            bad = 1;
        }
        if (S_ISDIR(st.st_mode)) {
            struct stat up;
            if (fstatat(fd, "../../../../../../../../../../../../../..", &up, 0) == 0 && up.st_dev != root && known == 0) {
                tell(who, 1, "climbs out through %s", target);
                bad = 1;
            }
        }
    }
    if (S_ISSOCK(st.st_mode)) {
        int ns = ioctl(fd, SIOCGSKNS);
        struct stat theirs, ours;
        if (ns >= 0 && fstat(ns, &theirs) == 0 && stat("/proc/self/ns/net", &ours) == 0 && theirs.st_ino != ours.st_ino) {
            /* A service with a network namespace of its own is inside all the same; entering tells. */
            if (setns(ns, CLONE_NEWNET) == 0 && access("/sys/class/net", F_OK) != 0)
                tell(who, 1, "a network namespace by %s", target), bad = 1;
        }
        if (ns >= 0)
            close(ns);
        /* What interfaces does the socket know of that are not ours? */
        for (int index = 1; index < 4000; index++) {
            struct ifreq request = {.ifr_ifindex = index};
            if (ioctl(fd, SIOCGIFNAME, &request) == 0 && strcmp(request.ifr_name, "lo") && strcmp(request.ifr_name, "eth0")) {
                tell(who, 1, "%s shows interface %s", target, request.ifr_name);
                bad = 1;
                break;
            }
        }
    }
    return bad;
}

void descriptors(void) {
    struct stat root, usr;
    stat("/", &root);
    stat("/usr", &usr);
    DIR *procs = opendir("/proc");
    struct dirent *entry;
    int looked = 0, bad = 0;
    while (procs && (entry = readdir(procs))) {
        int pid = atoi(entry->d_name);
        if (pid <= 0)
            continue;
        int pidfd = syscall(SYS_pidfd_open, pid, 0);
        char path[300], comm[64] = "?", who[200];
        snprintf(path, sizeof path, "/proc/%d/comm", pid);
        FILE *f = fopen(path, "r");
        if (f && fgets(comm, sizeof comm, f))
            comm[strcspn(comm, "\n")] = 0;
        if (f)
            fclose(f);
        snprintf(path, sizeof path, "/proc/%d/fd", pid);
        DIR *fds = opendir(path);
        struct dirent *one;
        while (fds && (one = readdir(fds))) {
            int number = atoi(one->d_name);
            if (one->d_name[0] == '.')
                continue;
            char link[512] = "";
            snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, number);
            ssize_t n = readlink(path, link, sizeof link - 1);
            link[n > 0 ? n : 0] = 0;
            snprintf(who, sizeof who, "fd %d of %s", number, comm);
            int fd = syscall(SYS_pidfd_getfd, pidfd, number, 0);
            if (fd < 0)
                continue;
            looked++;
            /* Joining namespaces is done by a child, so that we stay where we are. */
            fflush(stdout);
            pid_t child = fork();
            if (child == 0)
                _exit(leads_out(fd, who, link, root.st_dev, usr.st_dev));
            int status = 0;
            waitpid(child, &status, 0);
            bad += WIFEXITED(status) ? WEXITSTATUS(status) : 0;
            close(fd);
        }
        if (fds)
            closedir(fds);
        static const char *const links[] = {"root", "cwd"};
        for (size_t i = 0; i < 2; i++) {
            struct stat st;
            snprintf(path, sizeof path, "/proc/%d/%s", pid, links[i]);
            if (stat(path, &st) == 0 && st.st_dev != root.st_dev && strcmp(comm, "probe")) {
                char there[512] = "";
                readlink(path, there, sizeof there - 1);
                /* Services may live in trees of their own; the disk's device must be below. */
                snprintf(path, sizeof path, "/proc/%d/%s/etc/hostname", pid, links[i]);
                if (stat(path, &st) == 0 && st.st_dev != root.st_dev)
                    tell(comm, 1, "%s is %s", links[i], there), bad++;
            }
        }
        close(pidfd);
    }
    if (procs)
        closedir(procs);
    tell("descriptors", bad > 0 || looked < 10, "%d looked at, %d lead outside", looked, bad);
}

/* The name of a process; empty when it is gone. */
static void name_of(int pid, char *comm, size_t size) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/comm", pid);
    int fd = open(path, O_RDONLY);
    ssize_t n = fd < 0 ? -1 : read(fd, comm, size - 1);
    if (fd >= 0)
        close(fd);
    comm[n > 0 ? n - 1 : 0] = 0;
}

/* What can be taken of a process now, or NULL. */
static const char *taken_of(int pid, dev_t root) {
    static char what[600];
    char path[300], link[256];
    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    DIR *fds = opendir(path);
    struct dirent *one;
    what[0] = 0;
    while (fds && (one = readdir(fds))) {
        snprintf(path, sizeof path, "/proc/%d/fd/%s", pid, one->d_name);
        ssize_t n = readlink(path, link, sizeof link - 1);
        if (n > 0) {
            link[n] = 0;
            snprintf(what, sizeof what, "fd %s is %s", one->d_name, link);
        }
    }
    if (fds)
        closedir(fds);
    struct stat st;
    snprintf(path, sizeof path, "/proc/%d/root", pid);
    if (stat(path, &st) == 0 && st.st_dev != root)
        return "its root is the host's";
    snprintf(path, sizeof path, "/proc/%d/mem", pid);
    int fd = open(path, O_RDWR);
    if (fd >= 0) {
        close(fd);
        return "its memory can be written";
    }
    if (ptrace(PTRACE_SEIZE, pid, 0, 0) == 0)
        return "it can be traced";
    return what[0] ? what : NULL;
}

/* Watches for new processes and grabs what they hold while they are being made. */
void lurk(int seconds) {
    struct stat root;
    stat("/", &root);
    time_t end = time(NULL) + seconds;
    int seen = 0, bad = 0, last = 0;
    while (time(NULL) < end) {
        DIR *procs = opendir("/proc");
        struct dirent *entry;
        while (procs && (entry = readdir(procs))) {
            int pid = atoi(entry->d_name);
            char comm[64];
            if (pid <= 1 || pid == getpid())
                continue;
            /* The shim's child before it becomes the kit. */
            name_of(pid, comm, sizeof comm);
            if (strcmp(comm, "cowl") != 0)
                continue;
            if (pid != last)
                seen++, last = pid;
            const char *what = taken_of(pid, root.st_dev);
            /* The kit itself may be taken: it is the container's. */
            name_of(pid, comm, sizeof comm);
            if (what && strcmp(comm, "cowl") == 0)
                tell("being born", 1, "%s", what), bad++;
        }
        if (procs)
            closedir(procs);
    }
    tell("births", bad > 0, "%d seen", seen);
}
