/** What more than one scenario does. */

/** Export as the picker's first row says; the notification with `expected` in it. */
export async function exportFirst(workbench, settings, expected) {
  await workbench.press("Control+1");
  await workbench.command("dlm: Export");
  const rows = workbench.page.locator(".quick-input-list .monaco-list-row");
  await rows.filter({ hasText: "the document's choice" }).first().waitFor();
  await workbench.picture("vscode-export");
  await workbench.press("Enter");
  const said = await workbench.until(
    "how the export ended",
    () => workbench.notifications(),
    (all) => all.some((text) => text.includes(expected)),
    settings.patience,
  );
  return said.find((text) => text.includes(expected));
}
