/**
 * The extension's commands. Each finds the document it is about, asks for what is missing, has the
 * server do the work and says how it ended. Trouble is shown in the server's own words.
 */

import * as path from "node:path";
import * as vscode from "vscode";

import { type Comparison, comparisons, oneLine } from "./answers";
import { asked } from "./arguments";
import { prompt } from "./asking";
import { exportDocument } from "./exporting";
import { usable } from "./page";
import type { BaseModel, SectionResult, Version } from "./protocol";
import type { Results } from "./results";
import { CommandFailed, type Server } from "./server";
import type { TrainingView } from "./training";
import { millions } from "./words";

const WALKTHROUGH = "dlm.dlm#dlm.start";

export function registerCommands(
  server: Server,
  results: Results,
  view: TrainingView,
  restart: () => Promise<void>,
  installServer: () => Promise<void>,
): vscode.Disposable {
  const commands: Record<string, (first?: unknown, second?: unknown) => unknown> = {
    "dlm.newDocument": () => newDocument(server),
    "dlm.train": async (first) => {
      const document = await saved(first);
      await server.run("dlm.train", { uri: server.uriOf(document.uri) });
    },
    "dlm.trainAnew": async (first) => {
      const document = await saved(first);
      await server.run("dlm.train", { uri: server.uriOf(document.uri), fresh: true });
    },
    "dlm.cancel": () => server.run("dlm.cancel", {}),
    "dlm.prompt": async (first) => prompt(server, results, await documentOf(first)),
    "dlm.askSection": (first) => askSection(server, first),
    "dlm.askSelection": async () => {
      const editor = vscode.window.activeTextEditor;
      if (editor !== undefined) {
        const { start, end } = editor.selection;
        const range = { start: place(start), end: place(end) };
        await server.run("dlm.askSelection", { uri: server.uriOf(editor.document.uri), range });
      }
    },
    "dlm.probe": async (first) => {
      const reply = await server.run<{ answers: unknown[] }>("dlm.probe", await about(server, first));
      if (reply.answers.length === 0) {
        void vscode.window.showInformationMessage(
          "The document has no questions marked !probe. Write ### Q !probe above a question to keep an eye on.",
        );
      }
    },
    "dlm.export": async (first) => exportDocument(server, await saved(first)),
    "dlm.versions": () => view.reveal(),
    "dlm.rollback": (first, second) => rollback(server, view, first, second),
    "dlm.openStore": async (first) => openStore(server, await about(server, first)),
    "dlm.migrate": async (first) => {
      const reply = await server.run<{ changed: boolean }>("dlm.migrate", await about(server, first));
      if (!reply.changed) {
        void vscode.window.showInformationMessage("The document is in the current format.");
      }
    },
    "dlm.newId": async (first) => {
      const reply = "Give It a New Id";
      const sure = await vscode.window.showWarningMessage(
        "With a new id the document begins anew: what was trained from it stays with the old id.",
        { modal: true },
        reply,
      );
      if (sure === reply) {
        await server.run("dlm.newId", await about(server, first));
      }
    },
    "dlm.setBaseModel": async (first) => setBaseModel(server, await about(server, first)),
    "dlm.addSource": async (first) => addSource(server, await documentOf(first)),
    "dlm.compareAnswer": (first) => compare(results, first as Compared | undefined),
    "dlm.installServer": installServer,
    "dlm.restartServer": restart,
    "dlm.restartEngine": () => server.run("dlm.restartEngine", {}),
    "dlm.showLog": () => server.showLog(),
    "dlm.debugInformation": () => debugInformation(server),
    "dlm.openWalkthrough": () =>
      vscode.commands.executeCommand("workbench.action.openWalkthrough", WALKTHROUGH, false),
  };
  return vscode.Disposable.from(
    ...Object.entries(commands).map(([name, act]) =>
      vscode.commands.registerCommand(name, async (first?: unknown, second?: unknown) => {
        try {
          await act(first, second);
        } catch (error) {
          await complain(error);
        }
      }),
    ),
  );
}

/** Say what went wrong; what the user cancelled did not. */
async function complain(error: unknown): Promise<void> {
  if (error instanceof CommandFailed && error.trouble.ending === "cancelled") {
    return;
  }
  const log = "Show Log";
  const message = error instanceof Error ? error.message : String(error);
  if ((await vscode.window.showErrorMessage(`dlm: ${message}`, log)) === log) {
    await vscode.commands.executeCommand("dlm.showLog");
  }
}

/** The document a command is about: the one it names, else the one in front. */
async function documentOf(first: unknown): Promise<vscode.TextDocument> {
  const { uri } = asked(first);
  if (uri !== undefined) {
    return vscode.workspace.openTextDocument(vscode.Uri.parse(uri.toString()));
  }
  const candidates = [vscode.window.activeTextEditor, ...vscode.window.visibleTextEditors];
  const editor = candidates.find((one) => one?.document.languageId === "dlm");
  if (editor === undefined) {
    throw new Error("open a .dlm document first");
  }
  return editor.document;
}

async function about(server: Server, first: unknown): Promise<{ uri: string }> {
  return { uri: server.uriOf((await documentOf(first)).uri) };
}

/** The document, saved: the engine reads the file. */
async function saved(first: unknown): Promise<vscode.TextDocument> {
  const document = await documentOf(first);
  if ((document.isDirty || document.isUntitled) && !(await document.save())) {
    throw new Error("the document is not saved: save it as a .dlm file first");
  }
  return document;
}

const place = ({ line, character }: vscode.Position): { line: number; character: number } => ({
  line,
  character,
});

async function askSection(server: Server, first: unknown): Promise<void> {
  const given = asked(first);
  if (given.sectionId !== undefined) {
    const pair = given.pair === undefined ? {} : { pair: given.pair };
    await server.run("dlm.askSection", {
      ...(await about(server, first)),
      sectionId: given.sectionId,
      ...pair,
    });
    return;
  }
  const document = await documentOf(first);
  const candidates = [vscode.window.activeTextEditor, ...vscode.window.visibleTextEditors];
  const editor = candidates.find((one) => one?.document === document);
  if (editor === undefined) {
    throw new Error("open a .dlm document first");
  }
  const position = place(editor.selection.active);
  await server.run("dlm.askSection", { uri: server.uriOf(document.uri), position });
}

async function rollback(
  server: Server,
  view: TrainingView,
  first: unknown,
  second: unknown,
): Promise<void> {
  const argument = await about(server, first);
  let chosen = second as { version: number; adapter?: string | undefined } | undefined;
  if (chosen === undefined) {
    const found = await server.run<Version[]>("dlm.versions", argument);
    const offered = found.filter((one) => !one.current && usable(one)).reverse();
    if (offered.length === 0) {
      void vscode.window.showInformationMessage("There is no other version to go back to.");
      return;
    }
    chosen = await vscode.window.showQuickPick(
      offered.map((one) => ({
        label: `Version ${one.version}${one.adapter ? ` of ${one.adapter}` : ""}`,
        description: one.when ? new Date(one.when).toLocaleString() : "",
        detail: one.loss === null ? "" : `loss ${one.loss.toPrecision(3)}, ${one.steps ?? "?"} steps`,
        version: one.version,
        adapter: one.adapter,
      })),
      { title: "Which version shall answer from now on?" },
    );
  }
  if (chosen !== undefined) {
    const { version, adapter } = chosen;
    await server.run("dlm.rollback", { ...argument, version, adapter });
    await view.load();
  }
}

async function openStore(server: Server, argument: { uri: string }): Promise<void> {
  const store = await server.run<{ path: string; uri: string; exists: boolean }>(
    "dlm.openStore",
    argument,
  );
  if (!store.exists) {
    void vscode.window.showInformationMessage("The document has no store yet; training makes it.");
    return;
  }
  const uri = vscode.Uri.file(store.path);
  // Where the extension runs is not where the window is: only a window there can show it.
  if (vscode.env.remoteName === undefined && vscode.env.uiKind === vscode.UIKind.Desktop) {
    await vscode.commands.executeCommand("revealFileInOS", uri);
  } else {
    await vscode.commands.executeCommand("vscode.openFolder", uri, { forceNewWindow: true });
  }
}

/** The base that a person picks; undefined when none. */
async function pickBase(server: Server): Promise<string | undefined> {
  const bases = await server.run<BaseModel[]>("dlm/listBaseModels", {});
  const picked = await vscode.window.showQuickPick(
    // The smallest first: they are what any machine trains.
    [...bases].sort((a, b) => a.params - b.params).map((base) => ({
      label: base.key,
      description: `${millions(base.params)} parameters, ${base.size_gb_fp16.toFixed(1)} GB`,
      detail: `${base.hf_id} · ${base.license_spdx}${base.requires_acceptance ? " · licence to accept" : ""}`,
    })),
    { title: "The base to train on", matchOnDescription: true, matchOnDetail: true },
  );
  return picked?.label;
}

async function newDocument(server: Server): Promise<void> {
  const base = await pickBase(server);
  if (base !== undefined) {
    const { text } = await server.run<{ text: string }>("dlm.newDocument", { base });
    const document = await vscode.workspace.openTextDocument({ language: "dlm", content: text });
    await vscode.window.showTextDocument(document);
  }
}

async function setBaseModel(server: Server, argument: { uri: string }): Promise<void> {
  const key = await pickBase(server);
  if (key !== undefined) {
    await server.run("dlm.setBaseModel", { ...argument, key });
  }
}

async function addSource(server: Server, document: vscode.TextDocument): Promise<void> {
  const folder = vscode.Uri.joinPath(document.uri, "..");
  const picked = await vscode.window.showOpenDialog({
    defaultUri: folder,
    canSelectFiles: true,
    canSelectFolders: true,
    openLabel: "Add as Source",
  });
  const chosen = picked?.[0];
  if (chosen !== undefined) {
    const relative = path.relative(folder.fsPath, chosen.fsPath).split(path.sep).join("/");
    await server.run("dlm.addSourceDirective", {
      uri: server.uriOf(document.uri),
      path: relative === "" ? "." : relative,
    });
  }
}

/** Which of a document's results, and with which side of it the answer is compared. */
interface Compared {
  readonly uri: string;
  readonly at: number;
  readonly side: Comparison["side"];
}

async function compare(results: Results, given: Compared | undefined): Promise<void> {
  const result = given === undefined ? atCursor(results) : results.of(vscode.Uri.parse(given.uri))[given.at];
  if (result === undefined) {
    throw new Error("there is no answer here any more: ask again");
  }
  const offered = comparisons(result);
  const picked =
    given !== undefined
      ? offered.find((one) => one.side === given.side)
      : offered.length > 1
        ? await vscode.window.showQuickPick(
            offered.map((one) => ({ ...one, label: one.title })),
            { title: result.question },
          )
        : offered[0];
  if (picked === undefined) {
    if (offered.length === 0) {
      void vscode.window.showInformationMessage("There is nothing else that the answer could be compared with.");
    }
    return;
  }
  const name = { base: "Base", reference: "Document" }[picked.side];
  await vscode.commands.executeCommand(
    "vscode.diff",
    results.snapshot(name, result[picked.side] ?? ""),
    results.snapshot("Adapted", result.adapted ?? ""),
    `${name} ↔ Adapted: ${oneLine(result.question, 60)}`,
    { preview: true },
  );
}

/** The answer at the cursor, or the nearest above it. */
function atCursor(results: Results): SectionResult {
  const editor = vscode.window.activeTextEditor;
  const cursor = editor?.selection.active.line ?? 0;
  const above = (editor === undefined ? [] : results.of(editor.document.uri))
    .filter((result) => result.range.start.line <= cursor + 1)
    .sort((a, b) => a.range.start.line - b.range.start.line)
    .pop();
  if (above === undefined) {
    throw new Error("no question at or above the cursor has been answered");
  }
  return above;
}

async function debugInformation(server: Server): Promise<void> {
  const said = await server.run<object>("dlm.debugInformation", {}).catch((error: unknown) => ({
    problem: error instanceof Error ? error.message : String(error),
  }));
  const extension = vscode.extensions.getExtension("dlm.dlm");
  const all = {
    extension: extension?.packageJSON.version as string | undefined,
    editor: `${vscode.env.appName} ${vscode.version}`,
    remote: vscode.env.remoteName ?? null,
    trusted: vscode.workspace.isTrusted,
    discovery: server.discovery ?? null,
    server: said,
  };
  const document = await vscode.workspace.openTextDocument({
    language: "json",
    content: `${JSON.stringify(all, null, 2)}\n`,
  });
  await vscode.window.showTextDocument(document);
}

