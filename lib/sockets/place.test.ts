import { describe, expect, it } from "vitest";
import { colonEndpoint, endpointText } from "./endpoint.ts";
import { isAt, placesNamed } from "./place.ts";

const isMeant = (typed: string, printed: string): boolean =>
  isAt(colonEndpoint(printed)!, placesNamed(typed));

describe("endpointText", () => {
  it.each(["127.0.0.1:80", "[::1]:80", "[::]:*", "*:80", "localhost:80"])(
    "spells %s so that it can be read again, and pasted",
    (text) => {
      expect(endpointText(colonEndpoint(text)!)).toBe(text);
    },
  );

  it("keeps a zone with its address", () => {
    expect(endpointText(colonEndpoint("[fe80::2]%eth0:22")!)).toBe("[fe80::2%eth0]:22");
    expect(endpointText({ address: "fe80::2%eth0", port: 22 })).toBe("[fe80::2%eth0]:22");
  });
});

describe("placesNamed", () => {
  it.each([
    ["8080", "127.0.0.1:8080"],
    [":8080", "[::1]:8080"],
    ["10.9.9.9", "10.9.9.9:50001"],
    ["10.9.9.9", "[::ffff:10.9.9.9]:50001"],
    ["::ffff:10.9.9.9", "10.9.9.9:50001"],
    ["::ffff:a09:909", "10.9.9.9:50001"],
    ["10.9.9.9:50001", "::ffff:10.9.9.9:50001"],
    ["[::]:8080", "*:8080"],
    ["*:8080", "0.0.0.0:8080"],
    ["0.0.0.0", ":::8080"],
    [":::8080", "[::]:8080"],
    ["10.0.0.1:*", "10.0.0.1:*"],
    ["2001:DB8::1", "[2001:db8::1]:443"],
    ["2001:db8:0:0:0:0:0:1", "[2001:db8::1]:443"],
    ["[2001:DB8::1]:443", "2001:DB8::1:443"],
    ["fe80::2%eth0", "[fe80::2]%eth0:22"],
    ["[fe80::2%eth0]:22", "fe80::2:22"],
    ["fe80::2", "[fe80::2%eth0]:22"],
    ["::1:80", "[::1]:80"],
    ["fe80::1:80", "[fe80::1:80]:443"],
  ])("%s means what a tool prints as %s", (typed, printed) => {
    expect(isMeant(typed, printed)).toBe(true);
  });

  it.each([
    ["80", "127.0.0.1:8080"],
    ["10.9.9.9", "10.9.9.99:1"],
    ["10.9.9.9:1", "10.9.9.9:2"],
    ["[::1]:80", "[::1:80]:443"],
    ["fe80::2%eth0", "[fe80::2]%eth1:22"],
    ["10.0.0.1:*", "10.0.0.1:80"],
    ["127.0.0.1", "0.0.0.0:80"],
  ])("%s does not mean %s", (typed, printed) => {
    expect(isMeant(typed, printed)).toBe(false);
  });

  it.each([
    "[::1",
    "::1]:80",
    "localhost",
    "localhost:80",
    "0",
    "65536",
    ":",
    "10.0.0",
    "10.0.0.1:",
    "1.1.1.1:http",
  ])("refuses %s, which is neither a port nor an address", (typed) => {
    expect(() => placesNamed(typed)).toThrow(/^expected a port, an address or both, such as 80,/);
  });
});
