import { describe, expect, it } from "vitest";
import { processorOf, thisMachine } from "./machine.ts";

describe("the machine of a recording", () => {
  it("has a processor that can be told from another of the same name", () => {
    const cpuinfo =
      "processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\nstepping\t: 1\n";
    expect(processorOf(cpuinfo)).toBe("family 25, model 17, stepping 1");
    expect(processorOf("processor\t: 0\nCPU implementer\t: 0x41\n")).toBe("");
  });

  it("says what the kernel does against attacks, where there is something to do", () => {
    const { cpus, vulnerabilities } = thisMachine();
    expect(cpus).toBeGreaterThan(0);
    expect(Object.values(vulnerabilities ?? {})).not.toContain("Not affected");
  });
});
