/** hint: what stands at the head of a page that is written by a program. */

/** For whoever wants to edit such a page. */
export const HINT = "<!-- Written by `make docs`; edit the source, not this file. -->";
