// Bundles the extension, and writes the licences of what is bundled beside it.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { build } from "esbuild";

const result = await build({
  entryPoints: ["src/extension.ts"],
  bundle: true,
  platform: "node",
  // The Node of the oldest editor that the extension runs in.
  target: "node18",
  external: ["vscode"],
  outfile: "out/extension.js",
  minify: true,
  metafile: true,
  logLevel: "warning",
});

const packages = new Set(
  Object.keys(result.metafile.inputs)
    .map((input) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(input)?.[0])
    .filter((folder) => folder !== undefined),
);
const notices = [...packages].sort().map((folder) => {
  const { name, version } = JSON.parse(readFileSync(join(folder, "package.json"), "utf-8"));
  const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
  if (file === undefined) {
    throw new Error(`${name} has no licence file: it cannot be bundled`);
  }
  return `${name} ${version}\n\n${readFileSync(join(folder, file), "utf-8").trim()}\n`;
});
writeFileSync("out/THIRD-PARTY.txt", notices.join(`\n${"-".repeat(72)}\n\n`));
