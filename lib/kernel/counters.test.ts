import { describe, expect, it } from "vitest";
import { counter, counterDelta, parseCounters, parseSockstat, readCounters } from "./counters.ts";

const SNMP = `Tcp: RtoAlgorithm ActiveOpens PassiveOpens CurrEstab
Tcp: 1 23 42 5
Udp: InDatagrams NoPorts
Udp: 7 0
`;

describe("parseCounters", () => {
  it("joins the names above with the values below, as nstat spells them", () => {
    expect({ ...parseCounters(SNMP) }).toEqual({
      TcpRtoAlgorithm: 1,
      TcpActiveOpens: 23,
      TcpPassiveOpens: 42,
      TcpCurrEstab: 5,
      UdpInDatagrams: 7,
      UdpNoPorts: 0,
    });
  });

  it("reads what this kernel has", () => {
    const counters = readCounters();
    for (const name of [
      "TcpActiveOpens",
      "TcpPassiveOpens",
      "TcpOutRsts",
      "TcpExtTW",
      "TcpExtListenDrops",
    ])
      expect(counter(counters, name)).toBeGreaterThanOrEqual(0);
  });
});

describe("counter", () => {
  it("refuses a name that does not exist, rather than reading it as 0", () => {
    expect(() => counter(parseCounters(SNMP), "TcpActiveOpen")).toThrow(RangeError);
    expect(() => counter(parseCounters(SNMP), "constructor")).toThrow(RangeError);
  });
});

describe("counterDelta", () => {
  it("shows only what moved, up or down", () => {
    const later = parseCounters(SNMP.replace("1 23 42 5", "1 46 42 3"));
    expect(counterDelta(parseCounters(SNMP), later)).toEqual({
      TcpActiveOpens: 23,
      TcpCurrEstab: -2,
    });
  });
});

describe("parseSockstat", () => {
  it("reads the TCP line", () => {
    const text =
      "sockets: used 120\nTCP: inuse 5 orphan 1 tw 1000 alloc 7 mem 3\nUDP: inuse 2 mem 0\n";
    expect(parseSockstat(text)).toEqual({
      inuse: 5,
      orphan: 1,
      timeWait: 1000,
      alloc: 7,
      memPages: 3,
    });
  });
});
