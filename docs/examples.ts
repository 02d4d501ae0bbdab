/** examples: puts programs into pages, as somebody would write them who has installed the package. */
import { readFileSync } from "node:fs";
import { join } from "node:path";

/** The page with each program of this folder put between its markers, `<!-- example NAME -->` and `<!-- /example -->`. */
export function withExamples(page: string, folder: string): string {
  return page.replaceAll(
    /(<!-- example (\w+) -->\n)[^]*?(<!-- \/example -->)/g,
    (_, open: string, name: string, close: string) => {
      const program = readFileSync(join(folder, `${name}.ts`), "utf8");
      const installed = program.replaceAll(
        /"\.\.\/\.\.\/lib\/(\w+)\/index\.ts"/g,
        '"tcp-failure-lab/$1"',
      );
      return `${open}\n\`\`\`ts\n${installed}\`\`\`\n\n${close}`;
    },
  );
}
