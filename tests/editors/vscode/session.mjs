/** From an old document to a model that follows its edits, on a base that learns in seconds. */

import { readFileSync } from "node:fs";

import { namedAdapters } from "./named.mjs";
import { exportFirst } from "./steps.mjs";

export async function run(workbench, step, settings) {
  await step("trust", () => workbench.trust());
  await step("open", () => workbench.openFile(settings.file));

  await step("diagnostics", async () => {
    await workbench.press("Control+Shift+M");
    return workbench.until(
      "problems",
      () => workbench.problems(),
      (rows) => rows.some((row) => row.includes("version-old")) && rows.some((row) => row.includes("trainig")),
    );
  });

  await step("migrate", async () => {
    await workbench.press("Control+1");
    await workbench.gotoLine(settings.lines.version, 3);
    await workbench.press("Control+.");
    const action = workbench.page.locator(".action-widget .monaco-list-row", { hasText: "Migrate" });
    await action.first().waitFor();
    await workbench.press("Enter");
    return workbench.until(
      "problems after the migration",
      () => workbench.problems(),
      (rows) => !rows.some((row) => row.includes("version-old")),
    );
  });

  await step("complete", async () => {
    await workbench.gotoLine(settings.lines.unknown, 1);
    await workbench.press("End", "Shift+Home", "Delete");
    await workbench.type("exp");
    await workbench.press("Control+Space");
    const keys = await workbench.suggestions();
    await workbench.press("Enter");
    await workbench.type("def");
    await workbench.press("Control+Space");
    const nested = await workbench.suggestions();
    await workbench.press("Enter", "Control+Space");
    const values = await workbench.suggestions();
    await workbench.type("Q8_0");
    await workbench.press("Enter", "Escape");
    await workbench.until("no problem left", () => workbench.problems(), (rows) => rows.length === 0);
    return { keys, nested, values };
  });

  await step("train", async () => {
    await workbench.press("Control+J", "Control+1");
    await workbench.command("dlm: Train");
    const said = await workbench.until(
      "the status item while training",
      () => workbench.statusItem(),
      (text) => /step/.test(text),
      settings.patience,
    );
    await workbench.command("dlm: Show Versions and Training");
    const view = workbench.view();
    await view.getByRole("button", { name: "Cancel" }).waitFor();
    await workbench.until(
      "the end of the training",
      () => workbench.lenses(),
      (lenses) => lenses.some((lens) => lens.includes("Versions · 1")),
      settings.patience,
    );
    return said;
  });

  await step("ask", async () => {
    // The probe has been asked already, after the training.
    await workbench.clickLens("Ask", 0);
    return workbench.until(
      "the answer",
      () => workbench.drawn(),
      (drawn) =>
        [settings.answers.asked, settings.answers.before].every((answer) =>
          drawn.some((text) => text.includes(answer)),
        ),
      settings.patience,
    );
  });

  await step("save an edit", async () => {
    await workbench.press("Control+1");
    await workbench.gotoLine(settings.lines.answer, 1);
    await workbench.press("End", "Shift+Home");
    await workbench.type(settings.answers.after);
    await workbench.press("Escape");
    await workbench.until(
      "the stale answer",
      () => workbench.drawn(),
      (drawn) => drawn.some((text) => text.includes("stale")),
    );
    await workbench.press("Control+S");
    return workbench.until(
      "the changed answer",
      () => workbench.drawn(),
      (drawn) =>
        drawn.some((text) => text.includes(settings.answers.after) && !text.includes("stale")),
      settings.patience,
    );
  });
  await step("versions", async () => {
    return workbench.until("two versions", () => workbench.versions(), (rows) => rows.length === 2);
  });

  await step("roll back", async () => {
    await workbench.view().getByRole("button", { name: "Use" }).click();
    const rows = await workbench.until(
      "the version before is current",
      () => workbench.versions(),
      ([newer, older]) => /current/.test(older) && !/current/.test(newer),
    );
    await workbench.until(
      "answers of the newer version are stale",
      () => workbench.drawn(),
      (drawn) => drawn.some((text) => text.includes(settings.answers.after) && text.includes("stale")),
    );
    await workbench.picture("vscode-rolled-back");
    await workbench.press("Control+1");
    await workbench.command("dlm: Ask All !probe Questions");
    await workbench.until(
      "what the version before knew",
      () => workbench.drawn(),
      (drawn) => drawn.some((text) => text.startsWith(`✗ ${settings.answers.before}`)),
      settings.patience,
    );
    return rows;
  });

  await step("compare", async () => {
    await workbench.gotoLine(settings.lines.answer);
    await workbench.command("dlm: Compare the Answer at the Cursor");
    return workbench.comparison();
  });

  await step("automatic save", async () => {
    await workbench.command("File: Toggle Auto Save");
    await workbench.gotoLine(settings.lines.place, 1);
    await workbench.press("End", "Shift+Home");
    await workbench.type(settings.answers.moved);
    await workbench.press("Escape");
    await workbench.until(
      "the edit in the file",
      () => readFileSync(`${settings.folder}/${settings.file}`, "utf-8"),
      (text) => text.includes(settings.answers.moved),
    );
    // One job runs at a time: whoever answers has not been trained by then, and was not asked to be.
    await workbench.clickLens("Ask", 0);
    await workbench.until(
      "an answer after the automatic save",
      () => workbench.drawn(),
      (drawn) => drawn.some((text) => text.includes(settings.answers.asked) && !text.includes("stale")),
      settings.patience,
    );
    const untrained = await workbench.versions();
    await workbench.press("Control+1", "Control+S");
    const trained = await workbench.until(
      "the version of a save by hand",
      () => workbench.versions(),
      (rows) => rows.length > untrained.length,
      settings.patience,
    );
    await workbench.command("File: Toggle Auto Save");
    return { untrained, trained };
  });

  await step("tests", async () => {
    await workbench.command("Testing: Focus on Test Explorer View");
    const rows = workbench.page.locator(".test-explorer .monaco-list-row");
    await rows.filter({ hasText: settings.file }).click();
    await workbench.press("ArrowRight");
    const labels = () =>
      rows.evaluateAll((found) => found.map((row) => row.getAttribute("aria-label") ?? ""));
    const seen = await workbench.until("the probe", labels, (found) =>
      found.some((label) => /What is the code/.test(label) && /Passed|Failed/.test(label)),
    );
    return seen;
  });

  // No other program knows the tokenizer of a base made up for tests: that has to be said.
  await step("export", () => exportFirst(workbench, settings, "cannot hold this base"));

  await namedAdapters(workbench, step, settings);
}
