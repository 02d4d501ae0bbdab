/** json-client-flags: what `client` can be told when it speaks JSON. */
import { flag, integer, milliseconds, optional, toggle, words } from "./flags.ts";

const performance = "With performance";

/** What to ask for, and for how long. */
export const loadFlags = {
  "in-flight": flag(integer(1, 10_000), 1, {
    about: "Requests under way on each connection",
    metavar: "N",
    group: performance,
  }),
  bytes: flag(integer(0, 1_000_000), 64, {
    about: "Length of what is to be echoed; 0 for pings",
    metavar: "N",
    group: performance,
  }),
  "duration-ms": flag(milliseconds(1), 5_000, {
    about: "Measure for so long",
    metavar: "MS",
    group: performance,
  }),
  "warmup-ms": flag(milliseconds(0), 1_000, {
    about: "and do the same before, not measured",
    metavar: "MS",
    group: performance,
  }),
  rate: flag(integer(0, 1_000_000), 0, {
    about: "Requests per second in all; 0 for as fast as it goes",
    metavar: "N",
    group: performance,
  }),
};

const group = "With --protocol json, demo, interactive, performance";

/** How to come to a connection. */
export const jsonFlags = {
  "auth-token-file": optional(words, {
    about: "Show the token in this file, or in AUTH_TOKEN",
    metavar: "FILE",
    group,
  }),
  compress: toggle({ about: "Ask for compression", group }),
  tls: toggle({ about: "TLS, trusting the usual authorities", group }),
  "tls-ca": optional(words, { about: "TLS, trusting these", metavar: "FILE", group }),
  "tls-cert": optional(words, { about: "TLS with a certificate of ours", metavar: "FILE", group }),
  "tls-key": optional(words, { about: "and its key", metavar: "FILE", group }),
};
