/**
 * The training view: how the document in front is being trained, its loss, versions and runs.
 * It asks the server again after each job and when another process has trained, and draws at most a few times a second.
 */

import { randomBytes } from "node:crypto";
import * as path from "node:path";
import * as vscode from "vscode";

import type { Run, Status, TrainingProgress, Version } from "./protocol";
import { body, ended, page, type Pressed, type Shown } from "./page";
import type { Server } from "./server";

/** The run that goes on, as far as it was told. */
interface Live {
  readonly run: number;
  readonly adapter: string | undefined;
  readonly name: string;
  readonly points: { step: number; loss: number }[];
}

const VIEW = "dlm.training";
const DRAW_MILLISECONDS = 200;

export class TrainingView implements vscode.Disposable, vscode.WebviewViewProvider {
  private view: vscode.WebviewView | undefined;
  private document: vscode.Uri | undefined;
  private status: Status | undefined;
  private versions: readonly Version[] = [];
  private runs: readonly Run[] = [];
  private problem: string | null = null;
  private live: Live | null = null;
  private timer: NodeJS.Timeout | undefined;
  private readonly owned: vscode.Disposable[];

  constructor(private readonly server: Server) {
    this.owned = [
      vscode.window.registerWebviewViewProvider(VIEW, this),
      server.onStatus((status) => this.heard(status)),
      server.onStoreChanged(() => void this.load()),
      server.onProgress((progress) => this.progressed(progress)),
      vscode.window.onDidChangeActiveTextEditor(() => this.follow()),
      vscode.workspace.onDidGrantWorkspaceTrust(() => this.draw()),
    ];
    this.follow();
  }

  resolveWebviewView(view: vscode.WebviewView): void {
    this.view = view;
    view.webview.options = { enableScripts: true, localResourceRoots: [] };
    view.webview.html = page(randomBytes(16).toString("base64"), this.shown());
    view.webview.onDidReceiveMessage((said: Pressed) => this.act(said));
    view.onDidChangeVisibility(() => this.load());
    view.onDidDispose(() => {
      this.view = undefined;
    });
    void this.load();
  }

  async reveal(): Promise<void> {
    await vscode.commands.executeCommand(`${VIEW}.focus`);
    await this.load();
  }

  /** Ask for versions and runs anew. */
  async load(): Promise<void> {
    const document = this.document;
    if (document === undefined || this.view?.visible !== true) {
      return;
    }
    const argument = { uri: this.server.uriOf(document) };
    try {
      const [versions, runs] = await Promise.all([
        this.server.run<Version[]>("dlm.versions", argument),
        this.server.run<Run[]>("dlm.runs", argument),
      ]);
      if (this.document !== document) {
        return;
      }
      [this.versions, this.runs, this.problem] = [versions, runs, null];
    } catch (error) {
      this.problem = error instanceof Error ? error.message : String(error);
    }
    this.draw();
  }

  dispose(): void {
    clearTimeout(this.timer);
    this.owned.forEach((part) => part.dispose());
  }

  private follow(): void {
    const document = vscode.window.activeTextEditor?.document;
    if (document?.languageId !== "dlm" || document.uri.toString() === this.document?.toString()) {
      return;
    }
    this.document = document.uri;
    [this.versions, this.runs, this.problem, this.live] = [[], [], null, null];
    void this.load();
  }

  private heard(status: Status): void {
    const before = this.status;
    this.status = status;
    if (status.job?.id !== before?.job?.id) {
      this.live = null;
    }
    if (before?.job !== null && before?.job?.id !== status.job?.id) {
      void this.load();
    }
    this.draw();
  }

  private progressed(progress: TrainingProgress): void {
    if (progress.loss === undefined || !this.isAboutDocument(this.status)) {
      return;
    }
    if (this.live?.run !== progress.run_id) {
      if (this.live !== null) {
        // The run before has ended, and its version is there.
        void this.load();
      }
      this.live = { run: progress.run_id, adapter: progress.adapter, name: "This run", points: [] };
    }
    this.live.points.push({ step: progress.step, loss: progress.loss });
    this.draw();
  }

  private isAboutDocument(status: Status | undefined): boolean {
    return (
      status?.job != null &&
      this.document !== undefined &&
      vscode.Uri.parse(status.job.uri).toString() === this.document.toString()
    );
  }

  private shown(): Shown {
    const busy = this.isAboutDocument(this.status);
    return {
      name: this.document === undefined ? null : path.basename(this.document.path),
      trusted: vscode.workspace.isTrusted,
      status: this.status,
      busy,
      versions: this.versions,
      runs: ended(this.runs, busy),
      live: this.live,
      problem: this.problem,
    };
  }

  private draw(): void {
    if (this.view === undefined || this.timer !== undefined) {
      return;
    }
    this.timer = setTimeout(() => {
      this.timer = undefined;
      void this.view?.webview.postMessage({ body: body(this.shown()) });
    }, DRAW_MILLISECONDS);
  }

  private act(said: Pressed): void {
    const uri = this.document;
    if (said.action === "cancel") {
      void vscode.commands.executeCommand("dlm.cancel");
    } else if (said.action === "train") {
      void vscode.commands.executeCommand("dlm.train", uri);
    } else if (said.action === "rollback" && Number.isInteger(said.version)) {
      void vscode.commands.executeCommand("dlm.rollback", uri, {
        version: said.version,
        adapter: said.adapter || undefined,
      });
    }
  }
}
