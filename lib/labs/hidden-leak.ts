/**
 * hidden-leak: descriptors leak, and the socket table does not show it. A client's next connection from the same port ends the old CLOSE_WAIT.
 *
 * Of a connection that the server never closes the client's end is forgotten after tcp_fin_timeout, and its port serves again. The
 * next SYN from it meets the old CLOSE_WAIT; the server's kernel answers with a challenge ACK, the client's kernel, which knows
 * nothing of it, with a RST. That ends the old connection, and the new one comes about. The program still has the descriptor.
 *
 * WATCH   descriptors that grow while CLOSE_WAIT does not; TcpExtTCPChallengeACK; `protocol: TCP` in lsof
 * CAVEAT  20 ports, so that they come round at once; a client behind NAT, or one that reuses few ports, does it in hours
 * NEEDS   lsof for one arm
 * SEE     tcp_send_challenge_ack() in net/ipv4/tcp_input.c; RFC 5961 section 4; RFC 9293 section 3.10.7.4
 */
import { execFileSync } from "node:child_process";
import { socketInodes } from "../kernel/process.ts";
import { hasTool } from "../kernel/tools.ts";
import type { Bench } from "../lab/bench.ts";
import { atMost, between } from "../lab/claim.ts";
import { defineLab } from "../lab/define.ts";

const WAVE = 20;
const FIRST_PORT = 40_000;
const FIN_TIMEOUT_S = 1;
const LEAK = { flags: ["--leak"], leaked: 2 * WAVE } as const;

/** What the server has after two waves of clients, each of them gone. */
type After = {
  readonly pid: number;
  /** Sockets that its program has open and had not before. */
  readonly sockets: number;
  readonly closeWait: number;
};

/** Two waves of as many clients as each has ports: the same for both, or others for the second. */
async function twoWaves(
  bench: Bench,
  {
    flags,
    leaked,
    otherPorts = false,
  }: { flags: readonly string[]; leaked: number; otherPorts?: boolean },
): Promise<After> {
  bench.sysctl("net.ipv4.tcp_fin_timeout", FIN_TIMEOUT_S);
  const { pid } = await bench.server(flags);
  const before = socketInodes(pid).size;
  const sockets = (): number => socketInodes(pid).size - before;
  for (const wave of [1, 2]) {
    const first = FIRST_PORT + (otherPorts ? wave * WAVE : 0);
    bench.sysctl("net.ipv4.ip_local_port_range", `${first} ${first + WAVE - 1}`);
    await bench.run("client", ["--connections", `${WAVE}`, "--messages", "0", "--leave", "end"]);
    await bench.until(
      () => ({ held: sockets(), ...bench.view().clients }),
      ({ held, FIN_WAIT1, FIN_WAIT2 }) =>
        held === (wave * leaked) / 2 && FIN_WAIT1 + FIN_WAIT2 === 0,
    );
  }
  return { pid, sockets: sockets(), closeWait: bench.view().server.CLOSE_WAIT };
}

const broken = {
  about:
    "the ports of the first wave come round: its CLOSE_WAITs are gone, its descriptors are not",
  run: async (bench: Bench) => {
    const held = bench.predict(
      "sockets that the server has open, still",
      2 * WAVE,
      "all have leaked",
    );
    const seen = bench.predict("CLOSE_WAIT", atMost(WAVE), "one for each port, no more");
    const challenges = bench.predict(
      "challenge ACKs (TcpExtTCPChallengeACK)",
      between(1, WAVE),
      "for a SYN on an old connection",
    );
    const after = await twoWaves(bench, LEAK);
    held.measured(after.sockets);
    seen.measured(after.closeWait);
    challenges.measured(bench.counted("TcpExtTCPChallengeACK"));
  },
};

const control = {
  about:
    "other ports for the second wave: none comes round, and each descriptor has its CLOSE_WAIT",
  run: async (bench: Bench) => {
    const held = bench.predict("sockets that the server has open, still", 2 * WAVE);
    const hidden = bench.predict("of these without a CLOSE_WAIT", 0);
    const challenges = bench.predict("challenge ACKs (TcpExtTCPChallengeACK)", 0);
    const after = await twoWaves(bench, { ...LEAK, otherPorts: true });
    held.measured(after.sockets);
    hidden.measured(after.sockets - after.closeWait, {
      counter: "TcpOutRsts",
      value: bench.counted("TcpOutRsts"),
      because:
        "clients whose FIN was acknowledged while close() was at work: their timer sends a RST",
    });
    challenges.measured(bench.counted("TcpExtTCPChallengeACK"));
  },
};

const closes = {
  about: "a server that closes when its peer has: nothing is left, of either",
  run: async (bench: Bench) => {
    const held = bench.predict("sockets that the server has open, still", 0);
    const seen = bench.predict("CLOSE_WAIT", 0);
    const after = await twoWaves(bench, { flags: [], leaked: 0, otherPorts: true });
    held.measured(after.sockets);
    seen.measured(after.closeWait);
  },
};

/** A socket that is in no table, in the words of today's lsof and of older ones. */
const NAMELESS = /protocol: TCP$|can't identify protocol$/;

/** What lsof prints of one process, with these flags besides. */
function lsof(pid: number, ...flags: string[]): readonly string[] {
  const argv = ["-nP", "-a", "-p", `${pid}`, ...flags];
  return execFileSync("lsof", argv, { encoding: "utf8", stdio: "pipe" }).split("\n");
}

const lsofTcp = {
  about: "lsof -iTCP instead of ss: it does not list them either; without -i it has them, nameless",
  run: async (bench: Bench) => {
    bench.need(hasTool("lsof"), "needs lsof");
    const listed = bench.predict("lsof -iTCP: CLOSE_WAIT", atMost(WAVE));
    const nameless = bench.predict("lsof: 'protocol: TCP', no addresses", between(1, 2 * WAVE));
    const sum = bench.predict("both together", 2 * WAVE, "the sockets that the server has open");
    const { pid } = await twoWaves(bench, LEAK);
    const named = lsof(pid, "-iTCP").filter((line) => line.includes("(CLOSE_WAIT)")).length;
    const without = lsof(pid).filter((line) => NAMELESS.test(line)).length;
    listed.measured(named);
    nameless.measured(without);
    sum.measured(named + without);
  },
};

export default defineLab({
  name: "hidden-leak",
  summary: "descriptors leak, and CLOSE_WAIT does not grow: the ports of clients come round",
  tags: ["descriptors", "closing"],
  params: {},
  story: {
    see: "The server has 40 sockets open that it should have closed, and the socket table shows 20 CLOSE_WAIT. Half of the leak is invisible.",
    why:
      "CLOSE_WAIT has no timer, but it has a peer. When that has forgotten the connection (FIN_WAIT2 without an owner ends after tcp_fin_timeout), it may use the port again. Its SYN then belongs to a connection that the server still has: " +
      "RFC 5961 wants a challenge ACK for it, the client's kernel answers that with a RST, and the server's kernel ends the old connection. Its program is told nothing as long as it does not ask: it keeps a descriptor whose socket is in no table. " +
      "So from each client address there are never more CLOSE_WAITs than it uses ports, however many descriptors have leaked.",
    recognise: [
      [
        "ls /proc/PID/fd | wc -l; ss -tanp | grep -c pid=PID,",
        "many more descriptors than rows: sockets that are in no table",
      ],
      ["lsof -nP -a -p PID | grep 'protocol: TCP'", "descriptors of sockets without addresses"],
      [
        "nstat -az TcpExtTCPChallengeACK",
        "on the server's side: old connections that were met by a new SYN",
      ],
    ],
    symptoms: [
      "EMFILE from accept()",
      "descriptors that grow while CLOSE_WAIT does not",
      "'protocol: TCP' (older: can't identify protocol) in lsof",
      "TcpExtTCPChallengeACK rises",
    ],
    fix: [
      "Close on every path, as in fd-leak: this is the same defect, and only harder to see.",
      "Set the alarm on descriptors (process_open_fds, /proc/PID/fd), not on CLOSE_WAIT.",
    ],
    needs: ["lsof, for one arm"],
    reports: ["jech/polipo#34", "jenkinsci/lib-file-leak-detector#24", "http-kit/http-kit#326"],
  },
  arms: { broken, control, fixed: [closes], myth: [lsofTcp] },
});
