import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { readCounters } from "../kernel/counters.ts";
import { labNames, loadLab, loadLabs } from "./load.ts";

/** What nstat puts before the name of a column. */
const PREFIX = /^(?:TcpExt|Tcp|UdpLite|Udp|IpExt|Ip|IcmpMsg|Icmp)(?=[A-Z])/;

describe("labs", () => {
  it("are found on disk and carry the name of their file", async () => {
    const labs = await loadLabs();
    expect(labs.map(({ name }) => name)).toEqual(labNames());
  });

  it("have one broken arm, one control, at least one fix and a myth, each described", async () => {
    for (const { name, arms } of await loadLabs()) {
      const kinds = arms.map(({ kind }) => kind);
      expect(
        kinds.filter((kind) => kind === "broken"),
        name,
      ).toHaveLength(1);
      expect(
        kinds.filter((kind) => kind === "control"),
        name,
      ).toHaveLength(1);
      expect(kinds, name).toContain("fixed");
      expect(kinds, name).toContain("myth");
      for (const { about } of arms) expect(about.length, name).toBeGreaterThan(10);
    }
  });

  it("tell what is seen, why, how to recognise it, and how to fix it", async () => {
    for (const { name, story } of await loadLabs()) {
      expect(story.see.length, name).toBeGreaterThan(40);
      expect(story.why.length, name).toBeGreaterThan(100);
      expect(story.recognise.length, name).toBeGreaterThan(1);
      expect(story.fix.length, name).toBeGreaterThan(1);
      expect(story.reports.length, name).toBeGreaterThan(0);
    }
  });

  it("say what not every machine has: those whose file says NEEDS, and no others", async () => {
    for (const { name, story } of await loadLabs()) {
      const source = readFileSync(new URL(`../labs/${name}.ts`, import.meta.url), "utf8");
      expect(story.needs !== undefined, name).toBe(/^ \* NEEDS /m.test(source));
    }
  });

  it("name counters in their symptoms as nstat prints them, so that these can be looked up", async () => {
    const counters = Object.keys(readCounters());
    const columns = counters.map((name) => name.replace(PREFIX, ""));
    const words = (await loadLabs()).flatMap(({ story }) =>
      (story.symptoms ?? []).flatMap((symptom) => symptom.split(/[^A-Za-z0-9]+/)),
    );
    expect(words).toContain("TcpExtListenOverflows");
    expect(words.filter((word) => columns.includes(word))).toEqual([]);
    expect(words.filter((word) => PREFIX.test(word) && !counters.includes(word))).toEqual([]);
  });

  it("are named to those who ask for a state as ss prints it", async () => {
    await expect(loadLab("FIN-WAIT-2")).rejects.toThrow("a symptom in: fd-leak, fin-wait-2");
    await expect(loadLab("ESTAB")).rejects.toThrow("half-open-peer");
    // CLOSE is no CLOSE_WAIT.
    await expect(loadLab("CLOSED")).rejects.toThrow("lab list has all ");
  });

  it("are named to those who paste a line of a log; so is the page on what cannot be shown safely", async () => {
    const line = "12 times the listen queue of a socket overflowed";
    await expect(loadLab(line)).rejects.toThrow("a symptom in: accept-queue-overflow, ");
    await expect(loadLab("nf_conntrack: table full")).rejects.toThrow(
      "but docs/explained/conntrack-full.md explains it",
    );
    await expect(loadLab("ENFILE")).rejects.toThrow("but docs/explained/enfile.md explains it");
  });

  it("are refused by any other name, with the way to find those that there are", async () => {
    await expect(loadLab("../lab/run")).rejects.toThrow("lab list has all ");
  });
});
