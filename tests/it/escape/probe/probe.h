/* What root inside a container may try by system calls.
 *
 * `probe GROUP` prints one line an attempt: "NAME refused ERRNO" or "NAME WORKED WHAT".
 */
#pragma once
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

/* Prints the line of one attempt; without a text, a refusal tells errno. */
void tell(const char *name, int worked, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* An attempt that is a system call: it must fail. */
#define MUST_FAIL(name, call)                                                                                          \
    do {                                                                                                               \
        errno = 0;                                                                                                     \
        long got = (long)(call);                                                                                       \
        tell(name, got >= 0, got >= 0 ? "gave %ld" : NULL, got);                                                       \
    } while (0)

/* Writes a text to a file; -1 with errno when that is refused. */
int write_to(const char *path, const char *text);

/* The groups. */
void kernel(void);
void devices(void);
int replace(const char *path, const char *target);
void knobs(const char *proc, const char *sys);
void outside(void);
int owner(const char *path);
void descriptors(void);
void lurk(int seconds);
void shared(void);
void cgroups(void);
void spoof(const char *source, const char *target, int port, const char *text);
void arp(const char *who);
void advertise(void);
void flood_notify(int seconds);
_Noreturn void evil_init(void);
