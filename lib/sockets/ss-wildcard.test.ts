import { describe, expect, it } from "vitest";
import { countSockets, parseSockets } from "./parse.ts";

const BOTH = "LISTEN 0 511 *:8080 *:*\n";
const IPV4 = "ESTAB 0 0 10.0.0.1:8080 10.0.0.9:50001\n";

const families = (text: string): (4 | 6 | undefined)[] =>
  parseSockets(text).records.map(({ family }) => family);

describe("the family of * in ss", () => {
  it.each([
    ["0.0.0.0 before it", `LISTEN 0 511 0.0.0.0:80 0.0.0.0:*\n${BOTH}`, [4, 6]],
    ["0.0.0.0 behind it", `${BOTH}${IPV4}LISTEN 0 511 0.0.0.0:80 0.0.0.0:*\n`, [6, 4, 4]],
    ["[::] behind it", `${IPV4}${BOTH}${IPV4}LISTEN 0 511 [::]:80 [::]:*\n`, [4, 6, 4, 6]],
    ["::: of an old ss", `${BOTH}LISTEN 0 511 :::80 :::*\n`, [4, 6]],
    ["nothing that tells", `${BOTH}${IPV4}`, [undefined, 4]],
  ])("is known from %s", (_, text, expected) => {
    expect(families(text)).toEqual(expected);
  });

  it("leaves the rows in their order, however many there are", () => {
    const text = BOTH + IPV4.repeat(2_500) + BOTH;
    const lines = parseSockets(text).records.map(({ line }) => line);
    expect(lines).toEqual(Array.from({ length: 2_502 }, (_, index) => index + 1));
    expect(countSockets(text).counts).toMatchObject({ LISTEN: 2, ESTABLISHED: 2_500 });
  });

  it("is both, hence IPv6, where the ss is that of this machine", () => {
    expect(parseSockets(BOTH, "ss", { isLive: true }).records).toMatchObject([{ family: 6 }]);
  });
});
