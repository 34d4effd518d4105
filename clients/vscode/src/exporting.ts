/** Exports a document: what to, how small, and where it went. */

import * as path from "node:path";
import * as vscode from "vscode";

import { pickAdapter } from "./adapters";
import { exportOf } from "./named";
import type { Exported, ExportTarget } from "./protocol";
import type { Server } from "./server";
import { asExported, choices } from "./targets";

export async function exportDocument(server: Server, document: vscode.TextDocument): Promise<void> {
  const uri = server.uriOf(document.uri);
  const targets = await server.run<ExportTarget[]>("dlm.exportTargets", { uri });
  const name = path.basename(document.uri.path);
  const picked = await vscode.window.showQuickPick(
    choices(targets).map((row) =>
      "heading" in row
        ? { label: row.heading, kind: vscode.QuickPickItemKind.Separator, target: "", quant: "" }
        : row,
    ),
    { title: `Export ${name}`, placeHolder: "What it is for, and how small", matchOnDescription: true },
  );
  if (picked === undefined) {
    return;
  }
  const { target, quant } = picked;
  const chosen = await pickAdapter(server, uri, `Export ${name} as ${quant}`, "export");
  if (chosen === undefined) {
    return;
  }
  const done = await vscode.window.withProgress(
    {
      location: vscode.ProgressLocation.Notification,
      title: `dlm: exporting ${name}${exportOf(chosen)} as ${quant}`,
      cancellable: true,
    },
    (_, token) => server.run<Exported>("dlm.export", { uri, target, quant, ...chosen }, token),
  );
  const copy = "Copy Path";
  const open = "Open Folder";
  const pressed = await vscode.window.showInformationMessage(asExported(done), open, copy);
  const folder = vscode.Uri.file(done.folder);
  if (pressed === copy) {
    await vscode.env.clipboard.writeText(done.folder);
  } else if (pressed === open) {
    const here = vscode.env.remoteName === undefined && vscode.env.uiKind === vscode.UIKind.Desktop;
    await (here
      ? vscode.commands.executeCommand("revealFileInOS", folder)
      : vscode.commands.executeCommand("vscode.openFolder", folder, { forceNewWindow: true }));
  }
}
