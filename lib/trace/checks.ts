/** checks: what every recording has to show, whatever it is of. */
import { SLACK_NS } from "./samples.ts";
import { SCENARIO_CHECKS } from "./scenario-checks.ts";
import { returned } from "./strace.ts";
import { check, ms, View, type Check, type Unchecked } from "./view.ts";

/** Makes the checks that apply. */
export function checksFor(seen: Unchecked): readonly Check[] {
  const { timeline, scenario } = seen;
  if (timeline === undefined)
    return [{ text: "something was seen", found: "nothing", held: false }];
  const view = new View(seen, timeline);
  return [
    ...handshakeChecks(view),
    ...(scenario === undefined ? [] : SCENARIO_CHECKS[scenario](view)),
    ...clockChecks(seen),
    ...tableChecks(seen),
  ];
}

function handshakeChecks(view: View): readonly Check[] {
  const last = view.packets.find(({ states }) => states?.server === "ESTABLISHED");
  const accept = view.calls("server", /^accept/).find(({ call }) => returned(call) !== undefined);
  if (
    last === undefined ||
    accept?.call.endNs === undefined ||
    view.packet("client", "SYN") === undefined
  )
    return [];
  // Of the two bounds of its return the earlier is early by what strace needed for the socket's name: it refutes nothing.
  const earliest = accept.call.endNs - last.atNs;
  const latest = (accept.call.doneByNs ?? accept.call.endNs) - last.atNs;
  const [fresh, listener] = [returned(accept.call), accept.listener?.fd];
  return [
    check(
      `the kernel ended the handshake before ${accept.call.name}() returned`,
      latest > 0n,
      earliest > 0n || latest <= 0n ? `${ms(earliest)} before` : `at most ${ms(latest)} before`,
    ),
    check(
      `${accept.call.name}() gave a descriptor of its own; the listener's stays`,
      fresh !== listener,
      `${fresh} from ${listener}`,
    ),
  ];
}

function clockChecks({ clock }: Unchecked): readonly Check[] {
  if (clock === undefined) return [];
  return [
    check(
      `every packet was sent within its call: strace and tcpdump have one clock`,
      clock.lowUs <= 0 && clock.highUs >= 0,
      `${clock.pairs} pairs; at most ${Math.max(Math.abs(clock.lowUs), clock.highUs).toFixed(0)} us apart`,
    ),
  ];
}

function tableChecks({ comparison, scenario }: Unchecked): readonly Check[] {
  if (comparison === undefined) return [];
  const { compared, disagreements } = comparison;
  // A command may be over before anybody has looked.
  if (compared === 0 && scenario === undefined) return [];
  const [first] = disagreements;
  return [
    check(
      `the socket table shows the states that the packets lead to (within ${ms(SLACK_NS)})`,
      disagreements.length === 0 && compared > 0,
      first === undefined
        ? `${compared} readings agree`
        : `${disagreements.length} of ${compared} differ, the first: ${first.side} ${first.seen}, not ${first.derived.join(" or ")}`,
    ),
  ];
}
