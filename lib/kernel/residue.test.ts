import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { changedParameters, networkParameters } from "./residue.ts";

describe("the network parameters of a machine", () => {
  it("are read by name, as they are", () => {
    expect(networkParameters().get("net/ipv4/tcp_fin_timeout")).toBe(
      readFileSync("/proc/sys/net/ipv4/tcp_fin_timeout", "latin1"),
    );
  });

  it("are compared one by one, and those that differ are named", () => {
    const before = networkParameters();
    const after = new Map(before).set("net/ipv4/tcp_fin_timeout", "1\n").set("net/core/new", "0\n");
    expect(changedParameters(before, after)).toEqual(["net/ipv4/tcp_fin_timeout", "net/core/new"]);
    expect(changedParameters(before, before)).toEqual([]);
  });
});
