import { describe, expect, it } from "vitest";
import { LIMITS } from "./limits.ts";
import { overdue, silenceSince } from "./patience.ts";

describe("patience", () => {
  it("asks for a sign of life after heartbeatMs, with 0 never", () => {
    const silence = silenceSince(1_000);
    const limits = { ...LIMITS, heartbeatMs: 100, heartbeatTimeoutMs: 50 };
    expect(overdue(limits, 1_099, silence, true)).toBeUndefined();
    expect(overdue(limits, 1_100, silence, true)).toBe("ping");
    expect(overdue({ ...limits, heartbeatMs: 0 }, 1e9, silence, true)).toBeUndefined();
  });

  it("ends when the sign of life does not come", () => {
    const silence = { ...silenceSince(1_000), pingedMs: 1_100 };
    const limits = { ...LIMITS, heartbeatMs: 100, heartbeatTimeoutMs: 50 };
    expect(overdue(limits, 1_149, silence, true)).toBeUndefined();
    expect(overdue(limits, 1_150, silence, true)).toBe("HEARTBEAT_TIMEOUT");
  });

  it("with an idle client lasts idleTimeoutMs, with 0 for ever", () => {
    const silence = { ...silenceSince(1_000), heardMs: 1e9 };
    const limits = { ...LIMITS, heartbeatMs: 0, idleTimeoutMs: 300 };
    expect(overdue(limits, 1_299, silence, true)).toBeUndefined();
    expect(overdue(limits, 1_300, silence, true)).toBe("IDLE_TIMEOUT");
    expect(overdue({ ...limits, idleTimeoutMs: 0 }, 1e9, silence, true)).toBeUndefined();
  });
});
