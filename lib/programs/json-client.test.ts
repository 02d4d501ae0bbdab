import { describe, expect, it } from "vitest";
import { ClientError, RemoteError } from "../protocol/json/client-errors.ts";
import { told } from "./json-client.ts";

const SERVER = { host: "127.0.0.1", port: 9_999 };

describe("told", () => {
  it("has what speaks against the server as something to act on, and keeps its cause", () => {
    const error = new ClientError("CONNECT_TIMEOUT", "127.0.0.1:9999, 23 ms");
    expect(told(error, SERVER)).toMatchObject({
      code: "TFL_NEEDS",
      message: `127.0.0.1:9999: ${error.message} (CONNECT_TIMEOUT)`,
      cause: error,
    });
  });

  it("does not say that there was no connection when there was one without an answer", () => {
    const error = new ClientError("REQUEST_TIMEOUT", "get_stats");
    expect(told(error, SERVER).message).not.toContain("no connection");
  });

  it("lets no words of the server move the cursor or forge a line, nor pass for an errno", () => {
    const forged = new RemoteError({
      code: "ECONNREFUSED",
      message: "\u001B[2Jall is well\r\nnot",
    });
    expect(told(forged, SERVER).message).toBe(
      "127.0.0.1:9999: \\u001b[2Jall is well\\u000d\\u000anot (ECONNREFUSED)",
    );
  });

  it("leaves an errno, and a defect of ours, which has no code, as they are", () => {
    const refused = Object.assign(new Error("connect ECONNREFUSED"), { code: "ECONNREFUSED" });
    const defect = new TypeError("Cannot read properties of undefined (reading 'port')");
    expect([refused, defect].map((error) => told(error, SERVER))).toEqual([refused, defect]);
  });
});
