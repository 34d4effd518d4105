/** What a training begun at its lens asks for: each decision is taken where it is offered. */

import { openSync, readFileSync, readSync, writeFileSync, writeSync, closeSync } from "node:fs";

export async function decisions(workbench, step, settings) {
  const { edit, store, gated } = settings.decisions;
  const toasts = workbench.page.locator(".notifications-toasts .notification-list-item");

  /** Press a button of the message with `text`; what the message said. */
  const take = async (text, button) => {
    const offered = toasts.filter({ hasText: text }).first();
    await offered.waitFor({ timeout: settings.patience });
    const said = await offered.innerText();
    await offered.getByRole("button", { name: button }).click();
    await offered.waitFor({ state: "detached" });
    return said.replace(/\s+/g, " ");
  };
  const trainAtLens = async () => {
    // It stands above the first line, and lenses are drawn only where one looks.
    await workbench.press("Control+1", "Control+Home");
    const lens = /^Train/;
    await workbench.until("the lens", () => workbench.lenses(), (all) => all.some((text) => lens.test(text)));
    await workbench.clickLens(lens);
  };

  await step("decisions: of a training", async () => {
    const before = await workbench.versions();
    makeDiffer(`${store}/dlm.lock`);
    spoil(`${store}/${readFileSync(`${store}/adapter/current.txt`, "utf-8").trim()}/training_state.safetensors`);
    await workbench.press("Control+1");
    await workbench.gotoLine(edit.line, 1);
    await workbench.press("End", "Shift+Home");
    await workbench.type(edit.text);
    await workbench.press("Escape");
    // It saves the document first; what that save begins asks nothing and is refused.
    await trainAtLens();
    const lock = await take("torch was 9.0.0", "Accept the change");
    const fresh = await take("training_state", "Train anew");
    const rows = await workbench.until(
      "a version as decided",
      () => workbench.versions(),
      (seen) => seen.length > before.length,
      settings.patience,
    );
    return { lock, fresh, rows: rows.length - before.length };
  });

  await step("decisions: a licence", async () => {
    await workbench.openFile(gated);
    await trainAtLens();
    const asked = await take("must be accepted", /^Accept the licence/);
    // Accepted it is looked for, and nobody can have it here.
    const said = await workbench.until(
      "what is missing then",
      () => workbench.notifications(),
      (all) => all.some((text) => text.startsWith("dlm: llama-3.2-1b")),
      settings.patience,
    );
    await workbench.command("Notifications: Clear All Notifications");
    await workbench.press("Control+1");
    await workbench.command("View: Close Editor");
    return { asked, said: said.find((text) => text.startsWith("dlm: llama-3.2-1b")) };
  });
}

/** As if another torch had made the version that is there. */
function makeDiffer(lock) {
  const value = JSON.parse(readFileSync(lock, "utf-8"));
  value.pinned_versions.torch = "9.0.0";
  writeFileSync(lock, JSON.stringify(value));
}

/** A byte of what a training would go on from becomes another. */
function spoil(state) {
  const file = openSync(state, "r+");
  const byte = Buffer.alloc(1);
  readSync(file, byte, 0, 1, 9);
  byte[0] ^= 0xff;
  writeSync(file, byte, 0, 1, 9);
  closeSync(file);
}
