/**
 * readme: runs what README.md shows of its own programs, and keeps it up to date.
 *
 * Three blocks between markers: the demo, the bomb on a machine as it is, and a server that leaks. Without --record the commands are
 * run and what they print is compared by its shape: titles, heads of columns, names of rows. Numbers and times may differ.
 *
 *     node dist/docs/readme.js [--record]
 */
import { execa } from "execa";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = join(import.meta.dirname, "../..");
const README = join(ROOT, "README.md");
const LAB = join(ROOT, "dist/cmd/lab.js");
const LEFT_OUT = "[...]";

export type Block = {
  /** Of the markers: `<!-- name -->` to `<!-- /name -->`. */
  readonly name: string;
  readonly print: () => Promise<string>;
  /** The lines of which a recording must have the same. */
  readonly frame: RegExp;
};

/** In a sandbox, but with a machine's usual ports: the words are those of a terminal outside. */
const AS_OUTSIDE =
  'sysctl -qw net.ipv4.ip_local_port_range="32768 60999" net.ipv4.tcp_tw_reuse=2; ';

export const BLOCKS: readonly Block[] = [
  {
    name: "demo",
    print: async () => fenced(demoExcerpt(await output([LAB, "demo"]))),
    frame: /^(broken|control|lab) |^ {2}predicted |predicted +measured$|^[a-z-]+ +\d+ +\d+ of \d+ /,
  },
  {
    name: "bomb",
    print: async () =>
      fenced(
        bombExcerpt(
          await inSandbox(
            "server > /dev/null 2>&1 & sleep 1; bomb --duration-ms 4000 2>&1; kill $!",
          ),
        ),
      ),
    frame: /^(predicted|measured|closed|range used|state) |^[A-Z]+[A-Z_0-9]* +\d/,
  },
  {
    name: "leak",
    print: async () => {
      const script =
        "(ulimit -n 128; LEAK=true exec server > server.log 2>&1) & sleep 1; bomb --count 300 > /dev/null 2>&1; sleep 1.5; " +
        "echo SERVER; cat server.log; echo STATES; states --port 8080; echo RSTS; nstat -asz TcpOutRsts | tail -1; rm server.log; kill $!";
      return leakExcerpt(await inSandbox(script));
    },
    frame: /^(Out of descriptors|STATE|Owners|Only) |^[A-Z]+[A-Z_0-9]* +\d|^TcpOutRsts/,
  },
];

async function output(args: readonly string[]): Promise<string> {
  const { stdout } = await execa(process.execPath, args, {
    stderr: "ignore",
    stdin: "ignore",
    timeout: 120_000,
    env: { COLUMNS: "80" },
  });
  return stdout.replaceAll(/ +$/gm, "").trim();
}

function inSandbox(script: string): Promise<string> {
  return output([LAB, "shell", "--alone", "--", "bash", "-c", `${AS_OUTSIDE}${script}`]);
}

/** The first lab's broken and control arms, and the end. */
export function demoExcerpt(text: string): string {
  const fixed = text.search(/^fixed /m);
  const end = text.search(/^lab +arms/m);
  return `${text.slice(0, fixed)}${LEFT_OUT}\n\n${text.slice(end)}`;
}

/** Without the lines that tell of progress. */
export function bombExcerpt(text: string): string {
  const lines = text.split("\n");
  const isProgress = (line = ""): boolean => /^[\d,]+ connections  /.test(line);
  return lines
    .flatMap((line, index) => {
      if (!isProgress(line)) return [line];
      return isProgress(lines[index - 1]) ? [] : [LEFT_OUT];
    })
    .join("\n");
}

/** What the server says, the table of states, and the RSTs that account for the difference. */
export function leakExcerpt(text: string): string {
  const [, server = "", states = "", rsts = ""] = text.split(/^(?:SERVER|STATES|RSTS)\n/m);
  const said = server.split("\n").filter((line) => !/ accepted \d|listening/.test(line));
  return [
    "The server, a second later:",
    fenced(said.join("\n").trim()),
    "and `node dist/cmd/states.js --port 8080`:",
    fenced(states.trim()),
    "and `nstat -asz TcpOutRsts | tail -1`:",
    fenced(rsts.trim()),
  ].join("\n\n");
}

function fenced(text: string): string {
  return `\`\`\`text\n${text}\n\`\`\``;
}

function marked(name: string): RegExp {
  return new RegExp(`(<!-- ${name} -->\n\n)([^]*?)(\n\n<!-- /${name} -->)`);
}

/** What stands between the markers. */
export function blockOf(markdown: string, name: string): string {
  const found = marked(name).exec(markdown)?.[2];
  if (found === undefined) throw new Error(`README.md: no <!-- ${name} --> ... <!-- /${name} -->`);
  return found;
}

/** The lines that make the shape, without numbers, times and widths. */
export function shapeOf(text: string, frame: RegExp): readonly string[] {
  return text
    .split("\n")
    .filter((line) => frame.test(line))
    .map((line) => line.replaceAll(/\d[\d,.]*/g, "#").replaceAll(/ +/g, " "));
}

async function main(isRecording: boolean): Promise<void> {
  for (const { name, print, frame } of BLOCKS) {
    const markdown = readFileSync(README, "utf8");
    const before = blockOf(markdown, name);
    const after = await print();
    const shapes = [before, after].map((text) => shapeOf(text, frame).join("\n"));
    process.stderr.write(`README.md: ${name} ran\n`);
    if (isRecording)
      writeFileSync(
        README,
        markdown.replace(
          marked(name),
          (_, open: string, __, close: string) => `${open}${after}${close}`,
        ),
      );
    else if (shapes[0] !== shapes[1])
      throw new Error(
        `README.md: ${name} is not what is printed today; node dist/docs/readme.js --record\n--- README.md\n${shapes[0] ?? ""}\n--- today\n${shapes[1] ?? ""}`,
      );
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url))
  await main(process.argv.includes("--record"));
