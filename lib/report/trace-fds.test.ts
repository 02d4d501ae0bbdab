import { describe, expect, it } from "vitest";
import type { KernelObjects } from "../trace/kernel-objects.ts";
import { theme } from "./lab-report.ts";
import { kernelObjectsReport } from "./trace-fds.ts";

/** A process with one listener. */
function listenerOn(
  local: KernelObjects["sockets"][number]["record"]["local"],
  command = "node server",
): KernelObjects {
  return {
    ...{ pid: 4711, command, others: {}, source: "ss -tuaneomi", notes: [] },
    sockets: [
      {
        ...{ fd: 3, inode: 23, role: "listening", memory: undefined, watched: [] },
        record: {
          ...{ protocol: "tcp", family: 4, state: "LISTEN", recvQ: 0, sendQ: 5, owners: [] },
          ...{ local, remote: { address: "0.0.0.0", port: null }, line: 2 },
        },
      },
    ],
  };
}

const shown = (objects: KernelObjects): string => kernelObjectsReport(objects, theme(false));

describe("kernelObjectsReport", () => {
  it("shows of each socket what the kernel holds and who waits for it, then the other descriptors", () => {
    const { sockets, ...process } = listenerOn(
      { address: "*", port: 80 },
      "/usr/bin/node /srv/x.js a/b",
    );
    const [listener] = sockets;
    const memory = { received: 2_304, receiveLimit: 131_072, sent: 0, sendLimit: 87_040 };
    const connection: (typeof sockets)[number] = {
      ...{ fd: 4, inode: 24, role: "connection", memory },
      watched: [{ epoll: 13, fd: 4, events: ["EPOLLIN", "EPOLLRDHUP"] }],
      record: {
        ...listener!.record,
        ...{ state: "ESTABLISHED", recvQ: 23, sendQ: 5 },
        local: { address: "127.0.0.1", port: 80 },
        remote: { address: "127.0.0.1", port: 40_000 },
        timer: { name: "on", remainingMs: 230, retransmits: 1 },
      },
    };
    const objects = {
      ...{ ...process, sockets: [listener!, connection], notes: ["as root more is to be seen"] },
      others: { pipe: [0, 1], epoll: [13] },
    };
    expect(shown(objects)).toMatchInlineSnapshot(`
      "pid 4711: node x.js a/b
      5 descriptors, 2 of them sockets of TCP or UDP; table: ss -tuaneomi

      fd 3  listening  *:80
             inode 23
             accept queue: 0 wait for accept(), backlog 5

      fd 4  connection  ESTABLISHED  127.0.0.1:80 <-> 127.0.0.1:40000
             inode 24; epoll 13 waits for EPOLLIN, EPOLLRDHUP
             queues: 23 bytes not yet read, 5 bytes not yet acknowledged
             memory: receive 2.3 KiB of 128.0 KiB, send 0 B of 85.0 KiB
             timer: on, 0.2 s to go, 1 try so far

      others: pipe 0 1; epoll 13
      note: as root more is to be seen"
    `);
    const again = { ...connection.record, timer: { ...connection.record.timer!, retransmits: 2 } };
    const twice = { ...objects, sockets: [{ ...connection, record: again }] };
    expect(shown(twice)).toContain("timer: on, 0.2 s to go, 2 tries so far\n");
  });

  it("names the interface that a socket is bound to: others cannot reach it", () => {
    expect(shown(listenerOn({ address: "10.0.0.1", port: 80, zone: "eth0" }))).toContain(
      "fd 3  listening  10.0.0.1%eth0:80\n",
    );
    expect(shown(listenerOn({ address: "fe80::1", port: 80, zone: "eth0" }))).toContain(
      "fd 3  listening  [fe80::1%eth0]:80\n",
    );
  });

  it.each([
    ["ESTABLISHED", 23, 46, "23 bytes not yet read, 46 bytes not yet acknowledged"],
    ["SYN_SENT", 0, 1, "0 bytes not yet read, the SYN not yet acknowledged"],
    ["CLOSE_WAIT", 24, 0, "23 bytes and the FIN not yet read, 0 bytes not yet acknowledged"],
    ["CLOSE_WAIT", 1, 5, "the FIN not yet read, 5 bytes not yet acknowledged"],
    ["CLOSE_WAIT", 0, 0, "0 bytes not yet read, 0 bytes not yet acknowledged"],
    ["FIN_WAIT1", 0, 24, "0 bytes not yet read, 23 bytes and the FIN not yet acknowledged"],
  ] as const)("takes no SYN or FIN for a byte: %s, %i, %i", (state, recvQ, sendQ, queues) => {
    const objects = listenerOn({ address: "127.0.0.1", port: 80 });
    const [socket] = objects.sockets;
    if (socket === undefined) throw new Error("no socket");
    const record = { ...socket.record, state, recvQ, sendQ };
    const connection = { ...socket, role: "connection", record } as const;
    expect(shown({ ...objects, sockets: [connection] })).toContain(`queues: ${queues}\n`);
  });

  it("lets no command line reach the terminal as anything but text", () => {
    const objects = listenerOn({ address: "*", port: 80 }, "node \u001B[2Jx\ny");
    expect(shown(objects)).toMatch(/^pid 4711: node \\u001b\[2Jx\\u000ay\n/);
  });
});
