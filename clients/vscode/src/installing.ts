/**
 * Installing the server that comes with the extension: asks with the size first, shows progress
 * that cancels, and says what is in the way. Nothing is downloaded without a yes.
 */

import * as path from "node:path";
import * as vscode from "vscode";

import type { Python } from "./discovery";
import {
  basePython,
  type Bundle,
  bundleIn,
  install,
  InstallCancelled,
  type Installed,
  installedIn,
  mark,
  pythonsOf,
  runProgram,
  tidy,
} from "./environment";
import { isProgram, pythons } from "./server";

export const INSTALL = "Install the Server";

const SIZE =
  process.platform === "linux"
    ? "about 0.4 GB to download and 1.5 GB on the disk, or 3 GB and 7 GB where that index has PyTorch with NVIDIA's libraries, as is usual on Linux"
    : "about 0.4 GB to download and 1.5 GB on the disk";

export class Installer implements vscode.Disposable {
  private readonly storage: string;
  private readonly bundle: Bundle | undefined;
  private stop = new AbortController();
  private installing: Promise<boolean> | undefined;
  /** the environment that this process has marked as used */
  private used: string | undefined;

  constructor(
    context: vscode.ExtensionContext,
    private readonly log: vscode.LogOutputChannel,
  ) {
    this.storage = path.join(context.globalStorageUri.fsPath, "server");
    this.bundle = bundleIn(path.join(context.extensionPath, "out", "server"));
  }

  /** The Python of the environment installed here, to be looked at last. */
  python(): Python | undefined {
    const found = installedIn(this.storage);
    return found === undefined ? undefined : { path: found.python, origin: "installed for this editor" };
  }

  /** A server was found; tells whether it is the one installed here, and not what came with the extension. */
  async chosen(command: string): Promise<{ readonly from: string; readonly to: string } | undefined> {
    const found = installedIn(this.storage);
    const mine: Installed | undefined = found?.python === command ? found : undefined;
    if (mine !== undefined) {
      await mark(mine.folder);
    }
    const left = this.used === mine?.folder ? undefined : this.used;
    // Not waited for: there may be gigabytes to remove.
    void tidy(this.storage, left).catch((error: unknown) => this.log.warn(`tidying: ${String(error)}`));
    this.used = mine?.folder;
    if (mine === undefined || this.bundle === undefined || mine.digest === this.bundle.digest) {
      return undefined;
    }
    return { from: mine.version, to: this.bundle.version };
  }

  /** Ask, then install. True when there is a new environment. `caution`: why it may not be used. */
  install(caution: string | undefined): Promise<boolean> {
    this.installing ??= this.installNow(caution).finally(() => {
      this.installing = undefined;
    });
    return this.installing;
  }

  /** Half an environment is of no use to anybody. */
  dispose(): void {
    this.stop.abort();
  }

  private async installNow(caution: string | undefined): Promise<boolean> {
    const bundle = this.bundle;
    if (bundle === undefined) {
      throw new Error(
        "this build of the extension carries no server: run pip install dlm in a Python of version 3.11 or newer",
      );
    }
    const chosen = (await pythons(this.log)).map((one) => one.path);
    const base = await basePython(pythonsOf(chosen, process.env["PATH"], isProgram), runProgram);
    const yes = "Install";
    const pressed = await vscode.window.showInformationMessage(
      `Install dlm ${bundle.version} for this editor?`,
      {
        modal: true,
        detail:
          "The extension carries the language server and engine; PyTorch and the other packages that " +
          `they need come from pip's index, ${SIZE}.\n\nAll of it goes into a virtual environment of the ` +
          `extension's own, made with Python ${base.version} (${base.path}).` +
          (caution === undefined ? "" : `\n\n${caution}`),
      },
      yes,
    );
    if (pressed !== yes) {
      return false;
    }
    try {
      await vscode.window.withProgress(
        {
          location: vscode.ProgressLocation.Notification,
          title: `Installing dlm ${bundle.version}`,
          cancellable: true,
        },
        async (progress, token) => {
          this.stop = new AbortController();
          token.onCancellationRequested(() => this.stop.abort());
          this.log.info(`installing dlm ${bundle.version} with ${base.path} (Python ${base.version})`);
          const said: typeof runProgram = (command, args, options) =>
            runProgram(command, args, {
              ...options,
              onLine: (line) => {
                this.log.info(line);
                options.onLine?.(line);
              },
            });
          await install(this.storage, bundle, base, said, this.stop.signal, (message) => progress.report({ message }));
        },
      );
      return true;
    } catch (error) {
      if (error instanceof InstallCancelled) {
        return false;
      }
      const words = error instanceof Error ? error.message : String(error);
      throw new Error(`the server was not installed: ${words}`);
    }
  }
}
