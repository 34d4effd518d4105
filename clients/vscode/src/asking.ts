/**
 * A question of its own: asked in a box, answered beside the document while the answer comes. What
 * is shown is a text that can only be read and is kept in no file.
 */

import * as path from "node:path";
import * as vscode from "vscode";

import { pickAdapter } from "./adapters";
import { conversation } from "./answers";
import { answeredBy } from "./named";
import type { Answered } from "./protocol";
import type { Results } from "./results";
import type { Server } from "./server";

/** Ask for a question about the document, and show what its model says. */
export async function prompt(server: Server, results: Results, document: vscode.TextDocument): Promise<void> {
  const name = path.basename(document.uri.path);
  const uri = server.uriOf(document.uri);
  const question = await vscode.window.showInputBox({
    title: `Ask ${name}`,
    prompt: "The answer is shown beside the document and written nowhere.",
    ignoreFocusOut: true,
  });
  if (!question?.trim()) {
    return;
  }
  const chosen = await pickAdapter(server, uri, `Ask ${name}`, "ask");
  if (chosen === undefined) {
    return;
  }
  const page = new Page(results, question);
  let so = "";
  try {
    const reply = await vscode.window.withProgress(
      { location: vscode.ProgressLocation.Notification, title: "dlm: asking", cancellable: true },
      (_, token) =>
        server.runTold<Answered>(
          "dlm.prompt",
          { uri, question, ...chosen },
          (text) => {
            so += text;
            page.show(so);
          },
          token,
        ),
    );
    page.show(reply.text, `${name}, ${answeredBy(reply)}`);
  } catch (error) {
    if (so !== "") {
      page.show(so, "not answered to the end");
    }
    throw error;
  } finally {
    await page.opening;
  }
}

/** The question and what came of its answer, in an editor beside from the first word on. */
class Page {
  private uri: vscode.Uri | undefined;
  private text = "";
  opening: Promise<void> | undefined;

  constructor(
    private readonly results: Results,
    private readonly question: string,
  ) {}

  show(answer: string, by?: string): void {
    this.text = conversation(this.question, answer, by);
    if (this.uri === undefined) {
      this.uri = this.results.snapshot("Answer", this.text);
      this.opening = this.open(this.uri);
    } else {
      this.results.rewrite(this.uri, this.text);
    }
  }

  private async open(uri: vscode.Uri): Promise<void> {
    const beside = { viewColumn: vscode.ViewColumn.Beside, preserveFocus: true, preview: true };
    await vscode.window.showTextDocument(uri, beside);
    // What changes a text that is just being opened is not heard.
    this.results.rewrite(uri, this.text);
  }
}
