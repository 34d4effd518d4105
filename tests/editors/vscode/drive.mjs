/** Runs one scenario in a real VS Code and says, a JSON line to a step, what was seen. */

import { readFileSync } from "node:fs";

import { openWorkbench } from "./page.mjs";

const settings = JSON.parse(readFileSync(0, "utf-8"));
const scenario = await import(`./${settings.scenario}.mjs`);
const { browser, workbench } = await openWorkbench(settings);
let failed = false;

async function step(name, act) {
  const started = Date.now();
  try {
    const seen = (await act()) ?? null;
    console.log(JSON.stringify({ step: name, seconds: (Date.now() - started) / 1000, seen }));
  } catch (error) {
    const problem = `${error}`;
    console.log(JSON.stringify({ step: name, seconds: (Date.now() - started) / 1000, problem }));
    await workbench.page.screenshot({ path: `${settings.failures}/${name.replace(/\W+/g, "-")}.png` });
    throw error;
  }
}

try {
  await scenario.run(workbench, step, settings);
} catch {
  failed = true;
} finally {
  await browser.close();
}
process.exit(failed ? 1 : 0);
