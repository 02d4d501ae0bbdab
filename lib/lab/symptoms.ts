/** symptoms: in whose words a failure shows, and the pages for those that no lab can show safely. */
import { constants } from "node:os";

/**
 * What strerror(3) says, as glibc has it: C, Perl, Python, PHP and nginx log these words, Go the same in small letters. Node has words
 * of its own, and the name beside them.
 */
export const ERRNO_WORDS = {
  EADDRINUSE: "Address already in use",
  EADDRNOTAVAIL: "Cannot assign requested address",
  ECONNREFUSED: "Connection refused",
  ECONNRESET: "Connection reset by peer",
  EHOSTUNREACH: "No route to host",
  EMFILE: "Too many open files",
  ENFILE: "Too many open files in system",
  ENOTCONN: "Transport endpoint is not connected",
  EPIPE: "Broken pipe",
  ETIMEDOUT: "Connection timed out",
} as const;

/** How `netstat -s` spells counters that nstat and /proc/net call by their names; the number stands before each (net-tools, statistics.c). */
export const NETSTAT_WORDS = {
  TcpActiveOpens: "active connection openings",
  TcpAttemptFails: "failed connection attempts",
  TcpEstabResets: "connection resets received",
  TcpExtDelayedACKs: "delayed acks sent",
  TcpExtListenDrops: "SYNs to LISTEN sockets dropped",
  TcpExtListenOverflows: "times the listen queue of a socket overflowed",
  TcpExtSyncookiesSent: "SYN cookies sent",
  TcpExtTCPAbortOnClose: "connections reset due to early user close",
  TcpExtTCPAbortOnData: "connections reset due to unexpected data",
  TcpExtTCPAbortOnMemory: "connections aborted due to memory pressure",
  TcpExtTCPAbortOnTimeout: "connections aborted due to timeout",
  TcpExtTW: "TCP sockets finished time wait in fast timer",
  TcpOutRsts: "resets sent",
  TcpPassiveOpens: "passive connection openings",
  TcpRetransSegs: "segments retransmitted",
  UdpRcvbufErrors: "receive buffer errors",
} as const;

/** What shows on a machine that has one of the failures that are explained, and not run: symptom to page in docs/explained/. */
export const EXPLAINED: ReadonlyMap<string, string> = new Map([
  ['"nf_conntrack: table full ... dropping packet" in dmesg', "conntrack-full"],
  ["ETIMEDOUT from connect() while all that is connected goes on", "conntrack-full"],
  ['"TCP: out of memory" in dmesg', "tcp-mem"],
  ["TcpExtTCPAbortOnMemory rises", "tcp-mem"],
  ['"file-max limit ... reached" in dmesg', "enfile"],
  ["ENFILE from socket() or accept()", "enfile"],
  [
    "ETIMEDOUT from connect() for some of the clients behind one NAT (old kernels)",
    "tcp-tw-recycle",
  ],
]);

/** The number of an errno on this platform: 104 for ECONNRESET. */
export function errnoNumber(errno: keyof typeof ERRNO_WORDS): number {
  return constants.errno[errno];
}

/**
 * The errnos and counters that a line of a log or of `netstat -s` is about, named or in words: ECONNRESET for "read ECONNRESET" and for
 * "recv() failed (104: Connection reset by peer)".
 */
export function namesIn(line: string): readonly string[] {
  const text = line.toLowerCase();
  const inWords = [...Object.entries(ERRNO_WORDS), ...Object.entries(NETSTAT_WORDS)].filter(
    ([, words]) => text.includes(words.toLowerCase()),
  );
  // The words of ENFILE begin with those of EMFILE.
  const longest = inWords.filter(
    ([, words]) => !inWords.some(([, other]) => other !== words && other.startsWith(words)),
  );
  const named = line.split(/\W+/).filter(isName);
  const numbered = [...line.matchAll(/\berrno[ :=](\d{1,3})\b/gi)].flatMap(([, number]) =>
    ERRNOS.filter((errno) => errnoNumber(errno) === Number(number)),
  );
  return [...new Set([...named, ...numbered, ...longest.map(([name]) => name)])];
}

const ERRNOS = Object.keys(ERRNO_WORDS) as (keyof typeof ERRNO_WORDS)[];

function isName(word: string): boolean {
  return Object.hasOwn(constants.errno, word) || /^(?:Ip|Tcp|Udp)[A-Z]/.test(word);
}

/** Is `symptom` what somebody asks for: with a part of it, a name in it, the words that a log has for that name, or a line with what it quotes? */
export function isAskedFor(symptom: string, asked: string): boolean {
  const words = symptom.split(/\W+/);
  return (
    symptom.toLowerCase().includes(asked.toLowerCase()) ||
    namesIn(asked).some((name) => words.includes(name)) ||
    quotedIn(symptom).some((phrase) => isWithin(asked.toLowerCase(), phrase.toLowerCase()))
  );
}

/** What a symptom has from a log, word for word. */
function quotedIn(symptom: string): readonly string[] {
  return [...symptom.matchAll(/"([^"]+)"/g)].map(([, phrase = ""]) => phrase);
}

/** Does `line` have the parts of `phrase` one after the other? Its "..." is what differs from line to line. */
function isWithin(line: string, phrase: string): boolean {
  let from = 0;
  const parts = phrase.split("...").map((part) => part.trim());
  return parts.every((part) => {
    const at = line.indexOf(part, from);
    from = at + part.length;
    return at >= 0;
  });
}
