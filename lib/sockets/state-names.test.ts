import { describe, expect, it } from "vitest";
import { TCP_STATES } from "./record.ts";
import { stateNamed, stateOfCode, statesNamed } from "./state-names.ts";

describe("stateNamed", () => {
  it("knows every state by its own name", () => {
    for (const state of TCP_STATES) expect(stateNamed(state)).toBe(state);
  });

  it.each([
    ["ESTAB", "ESTABLISHED"],
    ["FIN-WAIT-1", "FIN_WAIT1"],
    ["FIN_WAIT_2", "FIN_WAIT2"],
    ["SYN_RCVD", "SYN_RECV"],
    ["SYN_RECEIVED", "SYN_RECV"],
    ["UNCONN", "CLOSE"],
    ["CLOSED", "CLOSE"],
    ["LISTENING", "LISTEN"],
    ["VERBUNDEN", "ESTABLISHED"],
    ["ABHÖREN", "LISTEN"],
    ["OUÇA", "LISTEN"],
  ])("reads %s as %s", (word, state) => {
    expect(stateNamed(word)).toBe(state);
  });

  it("does not take the names of an object's own machinery for states", () => {
    for (const word of ["constructor", "__proto__", "toString", ""])
      expect(stateNamed(word)).toBeUndefined();
  });
});

describe("stateOfCode", () => {
  it("knows the 11 codes of /proc and the two that the kernel keeps to itself", () => {
    expect(stateOfCode(1)).toBe("ESTABLISHED");
    expect(stateOfCode(10)).toBe("LISTEN");
    expect(stateOfCode(12)).toBe("SYN_RECV");
    expect(stateOfCode(13)).toBe("CLOSE");
    expect([0, 14, NaN].map(stateOfCode)).toEqual([undefined, undefined, undefined]);
  });
});

describe("statesNamed", () => {
  it("reads a list in any spelling and case", () => {
    expect(statesNamed("time_wait,CLOSE-WAIT")).toEqual(["TIME_WAIT", "CLOSE_WAIT"]);
  });

  it("names the states that there are for one that is none", () => {
    expect(() => statesNamed("LISTEN,WAITING")).toThrow(
      /expected states such as ESTABLISHED,.*got "WAITING"/,
    );
  });
});
