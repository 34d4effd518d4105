/** Puts the parts together when the first .dlm document is opened, and takes them down. */

import * as vscode from "vscode";

import { registerCommands } from "./commands";
import type { Discovery } from "./discovery";
import { INSTALL, Installer } from "./installing";
import { Probes } from "./probes";
import { Results } from "./results";
import { Server } from "./server";
import { StatusItems } from "./status";
import { TrainingView } from "./training";

let server: Server | undefined;

export async function activate(context: vscode.ExtensionContext): Promise<void> {
  const log = vscode.window.createOutputChannel("dlm", { log: true });
  const installer = new Installer(context, log);
  const running = new Server(log, () => installer.python());
  server = running;
  const results = new Results(running.onResults);
  const status = new StatusItems(running.onStatus, running.onDiscovery, (uri) => running.uriOf(uri));
  const view = new TrainingView(running);
  const probes = new Probes(running, results);

  const restart = async (): Promise<void> => {
    await running.restart();
    probes.lookAtOpen();
  };
  const installServer = async (): Promise<void> => {
    if (await installer.install(caution(running.discovery, installer.python()?.path))) {
      await restart();
    }
  };
  context.subscriptions.push(
    log,
    running,
    installer,
    results,
    status,
    view,
    probes,
    running.onGone(() => {
      status.clear();
      results.clear();
    }),
    running.onDiscovery((found) => void lookAtOwn(installer, found)),
    registerCommands(running, results, view, restart, installServer),
    vscode.workspace.onDidGrantWorkspaceTrust(() => void running.settingsChanged()),
    vscode.workspace.onDidChangeConfiguration((change) => {
      if (["dlm.server.path", "dlm.engine.python"].some((name) => change.affectsConfiguration(name))) {
        void restart().catch((error: unknown) => explain(running, log, error));
      }
    }),
  );
  try {
    await running.start();
    probes.lookAtOpen();
  } catch (error) {
    // Not awaited: an extension is active while its message waits for an answer.
    void explain(running, log, error);
  }
}

export async function deactivate(): Promise<void> {
  await server?.stop();
}

/** One message, with what to do about it. */
async function explain(
  running: Server,
  log: vscode.LogOutputChannel,
  error: unknown,
): Promise<void> {
  const problem = error instanceof Error ? error.message : String(error);
  log.error(problem);
  const choose = "Choose Server…";
  const show = "Show Log";
  const found = running.discovery;
  const missing = found?.found === false;
  const pressed =
    missing && !found.named
      ? await vscode.window.showErrorMessage(
          `dlm: ${problem}. Install the one that comes with the extension, or choose your own.`,
          INSTALL,
          choose,
          show,
        )
      : await vscode.window.showErrorMessage(
          missing ? `dlm: ${problem}.` : `dlm: the language server does not start: ${problem}`,
          choose,
          show,
        );
  if (pressed === INSTALL) {
    await vscode.commands.executeCommand("dlm.installServer");
  } else if (pressed === choose) {
    await vscode.commands.executeCommand("workbench.action.openSettings", "dlm.server.path");
  } else if (pressed === show) {
    running.showLog();
  }
}

/** Why a server that is installed now may not be the one that is used. */
function caution(found: Discovery | undefined, own: string | undefined): string | undefined {
  if (found?.found === false) {
    return found.named
      ? "The setting dlm.server.path names another server, and no other is used while it does."
      : undefined;
  }
  return found === undefined || found.invocation.command === own
    ? undefined
    : `${found.invocation.command} (from ${found.invocation.origin}) is looked at first and goes on serving.`;
}

/** Where the server installed here was chosen, offer the newer one; the old goes on until it is whole. */
async function lookAtOwn(installer: Installer, found: Discovery): Promise<void> {
  const newer = found.found ? await installer.chosen(found.invocation.command) : undefined;
  if (newer === undefined) {
    return;
  }
  const { from, to } = newer;
  const update = "Update";
  const words = from === to ? `another build of dlm ${to}` : `dlm ${to}`;
  const pressed = await vscode.window.showInformationMessage(
    `This version of the extension comes with ${words}; the server installed for this editor is ${from}.`,
    update,
    "Not Now",
  );
  if (pressed === update) {
    await vscode.commands.executeCommand("dlm.installServer");
  }
}
