import { describe, expect, it } from "vitest";
import { isLoopback } from "../kernel/ports.ts";
import { resolveTarget } from "./target.ts";

const rules = { allowRemote: false, isInSandbox: false, isLoopback };

describe("resolveTarget", () => {
  it.each(["127.0.0.1", "127.1.2.3", "::1", "localhost", "::ffff:7f00:1"])(
    "allows %s",
    async (host) => {
      expect(await resolveTarget(host, rules)).toMatchObject({ isRemote: false });
    },
  );

  it.each(["192.0.2.1", "10.0.0.1", "2001:db8::1", "0.0.0.0"])(
    "refuses %s, and names --allow-remote",
    async (host) => {
      await expect(resolveTarget(host, rules)).rejects.toThrow("--allow-remote");
    },
  );

  it("spells an IPv6 address as the kernel's tables do, and keeps its zone", async () => {
    const given = { ...rules, isInSandbox: true };
    expect((await resolveTarget("0:0:0:0:0:0:0:1", given)).address).toBe("::1");
    expect((await resolveTarget("FE80:0::0:1%lo", given)).address).toBe("fe80::1%lo");
    expect((await resolveTarget("[::1]", given)).address).toBe("::1");
  });

  it("allows a remote address when told to, and says that it is one", async () => {
    const target = await resolveTarget("192.0.2.1", { ...rules, allowRemote: true });
    expect(target).toEqual({ address: "192.0.2.1", isRemote: true });
  });

  it("allows every address inside a sandbox, from which nothing leads out", async () => {
    expect(await resolveTarget("192.0.2.1", { ...rules, isInSandbox: true })).toMatchObject({
      isRemote: false,
    });
  });
});
