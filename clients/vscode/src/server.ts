/**
 * The language server's life: found, started, restarted, stopped. There is at most one client;
 * commands that arrive while it starts wait for it, and what it says about itself goes out as
 * events whichever client said it.
 */

import { execFile } from "node:child_process";
import * as fs from "node:fs";
import * as vscode from "vscode";
import {
  type Executable,
  ExecuteCommandRequest,
  LanguageClient,
  type LanguageClientOptions,
  ProgressType,
  ResponseError,
  RevealOutputChannelOn,
  type ServerCapabilities,
  State,
  type StaticFeature,
} from "vscode-languageclient/node";

import { type Discovery, discover, findOnPath, type Python, versionIn } from "./discovery";
import type { SectionResults, Status, TrainingProgress, Trouble } from "./protocol";
import { configurationReply, serverSettings } from "./settings";

/** How long a program may take to say its version: a cold Python on a busy machine is slow. */
const PROBE_MILLISECONDS = 30_000;

/** A command that could not be carried out, with what the server said of it. */
export class CommandFailed extends Error {
  constructor(
    message: string,
    readonly trouble: Trouble,
  ) {
    super(message);
  }
}

/** Says in `initialize` what the client can show, and takes the commands for the extension. */
const extensions: StaticFeature = {
  fillClientCapabilities(capabilities) {
    capabilities.experimental = {
      ...(capabilities.experimental as object | undefined),
      dlm: { sectionResults: true, status: true },
    };
    // The library would show the same progress a second time, in words that cannot be clicked.
    capabilities.window = { ...capabilities.window, workDoneProgress: false };
  },
  // The library would register the server's commands under the very names the extension uses
  // for its own, which ask for what is missing first.
  preInitialize(capabilities: ServerCapabilities) {
    delete capabilities.executeCommandProvider;
  },
  initialize() {},
  getState: () => ({ kind: "static" }),
  clear() {},
};

export class Server implements vscode.Disposable {
  private client: LanguageClient | undefined;
  private starting: Promise<void> | undefined;
  private found: Discovery | undefined;
  private streams = 0;
  private readonly output: vscode.OutputChannel;
  private readonly statusChanged = new vscode.EventEmitter<Status>();
  private readonly resultsChanged = new vscode.EventEmitter<SectionResults>();
  private readonly storeChanged = new vscode.EventEmitter<void>();
  private readonly progressed = new vscode.EventEmitter<TrainingProgress>();
  private readonly discovered = new vscode.EventEmitter<Discovery>();
  private readonly gone = new vscode.EventEmitter<void>();

  readonly onStatus = this.statusChanged.event;
  readonly onResults = this.resultsChanged.event;
  /** Another process has changed the versions of an open document. */
  readonly onStoreChanged = this.storeChanged.event;
  readonly onProgress = this.progressed.event;
  readonly onDiscovery = this.discovered.event;
  /** It has ended, and what it said of results and jobs holds no longer. */
  readonly onGone = this.gone.event;

  constructor(
    private readonly log: vscode.LogOutputChannel,
    private readonly own: () => Python | undefined,
  ) {
    this.output = vscode.window.createOutputChannel("dlm Language Server");
  }

  get discovery(): Discovery | undefined {
    return this.found;
  }

  showLog(): void {
    (this.found?.found === false ? this.log : this.output).show(true);
  }

  /** Start it unless it runs or is about to. */
  start(): Promise<void> {
    this.starting ??= this.startNow().catch((error: unknown) => {
      this.starting = undefined;
      this.client = undefined;
      throw error;
    });
    return this.starting;
  }

  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  async stop(): Promise<void> {
    await this.starting?.catch(() => undefined);
    const client = this.client;
    this.client = undefined;
    this.starting = undefined;
    if (client !== undefined) {
      // One that does not answer is killed by the library; either way it is gone afterwards.
      await client.stop(3000).catch((error: unknown) => this.log.warn(`stopping: ${String(error)}`));
      await client.dispose();
    }
  }

  /** Have a command of the server carried out. */
  async run<T>(command: string, argument: object, token?: vscode.CancellationToken): Promise<T> {
    await this.start();
    if (this.client === undefined) {
      throw new CommandFailed("the dlm language server does not run", {});
    }
    try {
      const params = { command, arguments: [argument] };
      return (await this.client.sendRequest(ExecuteCommandRequest.type, params, token)) as T;
    } catch (error) {
      const data: unknown = error instanceof ResponseError ? error.data : undefined;
      throw new CommandFailed(
        error instanceof Error ? error.message : String(error),
        typeof data === "object" && data !== null ? (data as Trouble) : {},
      );
    }
  }

  /** As `run`, for a command that tells its answer as it comes; `heard` gets what is new. */
  async runTold<T>(
    command: string,
    argument: object,
    heard: (text: string) => void,
    token?: vscode.CancellationToken,
  ): Promise<T> {
    await this.start();
    this.streams += 1;
    const stream = `dlm-${this.streams}`;
    const listening = this.client?.onProgress(new ProgressType<{ text: string }>(), stream, ({ text }) =>
      heard(text),
    );
    try {
      return await this.run<T>(command, { ...argument, token: stream }, token);
    } finally {
      listening?.dispose();
    }
  }

  /** Have the settings read again, as trust is no setting of the editor's. */
  async settingsChanged(): Promise<void> {
    if (this.client?.isRunning()) {
      await this.client.sendNotification("workspace/didChangeConfiguration", { settings: null });
    }
  }

  uriOf(uri: vscode.Uri): string {
    return this.client?.code2ProtocolConverter.asUri(uri) ?? uri.toString();
  }

  dispose(): void {
    void this.stop();
    for (const owned of [
      this.output,
      this.statusChanged,
      this.resultsChanged,
      this.storeChanged,
      this.progressed,
      this.discovered,
      this.gone,
    ]) {
      owned.dispose();
    }
  }

  private async startNow(): Promise<void> {
    const found = await discover({
      setting: vscode.workspace.getConfiguration("dlm").get<string | null>("server.path") ?? null,
      pythons: () => pythons(this.log),
      own: this.own,
      onPath: (name) => findOnPath(name, process.env["PATH"], process.platform, isProgram),
      version: (command, args) => versionOf(command, args, this.log),
    });
    this.found = found;
    this.discovered.fire(found);
    if (!found.found) {
      this.log.error(`${found.problem}. Tried: ${found.tried.join(", ") || "nothing"}`);
      throw new CommandFailed(found.problem, {});
    }
    const { command, args, origin } = found.invocation;
    this.log.info(`server ${found.version}: ${[command, ...args].join(" ")} (from ${origin})`);
    const executable: Executable = { command, args: [...args], options: { shell: false } };
    const client = new LanguageClient("dlm", "dlm", executable, this.options());
    client.registerFeature(extensions);
    client.onNotification("dlm/status", (said: Status) => this.statusChanged.fire(said));
    client.onNotification("dlm/sectionResults", (said: SectionResults) => this.resultsChanged.fire(said));
    client.onNotification("dlm/storeChanged", () => this.storeChanged.fire());
    client.onNotification("dlm/trainingProgress", (said: TrainingProgress) => this.progressed.fire(said));
    client.onDidChangeState(({ newState }) => {
      if (newState === State.Stopped) {
        this.gone.fire();
      }
    });
    this.client = client;
    await client.start();
  }

  private options(): LanguageClientOptions {
    return {
      documentSelector: [
        { language: "dlm", scheme: "file" },
        { language: "dlm", scheme: "untitled" },
      ],
      outputChannel: this.output,
      revealOutputChannelOn: RevealOutputChannelOn.Never,
      initializationOptions: () =>
        serverSettings(vscode.workspace.getConfiguration().get("dlm"), vscode.workspace.isTrusted),
      initializationFailedHandler: (error: unknown) => {
        this.log.error(`the server could not be initialised: ${String(error)}`);
        return false;
      },
      middleware: {
        workspace: {
          configuration: async (params, token, next) => {
            const answers = await next(params, token);
            return Array.isArray(answers)
              ? configurationReply(params.items, answers as unknown[], vscode.workspace.isTrusted)
              : answers;
          },
        },
      },
    };
  }
}

/** Interpreters that may have dlm: the one in the settings, the Python extension's. */
export async function pythons(log: vscode.LogOutputChannel): Promise<Python[]> {
  const found: Python[] = [];
  const named = vscode.workspace.getConfiguration("dlm").get<string | null>("engine.python");
  if (named) {
    found.push({ path: named, origin: "the setting dlm.engine.python" });
  }
  // In a folder that is not trusted the interpreter may be one that the folder brought along.
  const extension = vscode.extensions.getExtension<PythonExtension>("ms-python.python");
  if (extension !== undefined && vscode.workspace.isTrusted) {
    try {
      const { environments } = await extension.activate();
      const folder = vscode.workspace.workspaceFolders?.[0]?.uri;
      const chosen = await environments.resolveEnvironment(
        environments.getActiveEnvironmentPath(folder),
      );
      if (chosen?.executable.uri !== undefined) {
        found.push({ path: chosen.executable.uri.fsPath, origin: "the Python extension" });
      }
    } catch (error) {
      log.warn(`the Python extension names no interpreter: ${String(error)}`);
    }
  }
  return found;
}

/** The part of the Python extension's interface that is used here. */
interface PythonExtension {
  readonly environments: {
    getActiveEnvironmentPath(resource?: vscode.Uri): { readonly path: string };
    resolveEnvironment(environment: { readonly path: string }): Promise<
      { readonly executable: { readonly uri: vscode.Uri | undefined } } | undefined
    >;
  };
}

export function isProgram(file: string): boolean {
  try {
    fs.accessSync(file, fs.constants.X_OK);
    return fs.statSync(file).isFile();
  } catch {
    return false;
  }
}

function versionOf(
  command: string,
  args: readonly string[],
  log: vscode.LogOutputChannel,
): Promise<string | undefined> {
  return new Promise((resolve) => {
    const options = { timeout: PROBE_MILLISECONDS, windowsHide: true };
    execFile(command, [...args], options, (error, printed) => {
      if (error !== null) {
        log.info(`${command} ${args.join(" ")}: ${error.message.split("\n").slice(0, 3).join(" ")}`);
      }
      resolve(error === null ? versionIn(printed) : undefined);
    });
  });
}
