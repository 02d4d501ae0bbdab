#!/usr/bin/env node
/**
 * client: one connection, or many at once: connect, send, check the echo, hold, leave in one of four ways.
 *
 * WATCH   --leave half-close against a leaking server: FIN_WAIT2 with an owner; --leave end: without one
 * CAVEAT  --leave abandon never closes; Ctrl-C ends it, and then the kernel closes
 * SEE     docs/map.md
 */
import { choice, flag, integer, toggle, words } from "../lib/cli/flags.ts";
import { command, main } from "../lib/cli/main.ts";
import { REMOTE_RATE_PER_SECOND, resolveTarget } from "../lib/cli/target.ts";
import { isLoopback } from "../lib/kernel/ports.ts";
import { isInSandbox } from "../lib/kernel/sandbox.ts";
import { WAYS_TO_LEAVE, type WayToLeave } from "../lib/protocol/leave.ts";
import { visitAll } from "../lib/protocol/visits.ts";
import { visitsReport } from "../lib/report/visits-report.ts";

const waysToLeave = Object.keys(WAYS_TO_LEAVE) as WayToLeave[];

const flags = {
  host: flag(words, "127.0.0.1", { about: "Server to connect to", metavar: "HOST", env: "HOST" }),
  port: flag(integer(1, 65_535), 8080, {
    about: "Its port",
    metavar: "N",
    env: "PORT",
    alias: "p",
  }),
  connections: flag(integer(1, 100_000), 1, {
    about: "Connections at the same time",
    metavar: "N",
    env: "CONNECTIONS",
    alias: "c",
  }),
  message: flag(words, "hello, TCP", { about: "What to send", metavar: "TEXT" }),
  messages: flag(integer(0), 1, {
    about: "How many times, each after the echo of the last",
    metavar: "N",
  }),
  "hold-ms": flag(integer(0, 2 ** 31 - 1), 0, {
    about: "Stay connected after the last echo",
    metavar: "MS",
  }),
  leave: flag(choice(...waysToLeave), "end", {
    about: `How to leave: ${waysToLeave.join(", ")}`,
    metavar: "HOW",
  }),
  "timeout-ms": flag(integer(1, 2 ** 31 - 1), 5_000, {
    about: "Give up connecting, or waiting for an echo",
    metavar: "MS",
  }),
  "allow-remote": toggle({
    about: "Allow a server that is not on this machine",
    env: "ALLOW_REMOTE",
  }),
  json: toggle({ about: "Print what was seen as JSON" }),
};

await main(
  command({
    name: "client",
    summary: "connect, send, check the echo, leave in one of four ways",
    flags,
    examples: [
      ["client", "one connection to 127.0.0.1:8080"],
      ["CONNECTIONS=23 client --hold-ms 5000", "23 at once, held for 5 s"],
      ["client --leave reset", "leave with a RST instead of a FIN"],
    ],
    run: async (values, io) => {
      const rules = { allowRemote: values["allow-remote"], isInSandbox: isInSandbox(), isLoopback };
      // A single connection is what every program makes; only crowds need permission.
      const target = await resolveTarget(values.host, {
        ...rules,
        allowRemote: rules.allowRemote || values.connections === 1,
      });
      if (!values.json)
        io.err(
          `client: ${values.connections} to ${target.address}:${values.port}, then ${values.leave}. Ctrl-C to stop.`,
        );
      const summary = await visitAll(
        values.connections,
        {
          host: target.address,
          port: values.port,
          message: Buffer.from(values.message),
          messages: values.messages,
          holdMs: values["hold-ms"],
          leave: values.leave,
          timeoutMs: values["timeout-ms"],
          signal: io.signal,
        },
        target.isRemote ? REMOTE_RATE_PER_SECOND : Infinity,
      );
      io.out(values.json ? JSON.stringify({ version: 1, ...summary }) : visitsReport(summary));
      return summary.left === summary.connections ? 0 : 1;
    },
  }),
);
