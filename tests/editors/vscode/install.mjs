/** A machine without dlm: what is said, and the server that the extension brings. */

import { readFileSync, writeFileSync } from "node:fs";

export async function run(workbench, step, settings) {
  const page = workbench.page;
  const install = "dlm: Install the Server for This Editor";
  const notification = (text) =>
    page.locator(".notifications-toasts .notification-list-item", { hasText: text });

  await step("trust", () => workbench.trust());
  await step("open", () => workbench.openFile(settings.file));

  await step("missing", async () => {
    await notification("no dlm language server was found").waitFor();
    await workbench.picture("vscode-no-server");
    return workbench.notifications();
  });

  await step("decline", async () => {
    await notification("no dlm language server").getByRole("button", { name: "Install the Server" }).click();
    const dialog = page.locator(".monaco-dialog-box");
    await dialog.waitFor();
    const said = await dialog.innerText();
    await workbench.picture("vscode-install");
    await dialog.getByRole("button", { name: "Cancel" }).click();
    await dialog.waitFor({ state: "detached" });
    return said;
  });

  const agree = async () => {
    const dialog = page.locator(".monaco-dialog-box");
    await dialog.getByRole("button", { name: "Install", exact: true }).click();
    await dialog.waitFor({ state: "detached" });
  };

  await step("cancel", async () => {
    await workbench.command(install);
    await agree();
    const progress = notification("Installing dlm");
    await progress.getByRole("button", { name: "Cancel" }).click();
    await progress.waitFor({ state: "detached" });
  });

  await step("install", async () => {
    await workbench.command(install);
    await agree();
    await workbench.press("Control+Shift+M");
    return workbench.until(
      "problems, which a server has found",
      () => workbench.problems(),
      (rows) => rows.some((row) => row.includes("trainig")),
      settings.patience,
    );
  });

  await step("debug information", async () => {
    await workbench.command("dlm: Show Debug Information");
    const text = page.locator(".editor-instance .view-lines", { hasText: "discovery" });
    await text.waitFor();
    return (await text.innerText()).replaceAll("\u00a0", " ");
  });

  await step("new document", async () => {
    await workbench.command("dlm: New Document");
    await page.locator(".quick-input-list .monaco-list-row", { hasText: "smollm2-135m" }).click();
    const text = page.locator(".editor-instance .view-lines", { hasText: "base_model: smollm2-135m" });
    await text.waitFor();
  });

  await step("update", async () => {
    const before = readFileSync(settings.pointer, "utf-8");
    // As an older version of the extension would have left it.
    writeFileSync(settings.pointer, JSON.stringify({ ...JSON.parse(before), version: "0.0.1", digest: "" }));
    await workbench.command("dlm: Restart the Language Server");
    await notification("the server installed for this editor is 0.0.1").getByRole("button", { name: "Update" }).click();
    await agree();
    await workbench.until(
      "another environment",
      () => readFileSync(settings.pointer, "utf-8"),
      (said) => JSON.parse(said).version !== "0.0.1",
      settings.patience,
    );
    await notification("Installing dlm").waitFor({ state: "detached" });
    return JSON.parse(before).folder;
  });
}
