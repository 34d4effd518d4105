/**
 * Draws the model's answers beside their questions, as decorations: never in the text. Keeps the
 * newest results of each document, for editors that are opened later and for the tests view.
 */

import * as vscode from "vscode";

import { comparisons, details, fenced, lineOf, type Look, lookOf, summary } from "./answers";
import type { SectionResult, SectionResults } from "./protocol";

const COLOURS: Readonly<Record<Look, string>> = {
  plain: "dlm.answer",
  passed: "dlm.answerPassed",
  failed: "dlm.answerFailed",
  changed: "dlm.answerChanged",
  stale: "dlm.answerStale",
};

export const ANSWER_SCHEME = "dlm-answer";

export class Results implements vscode.Disposable, vscode.TextDocumentContentProvider {
  private readonly kept = new Map<string, SectionResults>();
  /** what was compared in an editor of its own: it may be opened again */
  private readonly texts = new Map<string, string>();
  private shown = 0;
  private readonly changed = new vscode.EventEmitter<SectionResults>();
  private readonly rewritten = new vscode.EventEmitter<vscode.Uri>();
  private readonly type = vscode.window.createTextEditorDecorationType({
    rangeBehavior: vscode.DecorationRangeBehavior.ClosedClosed,
  });
  private readonly owned: vscode.Disposable[];

  /** After any change, with the document's results as they are now. */
  readonly onChange = this.changed.event;
  /** After a text that can be read has become another. */
  readonly onDidChange = this.rewritten.event;

  constructor(heard: vscode.Event<SectionResults>) {
    this.owned = [
      this.type,
      this.changed,
      this.rewritten,
      heard((results) => this.take(results)),
      vscode.window.onDidChangeVisibleTextEditors((editors) => editors.forEach((e) => this.draw(e))),
      vscode.workspace.onDidCloseTextDocument((document) => this.kept.delete(document.uri.toString())),
      vscode.workspace.onDidChangeConfiguration((change) => {
        if (change.affectsConfiguration("dlm.results.display")) {
          vscode.window.visibleTextEditors.forEach((editor) => this.draw(editor));
        }
      }),
      vscode.workspace.registerTextDocumentContentProvider(ANSWER_SCHEME, this),
    ];
  }

  of(uri: vscode.Uri): readonly SectionResult[] {
    return this.kept.get(uri.toString())?.items ?? [];
  }

  /** Nothing is known any more: the server that knew it is gone. */
  clear(): void {
    this.kept.clear();
    vscode.window.visibleTextEditors.forEach((editor) => this.draw(editor));
  }

  /** Where `text` can be read as it is now, whatever is answered later. */
  snapshot(name: string, text: string): vscode.Uri {
    this.shown += 1;
    // Models write Markdown, and the editor wraps its long lines.
    const uri = vscode.Uri.from({ scheme: ANSWER_SCHEME, path: `/${name}.md`, query: String(this.shown) });
    this.texts.set(uri.toString(), text);
    return uri;
  }

  /** Have another text where `snapshot` put one. */
  rewrite(uri: vscode.Uri, text: string): void {
    this.texts.set(uri.toString(), text);
    this.rewritten.fire(uri);
  }

  provideTextDocumentContent(uri: vscode.Uri): string {
    return this.texts.get(uri.toString()) ?? "";
  }

  dispose(): void {
    this.owned.forEach((part) => part.dispose());
  }

  private take(results: SectionResults): void {
    const uri = vscode.Uri.parse(results.uri).toString();
    this.kept.set(uri, results);
    for (const editor of vscode.window.visibleTextEditors) {
      if (editor.document.uri.toString() === uri) {
        this.draw(editor);
      }
    }
    this.changed.fire({ ...results, uri });
  }

  private draw(editor: vscode.TextEditor): void {
    const document = editor.document;
    if (document.languageId !== "dlm") {
      return;
    }
    const inline =
      vscode.workspace.getConfiguration("dlm", document).get("results.display") === "inline";
    const items = inline ? this.of(document.uri) : [];
    editor.setDecorations(
      this.type,
      items.flatMap((result, at) => {
        const line = lineOf(result, document.lineCount, (number) => document.lineAt(number).text);
        return line === undefined ? [] : [this.decoration(document, result, at, line)];
      }),
    );
  }

  private decoration(
    document: vscode.TextDocument,
    result: SectionResult,
    at: number,
    line: number,
  ): vscode.DecorationOptions {
    const look = lookOf(result.state);
    const { range } = document.lineAt(line);
    return {
      range,
      hoverMessage: this.hover(document.uri, result, at),
      renderOptions: {
        after: {
          contentText: summary(result),
          color: new vscode.ThemeColor(COLOURS[look]),
          fontStyle: look === "stale" || result.state === "running" ? "italic" : "normal",
          margin: "0 0 0 2.5em",
        },
      },
    };
  }

  private hover(uri: vscode.Uri, result: SectionResult, at: number): vscode.MarkdownString {
    const text = new vscode.MarkdownString();
    // Only this command may be run from the hover, and its arguments are a place, no text.
    text.isTrusted = { enabledCommands: ["dlm.compareAnswer"] };
    const links = comparisons(result).map(({ side, title }) => {
      const argument = encodeURIComponent(JSON.stringify([{ uri: uri.toString(), at, side }]));
      return ` · [${title}](command:dlm.compareAnswer?${argument})`;
    });
    for (const [heading, said] of details(result)) {
      if (heading === "") {
        // Before the texts: below a long one a link is out of sight.
        text.appendText(said).appendMarkdown(`${links.join("")}\n\n`);
      } else {
        text.appendMarkdown(`**${heading}**\n\n${fenced(said)}\n\n`);
      }
    }
    return text;
  }
}
