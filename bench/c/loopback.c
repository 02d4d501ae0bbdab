/*
 * loopback: what a message costs the kernel, in nanoseconds.
 *
 * One process has both ends of a connection over 127.0.0.1, sends 40 bytes into the one and receives them from the other: nobody waits, nobody
 * is woken, and next to nothing happens outside of the kernel. Prints {"nanoseconds": N}, the median of several rounds.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

enum { ROUNDS = 15, MESSAGES = 2000, BYTES = 40 };

static void need(int is_good, const char *what) {
  if (is_good) return;
  perror(what);
  exit(1);
}

/* Both ends of a connection that sends at once, without waiting for more (Nagle). */
static void connect_ends(int *one, int *other) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  const int on = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
  need(bind(listener, (struct sockaddr *)&address, length) == 0, "bind");
  need(listen(listener, 1) == 0, "listen");
  need(getsockname(listener, (struct sockaddr *)&address, &length) == 0, "getsockname");
  *one = socket(AF_INET, SOCK_STREAM, 0);
  need(connect(*one, (struct sockaddr *)&address, length) == 0, "connect");
  *other = accept(listener, NULL, NULL);
  need(*other >= 0, "accept");
  need(setsockopt(*one, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0, "TCP_NODELAY");
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1e9 + time.tv_nsec;
}

static int ascending(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

int main(void) {
  char bytes[BYTES] = {0};
  double each[ROUNDS];
  int one, other;
  connect_ends(&one, &other);
  for (int round = 0; round < ROUNDS; round++) {
    const double start = now();
    for (int i = 0; i < MESSAGES; i++) {
      need(send(one, bytes, BYTES, 0) == BYTES, "send");
      need(recv(other, bytes, BYTES, MSG_WAITALL) == BYTES, "recv");
    }
    each[round] = (now() - start) / MESSAGES;
  }
  qsort(each, ROUNDS, sizeof *each, ascending);
  printf("{\"nanoseconds\": %.0f}\n", each[ROUNDS / 2]);
  return 0;
}
