/** A folder that is not trusted: everything about its text, nothing that runs. */

export async function run(workbench, step, settings) {
  await step("no trust", () => workbench.distrust());
  await step("open", () => workbench.openFile(settings.file));

  await step("diagnostics", async () => {
    await workbench.press("Control+Shift+M");
    return workbench.until(
      "problems",
      () => workbench.problems(),
      (rows) => rows.some((row) => row.includes("trainig")),
    );
  });

  await step("lenses", () => workbench.lenses());
}
