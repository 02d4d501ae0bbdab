/*
 * distance CORE CORE: how long a cache line needs from one core to another, one way, in nanoseconds.
 *
 * Two threads, one on each core, answer each other through one word of memory. Prints {"nanoseconds": N}, the median of
 * several rounds: an interrupt in one of them does not count.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ROUNDS = 15, TURNS = 4000 };

static _Atomic unsigned word __attribute__((aligned(128)));

static void stay_on(int core) {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  CPU_SET(core, &cores);
  if (sched_setaffinity(0, sizeof cores, &cores) != 0) {
    perror("sched_setaffinity");
    exit(1);
  }
}

static void await_word(unsigned value) {
  while (atomic_load_explicit(&word, memory_order_acquire) != value)
    ;
}

static void *answer(void *core) {
  stay_on(*(int *)core);
  for (unsigned turn = 1; turn < 2 * ROUNDS * TURNS; turn += 2) {
    await_word(turn);
    atomic_store_explicit(&word, turn + 1, memory_order_release);
  }
  return NULL;
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

int main(int argc, char **argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: distance CORE CORE\n");
    return 2;
  }
  int there = atoi(argv[2]);
  double each[ROUNDS];
  pthread_t other;
  stay_on(atoi(argv[1]));
  if (pthread_create(&other, NULL, answer, &there) != 0) return 1;
  unsigned turn = 0;
  for (int round = 0; round < ROUNDS; round++) {
    const double start = now();
    for (int i = 0; i < TURNS; i++) {
      atomic_store_explicit(&word, ++turn, memory_order_release);
      await_word(++turn);
    }
    each[round] = (now() - start) / (2 * TURNS);
  }
  pthread_join(other, NULL);
  qsort(each, ROUNDS, sizeof *each, ascending);
  printf("{\"nanoseconds\": %.0f}\n", each[ROUNDS / 2]);
  return 0;
}
