/*
 * load: keeps a server of length-prefixed JSON busy, as redis-benchmark does with redis: one thread, epoll, so many connections
 * with so many requests in flight each. Every answer is cut out by its length, and has to be the echo of what was sent.
 *
 *   load PORT REQUESTS CONNECTIONS IN_FLIGHT BYTES
 *
 * Prints one line of JSON.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
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

struct connection {
  int fd, waits;
  size_t owed, sent; /* Bytes to write, and where in the requests, which are all alike, the next of them is. */
  char *in;
  size_t have;
};

static char *requests; /* All that may be in flight, one behind the other. */
static size_t request_bytes, in_flight, in_bytes, content_bytes;
static int poll_fd;
static long wanted, asked, answered;

static void give_up(const char *what) {
  fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
  exit(1);
}

static double now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

static void ask(struct connection *c, size_t count) {
  for (; count > 0 && asked < wanted; count--, asked++)
    c->owed += request_bytes;
}

/* Asks to be told of room only where there is none. */
static void watch(struct connection *c, int for_room) {
  struct epoll_event event = {.events = EPOLLIN | (for_room ? EPOLLOUT : 0), .data.ptr = c};
  if (c->waits != for_room)
    epoll_ctl(poll_fd, EPOLL_CTL_MOD, c->fd, &event);
  c->waits = for_room;
}

static void push(struct connection *c) {
  while (c->owed > 0) {
    size_t rest = request_bytes * in_flight - c->sent;
    ssize_t got = write(c->fd, requests + c->sent, c->owed < rest ? c->owed : rest);
    if (got < 0 && errno != EAGAIN)
      give_up("write");
    if (got < 0) {
      watch(c, 1);
      return;
    }
    c->owed -= got;
    c->sent = (c->sent + got) % (request_bytes * in_flight);
  }
  watch(c, 0);
}

static void check(const char *payload, size_t bytes) {
  const char *content = memmem(payload, bytes, "\"content\":\"", 11);
  if (memmem(payload, bytes, "\"echo_response\"", 15) == NULL || content == NULL ||
      content + 11 + content_bytes >= payload + bytes ||
      memcmp(content + 11, requests + request_bytes - 2 - content_bytes, content_bytes + 1) != 0) {
    errno = EPROTO;
    give_up("not the echo");
  }
}

/* How many answers were completed. */
static size_t pull(struct connection *c) {
  size_t count = 0, at = 0;
  ssize_t got = read(c->fd, c->in + c->have, in_bytes - c->have);
  if (got < 0 && errno == EAGAIN)
    return 0;
  if (got <= 0)
    give_up("read");
  c->have += got;
  while (c->have - at >= HEADER) {
    uint32_t length;
    memcpy(&length, c->in + at, HEADER);
    length = ntohl(length);
    if (length + HEADER > in_bytes)
      give_up("too long an answer");
    if (c->have - at < HEADER + length)
      break;
    check(c->in + at + HEADER, length);
    at += HEADER + length;
    count++;
  }
  c->have -= at;
  memmove(c->in, c->in + at, c->have);
  answered += count;
  return count;
}

static void make_requests(void) {
  static const char before[] = "{\"type\":\"echo\",\"content\":\"", after[] = "\"}";
  size_t payload = strlen(before) + content_bytes + strlen(after);
  uint32_t length = htonl(payload);
  request_bytes = HEADER + payload;
  requests = malloc(request_bytes * in_flight);
  for (size_t i = 0; i < in_flight; i++) {
    char *at = requests + i * request_bytes;
    memcpy(at, &length, HEADER);
    memcpy(at + HEADER, before, strlen(before));
    memset(at + HEADER + strlen(before), 'x', content_bytes);
    memcpy(at + request_bytes - strlen(after), after, strlen(after));
  }
}

static struct connection *open_all(int port, size_t count) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port),
                           .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  struct connection *all = calloc(count, sizeof *all);
  in_bytes = (content_bytes + 1024) * (in_flight + 1);
  for (size_t i = 0; i < count; i++) {
    int one = 1;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &all[i]};
    all[i].fd = socket(AF_INET, SOCK_STREAM, 0);
    all[i].in = malloc(in_bytes);
    if (connect(all[i].fd, (struct sockaddr *)&to, sizeof to) != 0)
      give_up("connect");
    setsockopt(all[i].fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(all[i].fd, F_SETFL, O_NONBLOCK);
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, all[i].fd, &event);
  }
  return all;
}

int main(int argc, char **argv) {
  if (argc != 6) {
    fprintf(stderr, "load PORT REQUESTS CONNECTIONS IN_FLIGHT BYTES\n");
    return 2;
  }
  size_t count = atol(argv[3]);
  wanted = atol(argv[2]), in_flight = atol(argv[4]), content_bytes = atol(argv[5]);
  make_requests();
  poll_fd = epoll_create1(0);
  struct connection *all = open_all(atoi(argv[1]), count);
  double start_ms = now_ms();
  for (size_t i = 0; i < count; i++) {
    ask(&all[i], in_flight);
    push(&all[i]);
  }
  while (answered < wanted) {
    struct epoll_event events[256];
    int ready = epoll_wait(poll_fd, events, 256, 10000);
    if (ready < 0 && errno == EINTR)
      continue; /* Stopped, and gone on, as with Ctrl-Z and fg: signal(7). */
    if (ready <= 0)
      give_up("nothing comes");
    for (int i = 0; i < ready; i++) {
      struct connection *c = events[i].data.ptr;
      if (events[i].events & ~EPOLLOUT)
        ask(c, pull(c));
      push(c);
    }
  }
  double took_ms = now_ms() - start_ms;
  printf("{\"answered\":%ld,\"durationMs\":%.1f}\n", answered, took_ms);
  return 0;
}
