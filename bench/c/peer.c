/*
 * peer: what a C program does in the same situation. The simplest loop there is: blocking calls, no error handling beyond
 * saying what gave. One thread accepts and waits for the other side to close first, as our server does.
 *
 *   peer MS          connect and close for MS milliseconds, or until the first error
 *   peer MS reset    the same, closing with RST, so that no port has to wait in TIME_WAIT
 *
 * Prints one line of JSON.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int listener;

static void *accept_all(void *unused) {
  char bytes[64];
  for (;;) {
    int fd = accept(listener, NULL, NULL);
    if (fd < 0)
      return unused;
    while (read(fd, bytes, sizeof bytes) > 0)
      ;
    close(fd);
  }
}

static double now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

int main(int argc, char **argv) {
  double limit_ms = argc > 1 ? atof(argv[1]) : 0;
  int with_reset = argc > 2 && strcmp(argv[2], "reset") == 0;
  /* Below the range of local ports: all of it is for connect(). */
  struct sockaddr_in to = {
      .sin_family = AF_INET, .sin_port = htons(8080), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  pthread_t thread;
  listener = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(listener, (struct sockaddr *)&to, sizeof to) != 0 || listen(listener, 4096) != 0 ||
      pthread_create(&thread, NULL, accept_all, NULL) != 0) {
    perror("peer");
    return 1;
  }

  long opened = 0;
  const char *error = "";
  double start_ms = now_ms();
  while (opened % 16 != 0 || now_ms() - start_ms < limit_ms) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0) {
      error = strerrorname_np(errno);
      break;
    }
    if (with_reset) {
      struct linger at_once = {1, 0};
      setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    }
    close(fd);
    opened++;
  }
  double took_ms = now_ms() - start_ms;
  printf("{\"opened\":%ld,\"durationMs\":%.1f,\"error\":\"%s\"}\n", opened, took_ms, error);
  return 0;
}
