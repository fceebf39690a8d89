/* Which group of attempts is made. */
#include "probe.h"

void tell(const char *name, int worked, const char *format, ...) {
    char what[512] = "";
    if (format) {
        va_list args;
        va_start(args, format);
        vsnprintf(what, sizeof what, format, args);
        va_end(args);
    }
    if (worked)
        printf("%s WORKED %s\n", name, what);
    else
        printf("%s refused %s\n", name, what[0] ? what : strerrorname_np(errno));
    fflush(stdout);
}

int write_to(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t n = write(fd, text, strlen(text));
    int saved = errno;
    close(fd);
    errno = saved;
    return n < 0 ? -1 : 0;
}

int main(int argc, char **argv) {
    if (getpid() == 1 && argc == 1) {
        /* As PID 1 of a test: what to be is in a file. */
        FILE *mode = fopen("/etc/evil", "r");
        char what[32] = "";
        if (mode && fgets(what, sizeof what, mode))
            fclose(mode);
        if (strncmp(what, "reboot", 6) == 0)
            for (;;)
                reboot(RB_AUTOBOOT);
        evil_init();
    }
    const char *group = argc > 1 ? argv[1] : "";
    if (!strcmp(group, "kernel"))
        kernel();
    else if (!strcmp(group, "devices"))
        devices();
    else if (!strcmp(group, "knobs") && argc > 3)
        knobs(argv[2], argv[3]);
    else if (!strcmp(group, "replace") && argc > 3)
        return replace(argv[2], argv[3]);
    else if (!strcmp(group, "owner") && argc > 2)
        return owner(argv[2]);
    else if (!strcmp(group, "outside"))
        outside();
    else if (!strcmp(group, "descriptors"))
        descriptors();
    else if (!strcmp(group, "lurk"))
        lurk(atoi(argv[2]));
    else if (!strcmp(group, "shared"))
        shared();
    else if (!strcmp(group, "cgroups"))
        cgroups();
    else if (!strcmp(group, "spoof") && argc > 5)
        spoof(argv[2], argv[3], atoi(argv[4]), argv[5]);
    else if (!strcmp(group, "arp") && argc > 2)
        arp(argv[2]);
    else if (!strcmp(group, "advertise"))
        advertise();
    else if (!strcmp(group, "notify") && argc > 2)
        flood_notify(atoi(argv[2]));
    else
        return 2;
    return 0;
}
