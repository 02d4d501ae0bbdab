/**
 * claims: what well-meant texts on TCP say in numbers, and the commands that show what is so on this kernel.
 *
 * docs/concepts/claims-checked.md is made of this and of the recorded sessions in docs/concepts/claims/.
 */

/** One statement, put to the test. */
export type Claim = {
  /** Also the name of the file with its recorded session. */
  readonly name: string;
  /** Which of the texts, by its subject. */
  readonly source: "socket API" | "kernel operations" | "revision notes" | "socket protocol";
  readonly says: string;
  /** Run one after the other in a sandbox of their own; see docs/console.ts. */
  readonly commands: readonly string[];
  /** Finds the measured value in what the commands printed: its groups fill the gaps of `measured`. */
  readonly find: RegExp;
  /** `$1` is the first group. */
  readonly measured: string;
  readonly verdict: "holds" | "wrong" | "outdated" | "depends";
  /** Do the groups of `find`, as numbers, bear the verdict out? Left out where `find` finds nothing that does not. */
  readonly bears?: (...groups: readonly number[]) => boolean;
  readonly because: string;
};

export const CLAIMS: readonly Claim[] = [
  {
    name: "syn-queue",
    source: "kernel operations",
    says: "the SYN queue holds backlog × 1.5 handshakes",
    commands: ["lab run syn-backlog --arm myth | grep -E 'backlog [0-9]|SYN_RECV,.* ok$'"],
    find: /backlog (\d+), tcp_max_syn_backlog 128,[^]*SYN_RECV, server's side .* (\d+) +ok/,
    measured: "$2 with a backlog of $1",
    verdict: "wrong",
    bears: (backlog = 0, fit = 0) => fit > backlog && fit < backlog * 1.5,
    because:
      "Linux has no factor 1.5; that is BSD. A listener takes one unfinished handshake more than its backlog says. Without cookies (tcp_syncookies=0) three quarters of tcp_max_syn_backlog, plus one, is a second limit for clients that the kernel has never met: with 8 it allows 7.",
  },
  {
    name: "accept-queue",
    source: "kernel operations",
    says: "the accept queue holds backlog connections",
    commands: [
      "server --backlog 7 --block-after 1 --block-ms 20000 &",
      "client --messages 0",
      "client --connections 23 --messages 0 --timeout-ms 500 # exit 1",
      "ss -tln 'sport = :8080'",
    ],
    find: /LISTEN (\d+) +(\d+)/,
    measured: "$1 with a backlog of $2",
    verdict: "wrong",
    bears: (waiting = 0, backlog = 0) => waiting === backlog + 1,
    because:
      "One more: the kernel asks whether the queue is longer than the backlog, not whether it is as long (sk_acceptq_is_full()).",
  },
  {
    name: "accept-queue-full",
    source: "socket API",
    says: "when connections are not accepted, new ones are dropped",
    commands: [
      "server --backlog 7 --block-after 1 --block-ms 20000 &",
      "client --messages 0",
      "client --connections 23 --messages 0 --timeout-ms 1500 # exit 1",
      "nstat -asz TcpExtListenOverflows | tail -1",
    ],
    find: /ETIMEDOUT (\d+)[^]*TcpExtListenOverflows +(\d+)/,
    measured: "$2 SYNs dropped, $1 clients still trying after 1.5 s",
    verdict: "holds",
    bears: (clients = 0, dropped = 0) => clients > 0 && dropped >= clients,
    because:
      "What is dropped is the SYN, in silence. The client sends it again, 1, 2, 3, 4, 5, 7, 11 ... s after the first (since Linux 6.5; before that 1, 3, 7, 15 ... s): connections are not refused but late, and no error is seen until somebody gives up.",
  },
  {
    name: "accept-handshake",
    source: "kernel operations",
    says: "accept() carries the handshake out and makes the socket",
    commands: [
      "server --block-after 1 --block-ms 20000 &",
      "client --connections 23 --messages 0 --hold-ms 20000 &",
      "ss -Htn state established 'sport = :8080' | wc -l",
      "ss -Htln 'sport = :8080'",
    ],
    find: /wc -l\n(\d+)[^]*LISTEN (\d+)/,
    measured: "$1 connections ESTABLISHED, $2 of them without accept()",
    verdict: "wrong",
    bears: (established = 0, waiting = 0) => established === 23 && waiting > 0,
    because:
      "The kernel finishes the handshake by itself and makes the socket when the last ACK comes. accept() takes it out of the queue and gives it a descriptor.",
  },
  {
    name: "lowest-descriptor",
    source: "kernel operations",
    says: "a new socket gets the lowest free descriptor number",
    commands: [
      "strace -f -qq -e trace=accept4,close -e signal=none -o trace.log server &",
      "client && client",
      "grep -oE 'accept4.*|close\\(2[0-9]\\).*' trace.log",
      "rm trace.log",
    ],
    find: /= (\d+)\nclose\(\1\)[^]*= \1/,
    measured: "$1, and $1 again after its close()",
    verdict: "holds",
    because:
      "POSIX demands it. So numbers come back at once, and a log line with `fd 23` may mean any of many connections.",
  },
  {
    name: "receive-buffer",
    source: "kernel operations",
    says: "the receive buffer has 87,380 bytes by default",
    commands: [
      "sysctl net.ipv4.tcp_rmem",
      "server &",
      "client --hold-ms 20000 &",
      "ss -tnm 'sport = :8080' | grep -o skmem.*",
    ],
    find: /rb(\d+)/,
    measured: "$1 bytes",
    verdict: "outdated",
    bears: (bytes) => bytes !== 87_380,
    because:
      "131,072 since Linux 4.20; the kernel enlarges it while data flows, up to the third number of tcp_rmem.",
  },
  {
    name: "send-buffer",
    source: "kernel operations",
    says: "the send buffer has 16,384 bytes by default",
    commands: [
      "sysctl net.ipv4.tcp_wmem",
      "server &",
      "client --hold-ms 20000 &",
      "ss -tnm 'sport = :8080' | grep -o skmem.*",
    ],
    find: /tcp_wmem = \d+\s+(\d+)[^]*tb(\d+)/,
    measured: "$1 before, $2 once connected",
    verdict: "depends",
    bears: (before, connected) => before === 16_384 && connected !== before,
    because:
      "The default is right, and gone as soon as the connection is established: the kernel sizes the buffer for the path (tcp_init_buffer_space()), and loopback's large segments make it large. How large is also up to the congestion control: half as much again with bbr as with reno.",
  },
  {
    name: "time-wait-length",
    source: "revision notes",
    says: "TIME_WAIT lasts 2 MSL, 60 to 120 s",
    commands: [
      "sysctl -w net.ipv4.tcp_fin_timeout=5",
      "server &",
      "client",
      "ss -Htano state time-wait | grep -o timer.*",
    ],
    find: /timewait,(\d+)sec/,
    measured: "$1 s left, just after its beginning",
    verdict: "depends",
    bears: (left = 0) => left > 55 && left <= 60,
    because:
      "60 s on Linux, always: TCP_TIMEWAIT_LEN is a constant, and tcp_fin_timeout (5 here) has nothing to do with it. RFC 9293 would have 240 s; other systems have 30 to 240.",
  },
  {
    name: "fin-wait-2",
    source: "revision notes",
    says: "with LEAK=true the client stays in FIN_WAIT_2, waiting for the server's FIN",
    commands: [
      "sysctl -w net.ipv4.tcp_fin_timeout=2",
      "server --leak &",
      "client --connections 5",
      "sleep 3",
      "states --port 8080 | grep -E '^(FIN_WAIT2|CLOSE_WAIT)'",
    ],
    find: /FIN_WAIT2 +(\d+)[^]*CLOSE_WAIT +(\d+)/,
    measured: "$1 in FIN_WAIT2, $2 in CLOSE_WAIT after tcp_fin_timeout (2 s here, 60 s by default)",
    verdict: "wrong",
    bears: (finWait2, closeWait) => finWait2 === 0 && closeWait === 5,
    because:
      "The client has closed, so its sockets are orphans and end after tcp_fin_timeout. Only one that keeps its descriptor (shutdown()) stays as long as it likes.",
  },
  {
    name: "too-many-open-files",
    source: "revision notes",
    says: "a server that leaks says: accept: too many open files",
    commands: [
      "bash -c 'ulimit -n 64; exec server --leak > server.log 2>&1' &",
      "client --connections 60 --messages 0 --hold-ms 1500 # exit 1",
      "grep -ci 'too many open files' server.log # exit 1",
      "rm server.log",
    ],
    find: /connected (\d+) of 60[^]*before we left: (\d+)[^]*log # exit 1\n(\d+)/,
    measured: "$3 such lines; $1 clients connected, $2 of them closed at once",
    verdict: "depends",
    bears: (connected, closed = 0, lines) => connected === 60 && closed > 0 && lines === 0,
    because:
      "True in Go. Node says nothing: at EMFILE libuv gives up a descriptor that it keeps in reserve, accepts and closes, so that the queue does not fill. Our server notices because it counts.",
  },
  {
    name: "time-wait-flood",
    source: "revision notes",
    says: "many short connections exhaust the ephemeral ports",
    commands: [
      "server &",
      "bomb --json | grep -oE '(EADDRNOTAVAIL|\"successes\":[0-9]+)' | head -2",
      "netstat -an | grep 8080 | grep TIME_WAIT | wc -l",
    ],
    find: /"successes":(\d+)\nEADDRNOTAVAIL[^]*wc -l\n(\d+)/,
    measured: "EADDRNOTAVAIL after $1 connections, $2 in TIME_WAIT (1,000 ports, tcp_tw_reuse=0)",
    verdict: "holds",
    bears: (connections = 0, waiting = 0) => connections >= 1_000 && waiting > 950,
    because:
      "In this sandbox, with its small range. It needs tcp_tw_reuse=0 on loopback: see the next one.",
  },
  {
    name: "time-wait-flood-by-default",
    source: "revision notes",
    says: "the same, tried on one's own machine as it is",
    commands: [
      "sysctl -w net.ipv4.tcp_tw_reuse=2 net.ipv4.ip_local_port_range='32768 60999'",
      "server &",
      "bomb --count 40000 --json | grep -oE '\"(successes|failures)\":[^,]*'",
    ],
    find: /"successes":(\d+)[^]*"failures":\{\}/,
    measured: "$1 connections, as fast as it goes, with the default's 28,232 ports, and no error",
    verdict: "wrong",
    bears: (connections = 0) => connections === 40_000,
    because:
      "Since Linux 4.18 tcp_tw_reuse is 2: on loopback a port serves again one second after its close. It takes 28,232 connections a second to be faster than that, and nobody who leaves the choice of the port to the kernel gets there: beyond 14,116, the ports of one parity, connect() has to search long, in C as in Node.",
  },
  {
    name: "soft-limit",
    source: "revision notes",
    says: "ulimit -n shows how many descriptors a process may have",
    commands: [
      "bash -c 'ulimit -Sn 256; exec server --json > server.log' &",
      "PID=$!",
      "kill $PID; sleep 0.5; grep -oE '\"limit\":[0-9]+' server.log; rm server.log",
    ],
    find: /"limit":(\d+)/,
    measured: "$1 after ulimit -Sn 256",
    verdict: "depends",
    bears: (limit) => limit !== 256,
    because:
      "It shows the soft limit. Node raises its own to the hard limit when it starts (Go does, too), so ulimit -Hn is the one that counts.",
  },
  {
    name: "few-threads",
    source: "revision notes",
    says: "hundreds of connections need only a few threads",
    commands: ["multiplex --connections 500 | grep -E 'kernel|processes|client|server'"],
    find: /kernel +(\d+)[^]*server +\d+ +(\d+)/,
    measured: "$1 connections, $2 threads in the server",
    verdict: "holds",
    bears: (connections = 0, threads = 0) => connections === 500 && threads < 20,
    because:
      "Most of those threads belong to V8 and to libuv's pool for files and names; one does the network.",
  },
  {
    name: "ten-thousand",
    source: "socket protocol",
    says: "10,000 and more concurrent clients",
    commands: [
      "sysctl -w net.ipv4.ip_local_port_range='10000 60999'",
      "multiplex --connections 10000 --messages 1 | grep -E 'connections|kernel|client|server'",
    ],
    find: /connections ([\d,]+) of [\d,]+ open at once, after ([\d,.]+ m?s)/,
    measured: "$1 open and answering, after $2",
    verdict: "holds",
    bears: (open) => open === 10_000,
    because:
      "On one thread at each end. The first limit is the number of descriptors, which is not TCP's; the second is that of ports towards one address and port, which are numbers of 16 bits.",
  },
  {
    name: "memory-per-connection",
    source: "socket protocol",
    says: "about 8 KB of memory for each connection",
    commands: [
      "sysctl -w net.ipv4.ip_local_port_range='10000 60999'",
      "multiplex --connections 10000 --messages 1 | grep -E '^(kernel|client|server)'",
    ],
    find: /server .* (\S+ KiB)\nkernel slab: .*, (\S+ KiB) for/,
    measured: "$1 in the server, $2 in the kernel for both ends",
    verdict: "depends",
    bears: (program = 0, kernel = 0) => program < 8 && program + kernel > 8,
    because:
      "It is two figures: what the program holds, which shrinks again when idle, and what the kernel holds, which is in no RSS. The memory of a cgroup (slab and sock in memory.stat) counts both, and so does its limit.",
  },
  {
    name: "short-write",
    source: "socket API",
    says: "send() may take fewer bytes than it was given",
    commands: [
      "server --behave never-read &",
      "exec 3<>/dev/tcp/127.0.0.1/8080",
      "strace -e trace=write -e signal=none dd if=/dev/zero bs=10M count=1 oflag=nonblock 2>&1 >&3 | grep '^write(1'",
    ],
    find: /(\d+)\) += (\d+)/,
    measured: "$2 of $1 bytes taken",
    verdict: "holds",
    bears: (given = 0, taken = 0) => taken < given,
    because:
      "What fits into the buffers. A program that ignores the count loses the rest; Node keeps it, in its own memory, and says so by the false that write() returns.",
  },
  {
    name: "delivery",
    source: "socket protocol",
    says: "TCP guarantees that messages are delivered, and in order",
    commands: [
      "server --block-after 1 --block-ms 20000 &",
      "PID=$!",
      "client --messages 0",
      "bash -c 'client --connections 23 --timeout-ms 20000 > client.log' &",
      "sleep 2; ss -Htn 'sport = :8080' | grep -cE '^ESTAB +10 '",
      "kill -9 $PID; sleep 0.5; cat client.log; rm client.log",
    ],
    find: /^(\d+)$[^]*ECONNRESET (\d+)/m,
    measured: "$1 messages in the server's kernel, read by nobody; then $2 resets",
    verdict: "depends",
    bears: (held, resets) => held === 23 && resets === 23,
    because:
      "In order, whole and once, as long as the connection lasts; that it arrives, no. write() is done when the sender's kernel has the bytes, and an ACK says that the other kernel has them. What no program has read by then is thrown away when the server ends. Only an answer says that a message has arrived.",
  },
  {
    name: "syn-to-accept",
    source: "socket API",
    says: "1.7 ms from the SYN to accept()",
    commands: ["trace latency --connections 500 | head -12"],
    find: /SYN to accept\(\) returned +\S+ +(\S+) +\S+ +(\S+)/,
    measured: "$1 microseconds, 99 of 100 below $2",
    verdict: "depends",
    bears: (p50 = 0) => p50 < 1_700,
    because:
      "Of 1.7 ms the kernel would need less than a hundredth for the handshake, some 12 microseconds from the SYN to the last ACK. The rest is the time until a sleeping process has a processor again: on an idle machine little, on a busy one as long as the scheduler pleases.",
  },
  {
    name: "packet-time",
    source: "socket API",
    says: "200 microseconds to process a packet",
    commands: ["trace latency --connections 500 | head -7"],
    find: /SYN to SYN-ACK +\S+ +(\S+)/,
    measured: "$1 microseconds for a SYN and its answer, through loopback",
    verdict: "outdated",
    bears: (us = 0) => us < 200,
    because:
      "Loopback has no network card and no interrupt, so this is TCP alone. A card adds its interrupt, which it shares among many packets (NAPI), and which it may delay on purpose: ethtool -c says by how much.",
  },
  {
    name: "local-latency",
    source: "socket protocol",
    says: "a message and its answer take 0.1 to 1 ms locally",
    commands: [
      "server --protocol json &",
      "client performance --connections 1 --duration-ms 2000 | grep -E 'load|latency|min'",
    ],
    find: /p50 (\S+ ms).*p99 (\S+ ms)/,
    measured: "$1, 99 of 100 below $2",
    verdict: "depends",
    bears: (p50 = 0) => p50 < 1,
    because:
      "One message at a time, on a quiet machine, is at the lower end: two programs have to be woken up, one after the other, and the rest is small. With many messages under way each waits for those before it.",
  },
  {
    name: "small-messages",
    source: "socket protocol",
    says: "95,000 and more small messages per second",
    commands: [
      "server --protocol json &",
      "client performance --connections 50 --duration-ms 2000 | grep -E 'load|answered'",
      "client performance --connections 50 --in-flight 16 --duration-ms 2000 | grep -E 'load|answered'",
    ],
    find: /ms: (\S+\/s)[^]*ms: (\S+\/s)/,
    measured: "$1 one at a time, $2 with 16 under way on each connection",
    verdict: "depends",
    bears: (single = 0, many = 0) => single < 95_000 && many > 95_000,
    because:
      "On how many messages one read() brings. One at a time each costs a wake-up, a read and a write; what comes together is read, answered and written together. The client, too, is one process on one core.",
  },
  {
    name: "large-messages",
    source: "socket protocol",
    says: "25,000 and more large messages per second",
    commands: [
      "server --protocol json &",
      "client performance --connections 10 --in-flight 8 --bytes 16384 --duration-ms 2000 | grep -E 'load|answered|contents'",
    ],
    find: /ms: (\S+\/s)[^]*contents +(\S+ \S+)/,
    measured: "$1 of 16 KiB, $2 each way",
    verdict: "depends",
    because:
      "On how large is large, and on the client: loaded by a client in C the same server answers more than twice as many (docs/benchmarks.md).",
  },
  {
    name: "four-bytes",
    source: "socket protocol",
    says: "an overhead of about 4 bytes per message",
    commands: [
      "server --protocol json &",
      "exec 3<>/dev/tcp/127.0.0.1/9999",
      'printf \'\\0\\0\\0\\17{"type":"ping"}\' >&3',
      "head -c 4 <&3 | od -An -tx1",
      "timeout 1 cat <&3 | wc -c",
    ],
    find: /00 00 00 \S\S[^]*\n(\d+)\s*$/,
    measured: "4 bytes of length, then $1 of JSON for a pong",
    verdict: "depends",
    because:
      "The frame costs 4 bytes. JSON costs its quotes and the names of its fields, more than most small contents, and each segment 52 bytes of headers of IP and TCP.",
  },
];
