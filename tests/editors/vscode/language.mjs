/** What people do with a document besides training it; recorded for tests/server/recordings. */

import { readdirSync } from "node:fs";

export async function run(workbench, step, settings) {
  const { lines } = settings;
  const gone = (code) =>
    workbench.until(`no ${code}`, () => workbench.problems(), (rows) => !rows.some((row) => row.includes(code)));
  const mend = async (line, column, title) => {
    await workbench.press("Control+1");
    const action = workbench.page.locator(".action-widget .monaco-list-row", { hasText: title });
    await workbench.until(
      title,
      async () => {
        // Asked too early, the editor offers what does not fit the place yet.
        await workbench.press("Escape");
        await workbench.gotoLine(line, column);
        await workbench.press("Control+.");
        await action.first().waitFor({ timeout: 5000 }).catch(() => undefined);
        return action.count();
      },
      (count) => count > 0,
    );
    // The first row has the focus, and it is the preferred one.
    await workbench.press("Enter");
  };

  const saveAndClose = async () => {
    await workbench.press("Control+1", "Control+S");
    await workbench.page.locator(".tab.active:not(.dirty)").waitFor();
    await workbench.command("View: Close Editor");
    await workbench.page.locator(".tab.active").waitFor({ state: "detached" });
  };

  await step("trust", () => workbench.trust());
  await step("open an old document", async () => {
    await workbench.openFile(settings.old);
    await workbench.press("Control+Shift+M");
    return workbench.until("problems", () => workbench.problems(), (rows) => rows.some((row) => row.includes("version-old")));
  });
  await step("migrate", async () => {
    await mend(lines.version, 3, "Migrate");
    await gone("version-old");
  });
  await step("save and close it", () => saveAndClose());
  await step("open", () => workbench.openFile(settings.file));
  await step("diagnostics", async () => {
    return workbench.until(
      "problems",
      () => workbench.problems(),
      (rows) => rows.some((row) => row.includes("trainig")) && rows.some((row) => row.includes("instrction")),
    );
  });
  await step("mend a key", async () => {
    await mend(lines.key, 3, "Rename to training");
    await gone("trainig");
  });
  await step("mend a fence", async () => {
    await mend(lines.fence, 5, "Replace with instruction");
    await gone("instrction");
  });
  await step("hover", async () => {
    await workbench.gotoLine(lines.base, 3);
    await workbench.command("Show or Focus Hover");
    const hover = workbench.page.locator(".monaco-hover:visible", { hasText: "SmolLM2" });
    await hover.first().waitFor();
    await workbench.press("Escape");
  });
  await step("complete", async () => {
    await workbench.gotoLine(lines.base, 1);
    await workbench.press("End", "Enter");
    await workbench.type("exp");
    await workbench.press("Control+Space");
    const keys = await workbench.suggestions();
    await workbench.press("Enter");
    await workbench.type("default_quant: Q8_0");
    await workbench.press("Escape");
    return keys;
  });
  await step("rename", async () => {
    await workbench.gotoLine(lines.prose, 10);
    await workbench.press("F2");
    await workbench.page.locator(".rename-box input").first().waitFor();
    await workbench.press("Control+A");
    await workbench.type("slow");
    await workbench.press("Enter");
    await workbench.page.locator(".rename-box.preview").waitFor({ state: "hidden" });
  });
  await step("write an answer", async () => {
    await workbench.press("Control+End");
    await workbench.type("### A");
    // What is offered meanwhile is not taken.
    await workbench.press("Escape", "Enter");
    await workbench.type("In Norby \u{1f600}.");
    await workbench.press("Escape");
  });
  await step("format", () => workbench.command("Format Document"));
  await step("save and close", () => saveAndClose());
  // The only way to let go of a server that leaves the editor there.
  await step("leave", async () => {
    await workbench.command("dlm: Restart the Language Server");
    await workbench.until("the next server", () => readdirSync(settings.said), (starts) => starts.length > 1);
  });
}
