/**
 * Questions marked `!probe` as tests. The server's outline says which there are, so that only one
 * parser decides; its results say how they ended, whoever asked: the Test Explorer, a lens, or the
 * training that a save began.
 */

import * as path from "node:path";
import * as vscode from "vscode";

import type { SectionResult } from "./protocol";
import { probesIn, settled, verdictOf } from "./verdicts";
import type { Results } from "./results";
import type { Server } from "./server";

/** How long results may come after the command that asked for them has been answered. */
const SETTLE_MILLISECONDS = 5000;
/** How long typing rests before the outline is asked for. */
const OUTLINE_MILLISECONDS = 500;

export class Probes implements vscode.Disposable {
  private readonly controller = vscode.tests.createTestController("dlm.probes", "dlm probes");
  private readonly timers = new Map<string, NodeJS.Timeout>();
  /** documents whose probes are being run from here */
  private readonly running = new Set<string>();
  /** what was last reported of a document: the same is not reported twice */
  private readonly reported = new Map<string, string>();
  private readonly owned: vscode.Disposable[];

  constructor(
    private readonly server: Server,
    private readonly results: Results,
  ) {
    this.controller.resolveHandler = (item) => (item === undefined ? this.findAll() : this.open(item));
    this.controller.refreshHandler = () => this.findAll();
    this.controller.createRunProfile(
      "Ask",
      vscode.TestRunProfileKind.Run,
      (request, token) => this.run(request, token),
      true,
    );
    this.owned = [
      this.controller,
      vscode.workspace.onDidOpenTextDocument((document) => this.soon(document)),
      vscode.workspace.onDidChangeTextDocument(({ document }) => this.soon(document)),
      vscode.workspace.onDidDeleteFiles(({ files }) =>
        files.forEach((file) => this.controller.items.delete(file.toString())),
      ),
      results.onChange(({ uri }) => void this.report(vscode.Uri.parse(uri))),
    ];
  }

  /** Look at the documents that are open; call once the server runs. */
  lookAtOpen(): void {
    vscode.workspace.textDocuments.forEach((document) => this.soon(document));
  }

  dispose(): void {
    this.timers.forEach((timer) => clearTimeout(timer));
    this.owned.forEach((part) => part.dispose());
  }

  private async findAll(): Promise<void> {
    const files = await vscode.workspace.findFiles("**/*.dlm", "**/node_modules/**", 1000);
    files.forEach((file) => this.fileItem(file));
    this.lookAtOpen();
  }

  private async open(item: vscode.TestItem): Promise<void> {
    if (item.uri !== undefined && item.parent === undefined) {
      await this.outline(await vscode.workspace.openTextDocument(item.uri));
    }
  }

  private soon(document: vscode.TextDocument): void {
    const key = document.uri.toString();
    if (document.languageId !== "dlm" || document.uri.scheme !== "file") {
      return;
    }
    clearTimeout(this.timers.get(key));
    this.timers.set(
      key,
      setTimeout(() => {
        this.timers.delete(key);
        void this.outline(document);
      }, OUTLINE_MILLISECONDS),
    );
  }

  private async outline(document: vscode.TextDocument): Promise<void> {
    const found =
      (await vscode.commands.executeCommand<vscode.DocumentSymbol[] | undefined>(
        "vscode.executeDocumentSymbolProvider",
        document.uri,
      )) ?? [];
    const probes = probesIn(found, vscode.SymbolKind.Event);
    const key = document.uri.toString();
    if (probes.length === 0) {
      this.controller.items.delete(key);
      return;
    }
    const file = this.fileItem(document.uri);
    file.canResolveChildren = false;
    file.children.replace(
      probes.map((probe) => {
        // The same item keeps its last verdict while the text moves.
        const item =
          file.children.get(probe.id) ??
          this.controller.createTestItem(probe.id, probe.symbol.name, document.uri);
        item.range = probe.symbol.range;
        return item;
      }),
    );
    await this.report(document.uri);
  }

  private fileItem(uri: vscode.Uri): vscode.TestItem {
    const old = this.controller.items.get(uri.toString());
    if (old !== undefined) {
      return old;
    }
    const item = this.controller.createTestItem(uri.toString(), path.basename(uri.path), uri);
    item.canResolveChildren = true;
    this.controller.items.add(item);
    return item;
  }

  private async run(request: vscode.TestRunRequest, token: vscode.CancellationToken): Promise<void> {
    const run = this.controller.createTestRun(request);
    for (const [file, items] of await this.chosen(request)) {
      const uri = file.uri;
      if (uri === undefined || token.isCancellationRequested) {
        continue;
      }
      const key = uri.toString();
      this.running.add(key);
      items.forEach((item) => run.started(item));
      try {
        // The server answers for documents that are open.
        await vscode.workspace.openTextDocument(uri);
        await this.server.run("dlm.probe", { uri: this.server.uriOf(uri) }, token);
        await this.settle(uri, items);
        items.forEach((item) => this.tell(run, item));
        this.reported.set(key, this.fingerprint(file));
      } catch (error) {
        const said = error instanceof Error ? error.message : String(error);
        for (const item of items) {
          if (token.isCancellationRequested) {
            run.skipped(item);
          } else {
            run.errored(item, new vscode.TestMessage(said));
          }
        }
      } finally {
        this.running.delete(key);
      }
    }
    run.end();
  }

  /** The questions that a request names, by file. */
  private async chosen(
    request: vscode.TestRunRequest,
  ): Promise<Map<vscode.TestItem, vscode.TestItem[]>> {
    const files = new Map<vscode.TestItem, vscode.TestItem[]>();
    const named = request.include ?? [...this.controller.items].map(([, item]) => item);
    for (const item of named) {
      if (item.parent === undefined && item.canResolveChildren) {
        await this.open(item);
      }
      const file = item.parent ?? item;
      const items = item.parent === undefined ? [...item.children].map(([, child]) => child) : [item];
      const wanted = items.filter((one) => !request.exclude?.includes(one));
      if (wanted.length > 0) {
        files.set(file, [...(files.get(file) ?? []), ...wanted]);
      }
    }
    return files;
  }

  /** Until every item has a result that is no longer running. */
  private settle(uri: vscode.Uri, items: readonly vscode.TestItem[]): Promise<void> {
    const done = (): boolean => items.every((item) => settled(this.resultOf(item)));
    return new Promise((resolve) => {
      if (done()) {
        resolve();
        return;
      }
      const finish = (): void => {
        clearTimeout(timer);
        listening.dispose();
        resolve();
      };
      const timer = setTimeout(finish, SETTLE_MILLISECONDS);
      const listening = this.results.onChange((changed) => {
        if (changed.uri === uri.toString() && done()) {
          finish();
        }
      });
    });
  }

  /** Results that came without a run of the Test Explorer: after a training, from a lens. */
  private async report(uri: vscode.Uri): Promise<void> {
    const file = this.controller.items.get(uri.toString());
    if (file === undefined || this.running.has(uri.toString())) {
      return;
    }
    const items = [...file.children].map(([, item]) => item);
    const found = items.map((item) => this.resultOf(item));
    if (found.some((result) => result?.state === "running")) {
      return;
    }
    const fingerprint = this.fingerprint(file);
    const told = items.filter((_, at) => settled(found[at]));
    if (told.length === 0 || fingerprint === this.reported.get(uri.toString())) {
      return;
    }
    this.reported.set(uri.toString(), fingerprint);
    const version = found.find((result) => result?.modelVersion != null)?.modelVersion;
    const name = version == null ? "dlm" : `version ${version}`;
    const run = this.controller.createTestRun(new vscode.TestRunRequest(told), name, true);
    told.forEach((item) => this.tell(run, item));
    run.end();
  }

  private fingerprint(file: vscode.TestItem): string {
    return JSON.stringify(
      [...file.children].map(([id, item]) => {
        const result = this.resultOf(item);
        return [id, result?.state, result?.modelVersion, result?.adapted];
      }),
    );
  }

  private resultOf(item: vscode.TestItem): SectionResult | undefined {
    const { uri, range } = item;
    if (uri === undefined || range === undefined) {
      return undefined;
    }
    return this.results
      .of(uri)
      .find(
        (result) =>
          result.pair !== null &&
          result.range.start.line >= range.start.line &&
          result.range.start.line <= range.end.line,
      );
  }

  private tell(run: vscode.TestRun, item: vscode.TestItem): void {
    const result = this.resultOf(item);
    const verdict = verdictOf(result);
    if (verdict.kind === "passed") {
      run.passed(item);
    } else if (verdict.kind === "skipped") {
      run.skipped(item);
    } else {
      const message =
        verdict.kind === "failed" && result?.reference != null && result.adapted !== null
          ? vscode.TestMessage.diff(verdict.message, result.reference, result.adapted)
          : new vscode.TestMessage(verdict.message);
      if (item.uri !== undefined && item.range !== undefined) {
        message.location = new vscode.Location(item.uri, item.range.start);
      }
      if (verdict.kind === "failed") {
        run.failed(item, message);
      } else {
        run.errored(item, message);
      }
    }
  }
}
