/* The least a server can do: wait, read, answer with fixed bytes. Nothing is looked at.

   floor SOCKET ANSWER-FILE
*/
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { EVENTS = 256, LARGEST = 65536 };

static char answer[LARGEST], request[LARGEST];

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void watch(int epoll, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        fail("epoll_ctl");
}

int main(int count, char **arguments) {
    if (count != 3)
        return 64;
    int file = open(arguments[2], O_RDONLY);
    ssize_t size = file < 0 ? -1 : read(file, answer, sizeof answer);
    if (size <= 0)
        fail(arguments[2]);

    struct sockaddr_un place = {.sun_family = AF_UNIX};
    strncpy(place.sun_path, arguments[1], sizeof place.sun_path - 1);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (bind(listener, (struct sockaddr *)&place, sizeof place) < 0 || listen(listener, 4096) < 0)
        fail(arguments[1]);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    watch(epoll, listener);

    struct epoll_event ready[EVENTS];
    for (;;) {
        int many = epoll_wait(epoll, ready, EVENTS, -1);
        for (int i = 0; i < many; i++) {
            int fd = ready[i].data.fd;
            if (fd == listener) {
                int client = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
                if (client >= 0)
                    watch(epoll, client);
                continue;
            }
            if (recv(fd, request, sizeof request, 0) <= 0)
                close(fd);
            else if (send(fd, answer, size, MSG_NOSIGNAL) < 0)
                close(fd);
        }
    }
}
