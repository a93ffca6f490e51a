/* The clients. In C, so that their cost doesn't drown the server's.

   load CPU MODE SOCKET REQUEST-FILE ANSWER-SIZE SECONDS CONNECTIONS [PID ...]

   An answer has come when ANSWER-SIZE bytes have, or the server hung up. CPU -1: anywhere. Pinned,
   it runs as SCHED_BATCH: else the woken client interrupts the server inside its send(), the next
   request is there before the server looks, and it never waits as it would in life. PID: the
   server's processes, whose CPU clocks are read. One line of JSON comes out; times in microseconds.

   kept    one connection, one request after the other
   fresh   connect, ask, close, one after the other
   many    CONNECTIONS that each ask again as soon as they are answered
   paced   one connection, a request each millisecond, timed from when it should have been sent
   dials   connect and close, one after the other
   flood   one connection, 64 requests ahead; the answers are read
   hold    CONNECTIONS that ask once; prints "ready"; ends with its standard input
   wait    CONNECTIONS that ask; prints "ready" when all have; SECONDS for the answers
   once    one request, the answer to the standard output: the smallest command line
*/
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { LARGEST = 65536, SAMPLES = 1 << 20, AHEAD = 64, EVENTS = 256 };

static struct sockaddr_un place = {.sun_family = AF_UNIX};
static char request[LARGEST * AHEAD], answer[LARGEST];
static size_t request_size, answer_size;
static double samples[SAMPLES];
static long sampled, done;
static clockid_t clocks[16];
static int clock_count;
static double began, began_cpu;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static double seconds(clockid_t clock) {
    struct timespec now;
    if (clock_gettime(clock, &now) < 0)
        fail("clock_gettime");
    return now.tv_sec + now.tv_nsec * 1e-9;
}

static double now(void) { return seconds(CLOCK_MONOTONIC); }

static double server_cpu(void) {
    double sum = 0;
    for (int i = 0; i < clock_count; i++)
        sum += seconds(clocks[i]);
    return sum;
}

static int dial(void) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval patience = {30, 0}; /* an answer shorter than was said would hang it for ever */
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) < 0 ||
        connect(fd, (struct sockaddr *)&place, sizeof place) < 0)
        fail("connect");
    return fd;
}

static void ask(int fd) {
    if (send(fd, request, request_size, MSG_NOSIGNAL) != (ssize_t)request_size)
        fail("send");
}

/* Read a whole answer. Gives its size, less than answer_size if the server hung up. */
static size_t hear(int fd) {
    size_t have = 0;
    while (have < answer_size) {
        ssize_t got = recv(fd, answer + have, sizeof answer - have, 0);
        if (got < 0)
            fail("recv");
        if (got == 0)
            break;
        have += got;
    }
    if (have == 0) {
        fputs("hung up without an answer\n", stderr);
        exit(1);
    }
    return have;
}

static void begin(void) {
    sampled = done = 0;
    began_cpu = server_cpu();
    began = now();
}

static void note(double since) {
    if (sampled < SAMPLES)
        samples[sampled++] = now() - since;
    done++;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(void) {
    double took = now() - began, cpu = server_cpu() - began_cpu;
    qsort(samples, sampled, sizeof *samples, by_size);
    double p50 = sampled ? samples[sampled / 2] : 0, p99 = sampled ? samples[sampled * 99 / 100] : 0;
    double most = sampled ? samples[sampled - 1] : 0;
    printf("{\"count\": %ld, \"seconds\": %.6f, \"p50\": %.3f, \"p99\": %.3f, \"most\": %.3f,"
           " \"cpu\": %.4f, \"ended\": %.6f}\n",
           done, took, p50 * 1e6, p99 * 1e6, most * 1e6, done ? cpu / done * 1e6 : 0, now());
}

static void kept(double limit) {
    int fd = dial();
    for (int i = 0; i < 20; i++) {
        ask(fd);
        hear(fd);
    }
    begin();
    for (double start = began; start - began < limit; start = now()) {
        ask(fd);
        hear(fd);
        note(start);
    }
    report();
}

static void fresh(double limit) {
    begin();
    for (double start = began; start - began < limit; start = now()) {
        int fd = dial();
        ask(fd);
        hear(fd);
        close(fd);
        note(start);
    }
    report();
}

static void dials(double limit) {
    begin();
    for (double start = began; start - began < limit; start = now()) {
        close(dial());
        note(start);
    }
    report();
}

static void paced(double limit) {
    int fd = dial();
    struct sched_param first = {1};
    sched_setscheduler(0, SCHED_FIFO, &first); /* where allowed: its own lateness isn't measured */
    begin();
    for (double due = began; due - began < limit; due += 1e-3) {
        double rest = due - now();
        if (rest > 0) {
            struct timespec pause = {0, rest * 1e9};
            nanosleep(&pause, NULL);
        }
        ask(fd);
        hear(fd);
        note(due);
    }
    report();
}

/* Read what comes on many connections, `heard` bytes of an answer each, until `limit`, or until
   `wanted` answers have come. Without that, ask again after each. */
static void read_many(int epoll, size_t *heard, double limit, long wanted) {
    struct epoll_event ready[EVENTS];
    double start = now();
    long answers = 0;
    while (now() - start < limit && (!wanted || answers < wanted)) {
        int many = epoll_wait(epoll, ready, EVENTS, 100);
        for (int i = 0; i < many; i++) {
            int fd = ready[i].data.fd;
            ssize_t got = recv(fd, answer, sizeof answer, MSG_DONTWAIT);
            if (got <= 0)
                fail("a server hung up");
            heard[fd] += got;
            if (heard[fd] < answer_size)
                continue;
            heard[fd] = 0;
            answers++;
            done++;
            if (!wanted)
                ask(fd);
        }
    }
}

static void many(int connections, double limit, int waiting) {
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    size_t *heard = calloc(connections + 64, sizeof *heard);
    int *fds = calloc(connections, sizeof *fds);
    for (int i = 0; i < connections; i++) {
        fds[i] = dial();
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fds[i]};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fds[i], &event) < 0)
            fail("epoll_ctl");
    }
    begin();
    for (int i = 0; i < connections; i++)
        ask(fds[i]);
    if (waiting) {
        puts("ready");
        fflush(stdout);
        read_many(epoll, heard, limit, connections);
        report();
    } else {
        /* Every connection has been served at least once before the clock runs. */
        double warm = limit / 4 + connections * 4e-5;
        read_many(epoll, heard, warm, 0);
        begin();
        read_many(epoll, heard, limit, 0);
        report();
        /* Leave no server with answers that nobody reads. */
        read_many(epoll, heard, 10, connections);
    }
}

static void hold(int connections) {
    for (int i = 0; i < connections; i++) {
        int fd = dial();
        ask(fd);
        hear(fd);
    }
    puts("ready");
    fflush(stdout);
    while (read(0, answer, sizeof answer) > 0)
        ;
}

static void flood(double limit) {
    int fd = dial(), epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT};
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    for (int i = 1; i < AHEAD; i++)
        memcpy(request + i * request_size, request, request_size);
    size_t whole = request_size * AHEAD, sent = 0, heard = 0;
    begin();
    while (now() - began < limit) {
        epoll_wait(epoll, &event, 1, 100);
        if (event.events & EPOLLIN) {
            ssize_t got = recv(fd, answer, sizeof answer, MSG_DONTWAIT);
            if (got > 0)
                heard += got;
        }
        if (event.events & EPOLLOUT) {
            ssize_t put = send(fd, request + sent, whole - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
            if (put > 0)
                sent = (sent + put) % whole;
        }
    }
    done = heard / answer_size;
    report();
}

static void pin(int cpu) {
    if (cpu < 0)
        return;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    struct sched_param none = {0};
    if (sched_setaffinity(0, sizeof one, &one) < 0 || sched_setscheduler(0, SCHED_BATCH, &none) < 0)
        fail("pin");
}

int main(int count, char **arguments) {
    if (count < 8)
        return 64;
    const char *mode = arguments[2];
    strncpy(place.sun_path, arguments[3], sizeof place.sun_path - 1);
    int file = open(arguments[4], O_RDONLY);
    ssize_t size = file < 0 ? -1 : read(file, request, LARGEST);
    if (size <= 0)
        fail(arguments[4]);
    request_size = size;
    answer_size = atol(arguments[5]);
    double limit = atof(arguments[6]);
    int connections = atoi(arguments[7]);
    for (int i = 8; i < count && clock_count < 16; i++)
        if (clock_getcpuclockid(atoi(arguments[i]), &clocks[clock_count++]) != 0)
            fail("clock_getcpuclockid");
    pin(atoi(arguments[1]));

    if (!strcmp(mode, "kept"))
        kept(limit);
    else if (!strcmp(mode, "fresh"))
        fresh(limit);
    else if (!strcmp(mode, "dials"))
        dials(limit);
    else if (!strcmp(mode, "many"))
        many(connections, limit, 0);
    else if (!strcmp(mode, "wait"))
        many(connections, limit, 1);
    else if (!strcmp(mode, "paced"))
        paced(limit);
    else if (!strcmp(mode, "flood"))
        flood(limit);
    else if (!strcmp(mode, "hold"))
        hold(connections);
    else if (!strcmp(mode, "once")) {
        int fd = dial();
        ask(fd);
        fwrite(answer, 1, hear(fd), stdout);
    } else
        return 64;
    return 0;
}
