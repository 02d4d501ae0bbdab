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
  it("names the interface that a socket is bound to: others cannot reach it", () => {
    expect(shown(listenerOn({ address: "10.0.0.1", port: 80, zone: "eth0" }))).toContain(
      "fd 3  listening  10.0.0.1%eth0:80\n",
    );
    expect(shown(listenerOn({ address: "fe80::1", port: 80, zone: "eth0" }))).toContain(
      "fd 3  listening  [fe80::1%eth0]:80\n",
    );
  });

  it("lets no command line reach the terminal as anything but text", () => {
    const objects = listenerOn({ address: "*", port: 80 }, "node \u001B[2Jx\ny");
    expect(shown(objects)).toMatch(/^pid 4711: node \\u001b\[2Jx\\u000ay\n/);
  });
});
