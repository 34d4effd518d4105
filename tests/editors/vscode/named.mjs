/** A document with named adapters: each is shown, asked and gone back by name; an answer grows. */

export async function namedAdapters(workbench, step, settings) {
  const { named } = settings;
  const view = workbench.view();
  const page = workbench.page;

  /** The rows of versions below the heading of each adapter. */
  const versions = () =>
    view.locator("h2.adapter").evaluateAll((headings) =>
      Object.fromEntries(
        headings.map((heading) => {
          let below = heading.nextElementSibling;
          while (below !== null && below.tagName !== "H2" && below.textContent !== "Versions") {
            below = below.nextElementSibling;
          }
          const rows = below?.tagName === "H3" ? [...below.nextElementSibling.tBodies[0].rows] : [];
          return [heading.textContent, rows.map((row) => row.innerText)];
        }),
      ),
    );
  const shown = (what, wanted) => workbench.until(what, versions, wanted, settings.patience);
  const input = page.locator(".quick-input-widget input.input");
  const rows = page.locator(".quick-input-list .monaco-list-row");
  const choose = (label) => rows.filter({ hasText: label }).first().click();
  /** Choose a mix: the one that is offered, or another. */
  const mix = async (other) => {
    await choose("A mix");
    await workbench.until("the mix", () => input.inputValue(), (seen) => seen.includes("="));
    if (other) {
      await input.fill(other);
    }
    await workbench.press("Enter");
  };

  await step("named: train", async () => {
    await workbench.openFile(named.file);
    await workbench.command("dlm: Show Versions and Training");
    await view.locator("h2", { hasText: named.file }).waitFor();
    await view.getByRole("button", { name: "Train" }).click();
    return shown("a version of each", ({ harbour, kitchen }) => harbour?.length && kitchen?.length);
  });

  await step("named: an answer as it comes", async () => {
    await page.evaluate(watchAnswer);
    await workbench.press("Control+1");
    await workbench.command("dlm: Ask the Model");
    await page.locator(".quick-input-title", { hasText: named.file }).waitFor();
    await input.fill(named.question);
    await workbench.press("Enter");
    await mix();
    const states = () => page.evaluate(() => window.answerStates);
    return workbench.until("who answered", states, (seen) => /\*$/.test(seen.at(-1) ?? ""));
  });

  await step("named: export", async () => {
    await workbench.press("Control+1");
    await workbench.command("dlm: Export");
    await choose("Q8_0");
    await mix("nobody=1");
    const said = await workbench.until(
      "who cannot be exported",
      () => workbench.notifications(),
      (all) => all.some((text) => text.includes("nobody")),
      settings.patience,
    );
    return said.find((text) => text.includes("nobody"));
  });

  await step("named: roll back", async () => {
    await workbench.press("Control+1");
    await workbench.gotoLine(named.line);
    await workbench.press("End", "Shift+Home");
    await workbench.type("It is 9.");
    await workbench.press("Escape", "Control+S");
    await shown("another version of one", (seen) => seen.kitchen?.length === 2);
    await view.getByRole("button", { name: "Use" }).click();
    return shown("its first version again", ({ kitchen }) => /current/.test(kitchen[1]));
  });
}

/** In the page: keep every text that the answer beside the document is drawn with. */
function watchAnswer() {
  window.answerStates = [];
  const look = () => {
    const lines = document.querySelectorAll('[data-uri^="dlm-answer:"] .view-line');
    const said = [...lines]
      .sort((a, b) => parseFloat(a.style.top) - parseFloat(b.style.top))
      .map((line) => line.textContent.replaceAll("\u00a0", " "))
      .join("");
    if (said !== "" && said !== window.answerStates.at(-1)) {
      window.answerStates.push(said);
    }
  };
  new MutationObserver(look).observe(document.body, {
    subtree: true,
    childList: true,
    characterData: true,
  });
}
