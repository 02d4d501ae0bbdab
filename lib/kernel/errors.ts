/** Something that this machine lacks: a tool, a permission, a kernel feature. The message ends with the ways out; `cause.signal` is what has ended a program. */
export class NeedsError extends Error {
  override name = "NeedsError";
  readonly code = "TFL_NEEDS";
}
