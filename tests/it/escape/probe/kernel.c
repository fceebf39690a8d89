/* Calls that steer or show the whole machine. */
#include "probe.h"

void kernel(void) {
    MUST_FAIL("init_module", syscall(SYS_init_module, "", 0, ""));
    MUST_FAIL("finit_module", syscall(SYS_finit_module, 0, "", 0));
    MUST_FAIL("delete_module", syscall(SYS_delete_module, "loop", O_NONBLOCK));
    MUST_FAIL("kexec_load", syscall(SYS_kexec_load, 0, 0, NULL, 0));
    MUST_FAIL("kexec_file_load", syscall(SYS_kexec_file_load, 0, 0, 0, "", 4));
    char attr[128] = {1, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 1};
    MUST_FAIL("bpf", syscall(SYS_bpf, 0, attr, sizeof attr));
    char perf[128] = {1, 0, 0, 0, 112};
    MUST_FAIL("perf_event_open", syscall(SYS_perf_event_open, perf, 0, -1, -1, 0));
    MUST_FAIL("userfaultfd", syscall(SYS_userfaultfd, O_CLOEXEC | 1));
    char ring[256] = {0};
    MUST_FAIL("io_uring_setup", syscall(SYS_io_uring_setup, 4, ring));
    MUST_FAIL("keyctl session", syscall(SYS_keyctl, 0, -3, 0));
    MUST_FAIL("keyctl describe", syscall(SYS_keyctl, 6, -3, NULL, 0));
    MUST_FAIL("add_key", syscall(SYS_add_key, "user", "escape", "x", 1, -3));
    MUST_FAIL("request_key", syscall(SYS_request_key, "user", "escape", NULL, -3));
    MUST_FAIL("syslog read all", klogctl(3, attr, sizeof attr));
    MUST_FAIL("syslog size", klogctl(10, NULL, 0));
    MUST_FAIL("swapon", syscall(SYS_swapon, "/etc/hostname", 0));
    MUST_FAIL("swapoff", syscall(SYS_swapoff, "/etc/hostname"));
    MUST_FAIL("acct", acct("/root/acct"));
    struct timeval tv = {1, 0};
    MUST_FAIL("settimeofday", settimeofday(&tv, NULL));
    struct timespec ts = {1, 0};
    MUST_FAIL("clock_settime", clock_settime(CLOCK_REALTIME, &ts));
    MUST_FAIL("quotactl", syscall(SYS_quotactl, 0x80000100, "/dev/loop0", 0, NULL));
#ifdef SYS_iopl
    MUST_FAIL("iopl", syscall(SYS_iopl, 3));
    MUST_FAIL("ioperm", syscall(SYS_ioperm, 0x80, 1, 1));
#endif
    struct {
        unsigned bytes;
        int type;
        char data[128];
    } handle = {8, 1, {0}};
    MUST_FAIL("open_by_handle_at", syscall(SYS_open_by_handle_at, AT_FDCWD, &handle, O_RDONLY));
    /* A nice value or scheduler that starves the host's own. */
    struct sched_param fifo = {50};
    MUST_FAIL("sched_setscheduler FIFO", sched_setscheduler(0, SCHED_FIFO, &fifo));
    for (int family = 1; family < 46; family++) {
        if (family == AF_UNIX || family == AF_INET || family == AF_INET6 || family == AF_NETLINK || family == AF_PACKET)
            continue;
        char name[32];
        snprintf(name, sizeof name, "socket family %d", family);
        MUST_FAIL(name, socket(family, SOCK_STREAM, 0));
        MUST_FAIL(name, socket(family, SOCK_DGRAM, 0));
        MUST_FAIL(name, socket(family, SOCK_SEQPACKET, 0));
        MUST_FAIL(name, socket(family, SOCK_RAW, 0));
    }
#ifdef __x86_64__
    /* The 32-bit door: number 20 is getpid there. */
    long got;
    __asm__ volatile("int $0x80" : "=a"(got) : "a"(20) : "memory");
    errno = got < 0 ? -got : 0;
    tell("getpid by int 0x80", got > 0, got > 0 ? "gave %ld" : NULL, got);
#endif
}
