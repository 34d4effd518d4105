/** The page of a VS Code in a browser: what a person does there and sees, by name. */

import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";

/** How long anything may take that waits for no training: a cold start on a busy machine. */
const PATIENCE = 60_000;

export async function openWorkbench(settings) {
  const { chromium } = createRequire(settings.modules)("playwright-core");
  const browser = await chromium.launch({
    executablePath: settings.chromium,
    headless: true,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-dev-shm-usage",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      "--no-first-run",
    ],
  });
  const context = await browser.newContext({
    viewport: { width: 1440, height: 800 },
    deviceScaleFactor: settings.scale,
  });
  // Nothing but the server under test is ever asked for.
  await context.route(
    (url) => !["127.0.0.1", "localhost"].includes(url.hostname) && url.protocol.startsWith("http"),
    (route) => route.abort(),
  );
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  await page.goto(`${settings.url}/?folder=${encodeURIComponent(settings.folder)}`);
  const workbench = new Workbench(page, settings.pictures);
  await page.locator(".monaco-workbench .part.editor").waitFor();
  return { browser, workbench };
}

export class Workbench {
  constructor(page, pictures) {
    this.page = page;
    this.pictures = pictures;
  }

  async trust() {
    await this.page.getByRole("button", { name: /Yes, I trust the authors/ }).click();
    await this.page.locator(".monaco-dialog-box").waitFor({ state: "detached" });
  }

  async distrust() {
    await this.page.getByRole("button", { name: /No, I don.t trust the authors/ }).click();
    await this.page.locator(".monaco-dialog-box").waitFor({ state: "detached" });
  }

  async openFile(name) {
    await this.page.keyboard.press("Control+P");
    const input = this.page.locator(".quick-input-widget input.input");
    await input.fill(name);
    await this.page.locator(".quick-input-list .monaco-list-row", { hasText: name }).first().click();
    await this.page.locator(`.tab.active[data-resource-name="${name}"]`).waitFor();
    await this.page.locator(".editor-instance .view-lines").first().waitFor();
  }

  async command(title) {
    await this.page.keyboard.press("F1");
    const input = this.page.locator(".quick-input-widget input.input");
    await input.fill(`>${title}`);
    await this.page
      .locator(".quick-input-list .monaco-list-row", { hasText: title })
      .first()
      .click();
  }

  async gotoLine(line, column = 1) {
    await this.page.keyboard.press("Control+G");
    const input = this.page.locator(".quick-input-widget input.input");
    await input.waitFor();
    await input.fill(`:${line}:${column}`);
    await this.page.keyboard.press("Enter");
    await this.page.locator(".quick-input-widget").waitFor({ state: "hidden" });
  }

  async type(text) {
    await this.page.keyboard.type(text, { delay: 15 });
  }

  async press(...keys) {
    for (const key of keys) {
      await this.page.keyboard.press(key);
    }
  }

  /** The page inside the training view. */
  view() {
    return this.page
      .frameLocator("iframe.webview.ready")
      .frameLocator('iframe[title="Training"], iframe#active-frame');
  }

  /** Rows of the Problems panel, each on one line. */
  async problems() {
    const rows = await this.page.locator(".markers-panel .monaco-list-row").allInnerTexts();
    return rows.map((row) => row.replace(/\s+/g, " ").trim());
  }

  async suggestions() {
    const rows = this.page.locator(".suggest-widget.visible .monaco-list-row .label-name");
    await rows.first().waitFor();
    return rows.allInnerTexts();
  }

  /** The code lenses of the editor in front. */
  async lenses() {
    return this.page.locator(".codelens-decoration a").allInnerTexts();
  }

  async clickLens(title, at = 0) {
    await this.page.locator(".codelens-decoration a", { hasText: title }).nth(at).click();
  }

  /** What the extension draws at the ends of lines: text that stands in no document. */
  async drawn() {
    return this.page.evaluate(() =>
      [...document.querySelectorAll(".view-line span")]
        .map((part) => getComputedStyle(part, "::after").content)
        .filter((said) => said && said !== "none" && said !== "normal")
        // Runs of blanks are drawn as blanks that do not break.
        .map((said) => said.replace(/^"|"$/g, "").replaceAll('\\"', '"').replace(/\s+/g, " ")),
    );
  }

  /** Both sides of the comparison in front, as text; it is closed again. */
  async comparison(picture = undefined) {
    const sides = this.page.locator(".monaco-diff-editor .editor.original, .monaco-diff-editor .editor.modified");
    const text = () => sides.locator(".view-lines").allInnerTexts();
    const seen = await this.until("both sides", text, (found) => found.filter((side) => side.trim()).length === 2);
    const title = await this.page.locator(".tab.active .label-name").innerText();
    if (picture) {
      await this.picture(picture);
    }
    await this.command("View: Close Editor");
    await this.page.locator(".monaco-diff-editor").waitFor({ state: "hidden" });
    return [title, ...seen].map((said) => said.replaceAll("\u00a0", " ").trim());
  }

  /** The rows of the training view's first table, the versions, a tab between their cells. */
  async versions() {
    const rows = this.view().locator("table").first().locator("tbody tr");
    // Cell by cell: of a row that is not laid out yet the browser says all in one word.
    return rows.evaluateAll((all) => all.map((row) => Array.from(row.cells, (cell) => cell.innerText.trim()).join("\t")));
  }

  async statusItem() {
    const item = this.page.locator('.statusbar-item[id*="dlm.running"]');
    return (await item.count()) > 0 ? (await item.first().innerText()).trim() : "";
  }

  async notifications() {
    const said = await this.page.locator(".notification-list-item-message").allInnerTexts();
    return said.map((text) => text.replace(/\s+/g, " ").trim());
  }

  /** Wait until `look` sees something that `wanted` likes; the last thing seen, when it does not. */
  async until(what, look, wanted, patience = PATIENCE) {
    const end = Date.now() + patience;
    let seen;
    do {
      seen = await look();
      if (wanted(seen)) {
        return seen;
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    } while (Date.now() < end);
    throw new Error(`${what}: not seen in ${patience / 1000} s; last: ${JSON.stringify(seen)}`);
  }

  /** Settings of the folder, none when undefined. */
  async folderSettings(folder, values) {
    if (values === undefined) {
      rmSync(`${folder}/.vscode`, { recursive: true });
    } else {
      mkdirSync(`${folder}/.vscode`, { recursive: true });
      writeFileSync(`${folder}/.vscode/settings.json`, JSON.stringify(values));
    }
  }

  async picture(name, clip = undefined) {
    if (this.pictures) {
      await this.page.screenshot({ path: `${this.pictures}/${name}.png`, ...(clip ? { clip } : {}) });
    }
  }
}
