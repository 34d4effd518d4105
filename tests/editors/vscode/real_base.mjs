/** A real base learns a ferry company that does not exist, beside what it said before. */

import { exportFirst } from "./steps.mjs";

export async function run(workbench, step, settings) {
  await step("trust", () => workbench.trust());
  await step("open", () => workbench.openFile(settings.file));
  await step("view", async () => {
    await workbench.command("dlm: Show Versions and Training");
    await workbench.view().getByRole("button", { name: "Train" }).waitFor();
  });

  await step("train", async () => {
    // Lenses are only asked for in an editor that has the focus.
    await workbench.press("Control+1");
    await workbench.clickLens(/^Train$/);
    await workbench.until(
      "a few steps",
      () => workbench.statusItem(),
      (text) => /step (?!1\/)/.test(text),
      settings.patience,
    );
    await workbench.picture("vscode-train");
    return workbench.until(
      "the answer of the probe",
      () => workbench.drawn(),
      (drawn) => drawn.some((text) => /^[✓✗]/.test(text)),
      settings.patience,
    );
  });

  await step("ask", async () => {
    // Where the cursor is has nothing to do with what is shown above it.
    await workbench.folderSettings(settings.folder, { "dlm.codeLens.enabled": false });
    await workbench.until("no lenses", () => workbench.lenses(), (lenses) => lenses.length === 0);
    for (const [at, { line, answer }] of settings.asked.entries()) {
      await workbench.gotoLine(line);
      await workbench.command("dlm: Ask the Question at the Cursor");
      await workbench.until(
        "an answer and the base's",
        () => workbench.drawn(),
        (drawn) =>
          drawn.filter((text) => text.includes(" base: ")).length > at &&
          drawn.some((text) => text.startsWith(`→ ${answer}`)) &&
          !drawn.some((text) => text.startsWith("…")),
        settings.patience,
      );
    }
    await workbench.folderSettings(settings.folder, undefined);
    return workbench.drawn();
  });
  await workbench.until("the engine at rest", () => workbench.statusItem(), (text) => text === "");
  await workbench.view().getByRole("button", { name: "Train again" }).waitFor();
  await workbench.until(
    "lenses of an engine at rest",
    () => workbench.lenses(),
    (lenses) => lenses.length > 0 && !lenses.some((lens) => /Cancel|Asking/.test(lens)),
  );
  await workbench.picture("vscode-answers");
  await workbench.picture("walkthrough-answers", { x: 348, y: 90, width: 1076, height: 500 });
  await workbench.picture("walkthrough-training", { x: 48, y: 36, width: 300, height: 420 });

  await step("hover", async () => {
    const question = workbench.page.locator(".view-line", { hasText: settings.question }).first();
    await question.hover({ position: { x: 60, y: 9 } });
    const hover = workbench.page.locator(".monaco-hover:visible", { hasText: "Adapted" }).first();
    await hover.waitFor();
    const opacity = () => hover.evaluate((found) => getComputedStyle(found).opacity);
    await workbench.until("the hover in full", opacity, (seen) => seen === "1");
    await workbench.picture("vscode-hover");
    await hover.getByRole("link", { name: "Compare with the base" }).click();
    return workbench.comparison("vscode-compare");
  });

  await step("complete", async () => {
    await workbench.gotoLine(settings.lines.base, 1);
    await workbench.press("End");
    await workbench.type("\nexport:\n  default_quant: ");
    await workbench.press("Control+Space");
    await workbench.suggestions();
    await workbench.picture("vscode-complete");
    await workbench.press("Escape");
    await workbench.command("File: Revert File");
  });

  await step("fix", async () => {
    await workbench.gotoLine(settings.lines.base, 1);
    await workbench.press("End");
    await workbench.type("\ntrainig:\n  seed: 7");
    await workbench.press("Escape", "Control+Shift+M");
    await workbench.until("a problem", () => workbench.problems(), (rows) => rows.length > 0);
    await workbench.press("Control+1");
    await workbench.gotoLine(settings.lines.base + 1, 3);
    await workbench.press("Control+.");
    const fix = workbench.page.locator(".action-widget .monaco-list-row", { hasText: "training" });
    await fix.first().waitFor();
    await workbench.picture("vscode-fix");
    await workbench.press("Enter");
    await workbench.until("no problem left", () => workbench.problems(), (rows) => rows.length === 0);
    await workbench.press("Control+J", "Control+1");
    await workbench.command("File: Revert File");
  });

  await step("export", () => exportFirst(workbench, settings, "Exported"));

  await step("tests", async () => {
    await workbench.command("Notifications: Clear All Notifications");
    await workbench.command("Testing: Focus on Test Explorer View");
    const rows = workbench.page.locator(".test-explorer .monaco-list-row");
    await rows.filter({ hasText: settings.file }).click();
    await workbench.press("ArrowRight");
    await rows.filter({ hasText: "mascot" }).waitFor();
    await workbench.picture("vscode-tests");
    await workbench.picture("walkthrough-tests", { x: 48, y: 36, width: 299, height: 145 });
  });
}
