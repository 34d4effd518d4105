/** Puts the parts together when the first .dlm document is opened, and takes them down. */

import * as vscode from "vscode";

import { registerCommands } from "./commands";
import { Probes } from "./probes";
import { Results } from "./results";
import { Server } from "./server";
import { StatusItems } from "./status";
import { TrainingView } from "./training";

let server: Server | undefined;

export async function activate(context: vscode.ExtensionContext): Promise<void> {
  const log = vscode.window.createOutputChannel("dlm", { log: true });
  const running = new Server(log);
  server = running;
  const results = new Results(running.onResults);
  const status = new StatusItems(running.onStatus, running.onDiscovery, (uri) => running.uriOf(uri));
  const view = new TrainingView(running);
  const probes = new Probes(running, results);

  const restart = async (): Promise<void> => {
    await running.restart();
    probes.lookAtOpen();
  };
  context.subscriptions.push(
    log,
    running,
    results,
    status,
    view,
    probes,
    running.onGone(() => {
      status.clear();
      results.clear();
    }),
    registerCommands(running, results, view, restart),
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
  const start = "Get Started";
  const choose = "Choose Server…";
  const show = "Show Log";
  const missing = running.discovery?.found === false;
  const pressed = await vscode.window.showErrorMessage(
    missing
      ? `dlm: ${problem}. Install dlm in a Python of version 3.11 or newer, or name the server in the settings.`
      : `dlm: the language server does not start: ${problem}`,
    ...(missing ? [start, choose, show] : [choose, show]),
  );
  if (pressed === start) {
    await vscode.commands.executeCommand("dlm.openWalkthrough");
  } else if (pressed === choose) {
    await vscode.commands.executeCommand("workbench.action.openSettings", "dlm.server.path");
  } else if (pressed === show) {
    running.showLog();
  }
}
