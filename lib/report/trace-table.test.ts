import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { analyse } from "../trace/analysis.ts";
import type { Row } from "../trace/timeline.ts";
import { theme } from "./lab-report.ts";
import { traceMermaid } from "./trace-mermaid.ts";
import { traceReport, workloadTable } from "./trace-table.ts";

const fixture = (name: string): string =>
  readFileSync(join(import.meta.dirname, "../trace/fixtures", name), "utf8");
const paint = theme(false);

/** Two connections and two datagrams; the second connection was not traced. */
const recording: Parameters<typeof analyse>[0] = {
  traced: (["server", "client"] as const).map((role) => ({
    ...{ role, command: `node ${role}.js`, output: "", exitCode: 0 },
    strace: fixture(`strace-${role}.txt`),
  })),
  tcpdump: fixture("tcpdump-4.99-verbose.txt"),
  ...{ pcap: undefined, bareFromNs: undefined, samples: [], notes: ["a note"] },
};
const seen = analyse(recording);

describe("traceReport", () => {
  it("shows programs, rows, a legend, notes and checks within 80 columns", () => {
    expect(traceReport(seen, 80, paint)).toMatchInlineSnapshot(`
      "server: node server.js
      client: node client.js
      shown: client 127.0.0.1:57878, server 127.0.0.1:4000, tcp (2 more)

      ms        client                on the wire                server
      -906.179                                                   socket() = 24
      -903.333                                                   setsockopt(24,
                                                                   SO_REUSEADDR, 1)
      -903.040                                                   bind(24,
                                                                   127.0.0.1:4000)
      -902.687                                                   listen(24, 511)
      -902.111                                                   getsockname(24)
      -898.781                                                   epoll_ctl(24, ADD,
                                                                   EPOLLIN)
        -0.431  socket() = 20
        -0.201  connect(20,
                  127.0.0.1:4000) =
                  EINPROGRESS
         0.000                        -> SYN seq 0
                client SYN_SENT, server LISTEN
         0.013                        <- SYN ACK seq 0 ack 1
                client ESTABLISHED, server SYN_RECV
         0.025                        -> ACK seq 1 ack 1
                client ESTABLISHED, server ESTABLISHED
         0.651                                                   epoll_pwait = 24
                                                                   EPOLLIN after 894
                                                                   ms
         1.245                                                   accept4(24) = 25
         1.638  epoll_ctl(20, ADD,
                  EPOLLOUT)
         1.890  epoll_pwait = 20
                  EPOLLOUT
         1.974  getsockopt(20,
                  SO_ERROR)
         2.201  setsockopt(20,
                  TCP_NODELAY, 1)
         2.427  write(20, 10) = 10
         2.495                        -> PSH seq 1 ack 1 len 10
         2.503                        <- ACK seq 1 ack 11
         2.538                                                   setsockopt(25,
                                                                   TCP_NODELAY, 1)
         2.818  epoll_ctl(20, ADD,
                  EPOLLIN) = EEXIST
         2.913  epoll_ctl(20, MOD,
                  EPOLLIN)
         3.174                                                   epoll_ctl(25, ADD,
                                                                   EPOLLIN)
         3.321                                                   epoll_pwait = 25
                                                                   EPOLLIN
         3.387                                                   read(25, 65536) = 10
         3.841                                                   write(25, 10) = 10
         3.919                        <- PSH seq 1 ack 11 len 10
         3.940                        -> ACK seq 11 ack 11
         4.008  epoll_pwait = 20
                  EPOLLIN after 1 ms
         4.238  read(20, 65536) = 10
         6.635  epoll_ctl(20, DEL)
         6.784  close(20)
         6.835                        -> FIN seq 11 ack 11
                client FIN_WAIT1, server CLOSE_WAIT
         6.859                                                   epoll_pwait = 25
                                                                   EPOLLIN after 2.51
                                                                   ms
         6.946                                                   read(25, 65536) = 0
         8.411                                                   shutdown(25, SHUT_WR)
         8.465                        <- FIN seq 11 ack 12
                client TIME_WAIT, server LAST_ACK
         8.485                        -> ACK seq 12 ack 12
                client TIME_WAIT, server CLOSE
         8.871                                                   epoll_ctl(25, DEL)
         9.073                                                   close(25)

      Time 0 is the first packet. A call stands where it began, a wake-up where it
      returned. seq and ack count from the SYN of their side; every segment after the
      SYN carries ACK.
      a note

      ok     the kernel ended the handshake before accept4() returned: 1.277 ms before
      ok     accept4() gave a descriptor of its own; the listener's stays: 25 from 24
      ok     every packet was sent within its call: strace and tcpdump have one clock:
             5 pairs; at most 323 us apart"
    `);
  });

  it("has columns for the states from 100 columns on", () => {
    const row = / <- SYN ACK seq 0 ack 1 +ESTABLISHED SYN_RECV$/m;
    expect(traceReport(seen, 99, paint)).not.toMatch(row);
    expect(traceReport(seen, 100, paint)).toMatch(row);
    expect(traceReport(seen, 100, paint)).toMatch(/ server +client is +server is$/m);
  });

  it("says what watching costs, and how long TIME_WAIT will last", () => {
    const second = seen.conversations[1]!.packets[0]!.packet.atNs;
    const timer = { name: "timewait", remainingMs: 59_940 };
    const ends = { local: "127.0.0.1:57878", remote: "127.0.0.1:4000" };
    const rows = [{ ...ends, state: "TIME_WAIT", recvQ: 0, timer }] as const;
    const sample = { fromNs: `${second}`, toNs: `${second}`, rows, repeats: 0 };
    const bare = analyse({ ...recording, bareFromNs: `${second}`, samples: [sample] });
    const text = traceReport(bare, 80, paint).replaceAll(/\s+/g, " ");
    expect(text).toContain("server 127.0.0.1:4000, tcp (1 more) ms client");
    expect(text).toContain(
      "from the first packet to the last 8.48 ms here, 3.7 ms without strace.",
    );
    expect(text).toContain("at the end: TIME_WAIT 127.0.0.1:57878, 59.9 s to go (--wait stays");
  });

  it("says so when nothing was seen", () => {
    const nothing = recording.traced.map((one) => ({ ...one, strace: "" }));
    expect(traceReport(analyse({ ...recording, traced: nothing, tcpdump: "" }), 80, paint)).toBe(
      "server: node server.js\nclient: node client.js\na note\nNothing was seen on a socket of TCP or UDP.",
    );
  });

  it("breaks a word that is wider than its column", () => {
    const long = `read(25, 65536) = ${"9".repeat(60)}`;
    const row = {
      ...seen.timeline!.rows.find(({ kind }) => kind === "call")!,
      kind: "call",
    } as Row & {
      readonly kind: "call";
    };
    const timeline = { ...seen.timeline!, rows: [{ ...row, facts: { ...row.facts, text: long } }] };
    const text = traceReport({ ...seen, timeline }, 80, paint);
    expect(text.replaceAll(/\s/g, "")).toContain("9".repeat(60));
    expect(Math.max(...text.split("\n").map((line) => line.length))).toBeLessThanOrEqual(80);
  });
});

describe("workloadTable", () => {
  it("counts the calls of each side, and for each conversation", () => {
    expect(workloadTable(seen)).toMatchInlineSnapshot(`
      "3 conversations, 20 packets (6.7 each); calls on their sockets:
                   server  client  server, each  client, each
      accept4           2       0          0.67          0.00
      bind              1       0          0.33          0.00
      close             3       1          1.00          0.33
      connect           0       1          0.00          0.33
      epoll_ctl         6       4          2.00          1.33
      epoll_pwait       6       2          2.00          0.67
      getsockname       1       0          0.33          0.00
      getsockopt        0       1          0.00          0.33
      listen            1       0          0.33          0.00
      read              4       1          1.33          0.33
      setsockopt        3       1          1.00          0.33
      shutdown          1       0          0.33          0.00
      socket            1       1          0.33          0.33
      write             2       1          0.67          0.33"
    `);
  });
});

describe("traceMermaid", () => {
  it("draws calls to the kernel and answers from it, packets between kernels, and new states", () => {
    const lines = traceMermaid(seen.timeline!).split("\n");
    const from = lines.findIndex((line) => line.includes("connect("));
    expect(lines[0]).toBe("sequenceDiagram");
    expect(lines.filter((line) => line.includes("Note over"))).toHaveLength(6);
    expect(lines.slice(from, from + 10).map((line) => line.trim())).toEqual([
      "cp->>ck: connect(20, 127.0.0.1:4000) = EINPROGRESS",
      "ck->>sk: SYN seq 0",
      "Note over ck,sk: client SYN_SENT, server LISTEN",
      "sk->>ck: SYN ACK seq 0 ack 1",
      "Note over ck,sk: client ESTABLISHED, server SYN_RECV",
      "ck->>sk: ACK seq 1 ack 1",
      "Note over ck,sk: client ESTABLISHED, server ESTABLISHED",
      "sk-->>sp: epoll_pwait = 24 EPOLLIN after 894 ms",
      "sp->>sk: accept4(24) = 25",
      "cp->>ck: epoll_ctl(20, ADD, EPOLLOUT)",
    ]);
  });
});
