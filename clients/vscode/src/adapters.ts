/** Asks which of a document's named adapters is meant, where there are several. */

import * as vscode from "vscode";

import { adapterRows, type Chosen, evenMix } from "./named";
import type { Adapters } from "./protocol";
import type { Server } from "./server";

/** Who is chosen; nothing in it where there is nothing to choose, undefined where none was taken. */
export async function pickAdapter(
  server: Server,
  uri: string,
  title: string,
  purpose: "ask" | "export",
): Promise<Chosen | undefined> {
  const found = await server.run<Adapters>("dlm.adapters", { uri });
  const rows = adapterRows(found, purpose);
  if (rows.length === 0) {
    return {};
  }
  const picked = await vscode.window.showQuickPick(rows, { title, placeHolder: "Which adapter" });
  if (picked === undefined || picked.chosen !== undefined) {
    return picked?.chosen;
  }
  const mix = await vscode.window.showInputBox({
    title,
    value: evenMix(found),
    prompt: "Adapters with their weights, which need not add up to 1.",
    ignoreFocusOut: true,
  });
  return mix?.trim() ? { mix: mix.trim() } : undefined;
}
