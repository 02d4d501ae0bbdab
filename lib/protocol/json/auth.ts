/** auth: is this the token? In a time that tells nothing about how much of it was right. */
import { createHash, timingSafeEqual } from "node:crypto";

/** Compares with the one token that is right. */
export type TokenCheck = (given: string) => boolean;

/** Hashes of equal length are compared, so that not even the length of the token shows. */
export function tokenCheck(token: string): TokenCheck {
  const expected = digest(token);
  return (given) => timingSafeEqual(digest(given), expected);
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
