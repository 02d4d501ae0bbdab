import { afterEach, describe, expect, it, vi } from "vitest";
import { isInSandbox, networkNamespace, SANDBOX_VARIABLE } from "./sandbox.ts";

afterEach(() => void vi.unstubAllEnvs());

describe("isInSandbox", () => {
  it.each([undefined, "", "1", "true", "net:[1]"])("does not believe the variable: %j", (value) => {
    vi.stubEnv(SANDBOX_VARIABLE, value);
    expect(isInSandbox()).toBe(false);
  });

  it("is true where the variable names the network namespace that we are in", () => {
    vi.stubEnv(SANDBOX_VARIABLE, networkNamespace());
    expect(isInSandbox()).toBe(true);
  });
});
