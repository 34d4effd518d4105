/**
 * What the engine is doing, where the user looks for it: a status item with a way to cancel while
 * something runs, a language status for how things stand, and the key `dlm.busy` for menus.
 */

import * as vscode from "vscode";

import type { Discovery } from "./discovery";
import type { Status } from "./protocol";
import { jobDetail, jobText, standing } from "./words";

const SELECTOR: vscode.DocumentSelector = { language: "dlm" };
const SEVERITIES = {
  none: vscode.LanguageStatusSeverity.Information,
  warning: vscode.LanguageStatusSeverity.Warning,
  error: vscode.LanguageStatusSeverity.Error,
} as const;

export class StatusItems implements vscode.Disposable {
  private status: Status | undefined;
  private readonly running = vscode.window.createStatusBarItem(
    "dlm.running",
    vscode.StatusBarAlignment.Left,
    10,
  );
  private readonly state = vscode.languages.createLanguageStatusItem("dlm.state", SELECTOR);
  private readonly server = vscode.languages.createLanguageStatusItem("dlm.server", SELECTOR);
  private readonly owned: vscode.Disposable[];

  constructor(
    heard: vscode.Event<Status>,
    discovered: vscode.Event<Discovery>,
    private readonly uriOf: (uri: vscode.Uri) => string,
  ) {
    this.running.name = "dlm";
    this.running.command = "dlm.cancel";
    this.state.name = "dlm model";
    this.state.command = { command: "dlm.versions", title: "Training" };
    this.server.name = "dlm language server";
    this.server.text = "dlm language server";
    this.server.busy = true;
    this.owned = [
      this.running,
      this.state,
      this.server,
      heard((status) => {
        this.status = status;
        this.show();
      }),
      discovered((found) => this.showServer(found)),
      vscode.window.onDidChangeActiveTextEditor(() => this.show()),
    ];
    this.show();
  }

  get current(): Status | undefined {
    return this.status;
  }

  /** The server is gone and with it what it said. */
  clear(): void {
    this.status = undefined;
    this.show();
  }

  dispose(): void {
    this.owned.forEach((part) => part.dispose());
  }

  private show(): void {
    const status = this.status;
    const text = status === undefined ? undefined : jobText(status);
    void vscode.commands.executeCommand("setContext", "dlm.busy", text !== undefined);
    if (status === undefined || text === undefined) {
      this.running.hide();
    } else {
      this.running.text = `$(sync~spin) ${text}`;
      const tooltip = new vscode.MarkdownString();
      jobDetail(status).forEach((line) => tooltip.appendText(line).appendMarkdown("\n\n"));
      tooltip.appendMarkdown("Click to cancel");
      this.running.tooltip = tooltip;
      this.running.accessibilityInformation = { label: `${text}, press to cancel`, role: "button" };
      this.running.show();
    }
    const document = vscode.window.activeTextEditor?.document;
    const said = standing(status, document === undefined ? "" : this.uriOf(document.uri));
    this.state.text = said.text;
    this.state.detail = said.detail;
    this.state.severity = SEVERITIES[said.severity];
    this.state.busy = text !== undefined;
    this.state.command =
      status?.engine === "failed"
        ? { command: "dlm.restartEngine", title: "Restart" }
        : { command: "dlm.versions", title: "Training" };
  }

  private showServer(found: Discovery): void {
    this.server.busy = false;
    void vscode.commands.executeCommand("setContext", "dlm.serverFound", found.found);
    if (found.found) {
      this.server.text = `dlm ${found.version}`;
      this.server.detail = `${found.invocation.command} (from ${found.invocation.origin})`;
      this.server.severity = vscode.LanguageStatusSeverity.Information;
      this.server.command = { command: "dlm.showLog", title: "Log" };
    } else {
      this.server.text = "dlm server missing";
      this.server.detail = found.problem;
      this.server.severity = vscode.LanguageStatusSeverity.Error;
      this.server.command = found.named
        ? { command: "workbench.action.openSettings", title: "Choose", arguments: ["dlm.server.path"] }
        : { command: "dlm.installServer", title: "Install" };
    }
  }
}
