/**
 * The server's own environment: a virtual environment in the extension's storage, into which the
 * wheel that comes with the extension is installed. Each is built in a new folder and counts only
 * once `current.json`, written beside and renamed, names it: what was cancelled or killed half
 * way is never started, and an older one serves until the newer is whole. Folders are not moved
 * after they were built, as the programs in a virtual environment name their own place. Nothing
 * here knows of VS Code.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import * as fs from "node:fs";
import * as path from "node:path";
import { createInterface } from "node:readline";

import { findOnPath } from "./discovery";

/** What the packaging script put beside the extension. */
export interface Bundle {
  readonly wheel: string;
  readonly constraints: string;
  readonly version: string;
  /** changes with what would be installed */
  readonly digest: string;
}

export interface Installed {
  readonly folder: string;
  readonly python: string;
  readonly version: string;
  readonly digest: string;
}

/** A Python that an environment can be made with. */
export interface BasePython {
  readonly path: string;
  readonly version: string;
}

export type Run = (
  command: string,
  args: readonly string[],
  options: RunOptions,
) => Promise<{ readonly code: number | null; readonly said: readonly string[] }>;

export interface RunOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
  readonly onLine?: (line: string) => void;
}

/** Why there is no environment, in words for the user. */
export class InstallFailed extends Error {}

/** The user has called it off. */
export class InstallCancelled extends Error {}

const POINTER = "current.json";
/** How the name of a folder begins that is being removed. */
const GONE = "gone-";
const PROGRAM = process.platform === "win32" ? path.join("Scripts", "python.exe") : path.join("bin", "python");
const OLDEST = [3, 11] as const;
/** Those that the pinned versions are tested with, then whatever there is. */
const NAMES = ["python3.12", "python3.13", "python3.11", "python3", "python"];
/** Where a Python may be though an editor that was not started in a terminal has a short PATH. */
const PLACES = ["/opt/homebrew/bin", "/usr/local/bin", "/usr/bin"];
const LOOK = `
import sys
try:
    import ensurepip, venv
    able = "venv"
except ImportError:
    able = "no-venv"
print(*sys.version_info[:3], able)`;

export function bundleIn(folder: string): Bundle | undefined {
  const said = read(path.join(folder, "bundle.json"));
  const { wheel, constraints, version, digest } = said ?? {};
  if (![wheel, constraints, version, digest].every((part) => typeof part === "string")) {
    return undefined;
  }
  return {
    wheel: path.join(folder, wheel as string),
    constraints: path.join(folder, constraints as string),
    version: version as string,
    digest: digest as string,
  };
}

/** The environment that counts; undefined where none was ever finished. */
export function installedIn(storage: string): Installed | undefined {
  const { folder: name, version, digest } = read(path.join(storage, POINTER)) ?? {};
  if (typeof name !== "string" || typeof version !== "string" || typeof digest !== "string") {
    return undefined;
  }
  const folder = path.join(storage, path.basename(name));
  const python = path.join(folder, PROGRAM);
  return fs.existsSync(python) ? { folder, python, version, digest } : undefined;
}

/** The Pythons of this machine, those that were chosen by the user first. */
export function pythonsOf(
  chosen: readonly string[],
  searched: string | undefined,
  isProgram: (file: string) => boolean,
): string[] {
  const folders = process.platform === "win32" ? (searched ?? "") : [searched ?? "", ...PLACES].join(":");
  const found = NAMES.map((name) => findOnPath(name, folders, process.platform, isProgram));
  return [...new Set([...chosen, ...found.filter((one) => one !== undefined)])];
}

/** The first that is new enough and can make virtual environments, or words on why none is. */
export async function basePython(pythons: readonly string[], run: Run): Promise<BasePython> {
  const unfit: string[] = [];
  for (const python of pythons) {
    const { code, said } = await run(python, ["-I", "-c", LOOK], { signal: AbortSignal.timeout(30_000) }).catch(() => ({ code: 1, said: [] }));
    const [major, minor, micro, able] = (said[said.length - 1] ?? "").split(" ");
    if (code !== 0 || able === undefined) {
      continue;
    }
    const version = `${major}.${minor}.${micro}`;
    if (Number(major) !== OLDEST[0] || Number(minor) < OLDEST[1]) {
      unfit.push(`${python} is ${version}`);
    } else if (able !== "venv") {
      unfit.push(`${python} has no venv module (on Debian and Ubuntu: apt install python3-venv)`);
    } else {
      return { path: python, version };
    }
  }
  const found = unfit.length === 0 ? "none was found" : unfit.join("; ");
  throw new InstallFailed(
    `Python ${OLDEST.join(".")} or newer is needed, and ${found}. Install one, then try again`,
  );
}

/** Build a new environment and make it the one that counts; what fails leaves nothing. */
export async function install(
  storage: string,
  bundle: Bundle,
  base: BasePython,
  run: Run,
  signal: AbortSignal,
  report: (doing: string) => void,
): Promise<Installed> {
  await fs.promises.mkdir(storage, { recursive: true });
  const folder = path.join(storage, `${bundle.version}-${randomBytes(4).toString("hex")}`);
  await mark(folder);
  try {
    // What pip unpacks goes where there has to be room anyway, and goes away with the folder.
    const temporary = path.join(folder, "tmp");
    await fs.promises.mkdir(temporary);
    const env = { TMPDIR: temporary, TEMP: temporary, TMP: temporary, PIP_USER: "0" };
    const python = path.join(folder, PROGRAM);
    const step = async (command: string, args: readonly string[]): Promise<readonly string[]> => {
      const onLine = (line: string): void => {
        const doing = doingOf(line);
        if (doing !== undefined) {
          report(doing);
        }
      };
      const { code, said } = await run(command, args, { cwd: storage, env, signal, onLine });
      if (signal.aborted) {
        throw new InstallCancelled("cancelled");
      }
      if (code !== 0) {
        throw new InstallFailed(reasonOf(said));
      }
      return said;
    };
    report("making a virtual environment");
    await step(base.path, ["-I", "-m", "venv", folder]);
    report("looking for packages");
    // -I: neither what PYTHONPATH names nor the user's own packages count as installed.
    const pip = ["-I", "-m", "pip", "install", "--disable-pip-version-check", "--no-input"];
    pip.push("--no-color", "--progress-bar", "off", "--only-binary", ":all:");
    await step(python, [...pip, "-c", bundle.constraints, `${bundle.wheel}[gguf]`]);
    report("trying the server");
    await step(python, ["-P", "-m", "dlm_server", "--version"]);
    await fs.promises.rm(temporary, { recursive: true, force: true });
    await point(storage, { folder: path.basename(folder), version: bundle.version, digest: bundle.digest });
    return { folder, python, version: bundle.version, digest: bundle.digest };
  } catch (error) {
    // What cannot be removed now is removed at the next start.
    await remove(storage, folder).catch(() => undefined);
    throw error;
  }
}

/** Say that this process uses the environment in `folder`, or builds it. */
export async function mark(folder: string): Promise<void> {
  await fs.promises.mkdir(path.join(folder, "users"), { recursive: true });
  await fs.promises.writeFile(path.join(folder, "users", String(process.pid)), "");
}

/** Remove what does not count and no living process uses; `left` is used no more by this one. */
export async function tidy(storage: string, left: string | undefined): Promise<void> {
  if (left !== undefined) {
    await fs.promises.rm(path.join(left, "users", String(process.pid)), { force: true });
  }
  const kept = installedIn(storage)?.folder;
  for (const entry of await fs.promises.readdir(storage, { withFileTypes: true }).catch(() => [])) {
    const folder = path.join(storage, entry.name);
    if (!entry.isDirectory() || folder === kept) {
      continue;
    }
    // One without the file that venv writes first is being begun, or is nothing.
    const built = fs.existsSync(path.join(folder, "pyvenv.cfg"));
    if (entry.name.startsWith(GONE) || (built && !(await inUse(folder)))) {
      await remove(storage, folder);
    }
  }
}

/** Under another name first: what is stopped half way is then known to be no environment. */
async function remove(storage: string, folder: string): Promise<void> {
  const name = path.basename(folder);
  const gone = path.join(storage, name.startsWith(GONE) ? name : `${GONE}${name}`);
  await fs.promises.rename(folder, gone);
  await fs.promises.rm(gone, { recursive: true, force: true });
}

async function inUse(folder: string): Promise<boolean> {
  const users = await fs.promises.readdir(path.join(folder, "users")).catch(() => []);
  return users.some((user) => {
    try {
      process.kill(Number(user), 0);
      return true;
    } catch (error) {
      return (error as NodeJS.ErrnoException).code === "EPERM";
    }
  });
}

async function point(storage: string, said: object): Promise<void> {
  const beside = path.join(storage, `${POINTER}.${randomBytes(4).toString("hex")}`);
  const file = await fs.promises.open(beside, "w");
  try {
    await file.writeFile(`${JSON.stringify(said)}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  await fs.promises.rename(beside, path.join(storage, POINTER));
}

/** A line of pip's as a person may want to read it; undefined for those that only fill. */
export function doingOf(line: string): string | undefined {
  if (/^WARNING: Retrying/.test(line)) {
    return "waiting for the network";
  }
  const [, verb, what] = /^\s*(Collecting|Downloading|Using cached|Installing collected packages:)\s+(\S.*)/.exec(line) ?? [];
  switch (verb) {
    case "Collecting":
      return `looking at ${/^[\w.-]+/.exec(what ?? "")?.[0] ?? what}`;
    case "Downloading":
    case "Using cached": {
      // torch-2.13.0-cp312-….whl (190 MB), .metadata of which is only looked at
      const [, name, version, size] = /([^/\s]+?)-(\d[^-\s]*)-\S*\.whl\s+(\(.*\))/.exec(what ?? "") ?? [];
      return name === undefined ? undefined : `downloading ${name} ${version} ${size}`;
    }
    case "Installing collected packages:":
      return "unpacking; this takes a minute or more";
    default:
      return undefined;
  }
}

/** What went wrong, from what pip and venv said. */
export function reasonOf(said: readonly string[]): string {
  const all = said.join("\n");
  const error = said.filter((line) => /^ERROR:|Error:/.test(line)).pop() ?? said[said.length - 1] ?? "it said nothing";
  const words = error.replace(/^ERROR:\s*/, "").trim().replace(/\.$/, "");
  if (/No space left on device|Errno 28/.test(all)) {
    return "there is no room left on the disk";
  }
  if (/NewConnectionError|ConnectTimeout|ReadTimeout|ProxyError|SSLError|connection broken|Name or service not known/i.test(all)) {
    return "packages cannot be downloaded; is there a network, and does pip need a proxy or an index of its own?";
  }
  // With a constraint pip calls a package that it does not find a conflict.
  const [, missing] = /No matching distribution found for (\S+)|requested \(constraint\) (\S+)/
    .exec(all)
    ?.filter((part) => part !== undefined) ?? [];
  if (missing !== undefined) {
    return `pip finds no ${missing} for this Python and system`;
  }
  return words;
}

function read(file: string): Record<string, unknown> | undefined {
  try {
    const said: unknown = JSON.parse(fs.readFileSync(file, "utf-8"));
    return typeof said === "object" && said !== null ? (said as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** Run a program to its end or until `signal`; its lines, of both streams. */
export const runProgram: Run = (command, args, { cwd, env, signal, onLine }) =>
  new Promise((resolve, reject) => {
    const said: string[] = [];
    const child = spawn(command, [...args], {
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
      windowsHide: true,
      // A group of its own: what the program has started ends with it.
      detached: process.platform !== "win32",
      ...(cwd === undefined ? {} : { cwd }),
    });
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on("line", (line) => {
        said.push(line);
        onLine?.(line);
      });
    }
    const stop = (): void => kill(child);
    signal?.addEventListener("abort", stop);
    child.on("error", (error) => {
      signal?.removeEventListener("abort", stop);
      reject(error);
    });
    child.on("close", (code) => {
      signal?.removeEventListener("abort", stop);
      resolve({ code, said });
    });
    if (signal?.aborted) {
      stop();
    }
  });

function kill(child: ChildProcess): void {
  if (child.pid === undefined) {
    return;
  }
  if (process.platform === "win32") {
    spawn("taskkill", ["/pid", String(child.pid), "/t", "/f"], { windowsHide: true });
    return;
  }
  try {
    process.kill(-child.pid, "SIGKILL");
  } catch {
    // It has ended by itself.
  }
}
