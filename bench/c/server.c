/*
 * server: answers echo requests of length-prefixed JSON as our server does. The simplest loop there is: one thread, epoll, one read and
 * one write for all requests that have come together. It looks for the content where JSON would be parsed, and blocks while a
 * client does not read.
 *
 *   server PORT
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HEADER 4
#define ROOM (1 << 20)

struct connection {
  int fd;
  size_t have;
  char in[ROOM];
};

static char out[8 * ROOM]; /* An answer is longer than what it answers. */

static void give_up(const char *what) {
  perror(what);
  exit(1);
}

static char *append(char *at, const void *bytes, size_t count) {
  memcpy(at, bytes, count);
  return at + count;
}

static char *append_time(char *at) {
  struct timespec now;
  struct tm parts;
  clock_gettime(CLOCK_REALTIME, &now);
  gmtime_r(&now.tv_sec, &parts);
  at += strftime(at, 32, "%Y-%m-%dT%H:%M:%S", &parts);
  return at + sprintf(at, ".%03ldZ", now.tv_nsec / 1000000);
}

/* One answer, with its length in front, behind what is there already. */
static char *answer(char *at, const char *request, size_t bytes) {
  static const char before[] = "{\"type\":\"echo_response\",\"content\":\"";
  static const char between[] = "\",\"timestamp\":\"", after[] = "\",\"echoed_by\":\"TCP Server\"}";
  char *payload = at + HEADER;
  const char *content = memmem(request, bytes, "\"content\":\"", 11), *end = request + bytes - 2;
  if (content == NULL)
    give_up("no echo request");
  content += 11;
  at = append(payload, before, strlen(before));
  at = append(at, content, end - content);
  at = append(at, between, strlen(between));
  at = append_time(at);
  at = append(at, after, strlen(after));
  uint32_t length = htonl(at - payload);
  memcpy(payload - HEADER, &length, HEADER);
  return at;
}

/* False when the client has gone. */
static int serve(struct connection *c) {
  char *written = out;
  size_t at = 0;
  ssize_t got = read(c->fd, c->in + c->have, ROOM - c->have);
  if (got <= 0)
    return 0;
  c->have += got;
  while (c->have - at >= HEADER) {
    uint32_t length;
    memcpy(&length, c->in + at, HEADER);
    length = ntohl(length);
    if (c->have - at < HEADER + length)
      break;
    written = answer(written, c->in + at + HEADER, length);
    at += HEADER + length;
  }
  c->have -= at;
  memmove(c->in, c->in + at, c->have);
  for (char *from = out; from < written; from += got) {
    got = write(c->fd, from, written - from);
    if (got < 0)
      return 0;
  }
  return 1;
}

int main(int argc, char **argv) {
  int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0), poll_fd = epoll_create1(0);
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
  if (argc != 2) {
    fprintf(stderr, "server PORT\n");
    return 2;
  }
  at.sin_port = htons(atoi(argv[1]));
  if (bind(listener, (struct sockaddr *)&at, sizeof at) != 0 || listen(listener, 4096) != 0)
    give_up("listen");
  epoll_ctl(poll_fd, EPOLL_CTL_ADD, listener, &event);
  for (;;) {
    struct epoll_event events[256];
    int ready = epoll_wait(poll_fd, events, 256, -1);
    for (int i = 0; i < ready; i++) {
      struct connection *c = events[i].data.ptr;
      if (c == NULL) {
        c = calloc(1, sizeof *c);
        c->fd = accept(listener, NULL, NULL);
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        event.data.ptr = c;
        epoll_ctl(poll_fd, EPOLL_CTL_ADD, c->fd, &event);
      } else if (!serve(c)) {
        close(c->fd);
        free(c);
      }
    }
  }
}
