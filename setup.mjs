// Installs what a fresh machine lacks, then runs a script with the pinned Node. This file itself runs on the machine's
// Node (20 or later). The npm scripts need `exec`: without it, SIGTERM to npm orphans the child.
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = path.dirname(fileURLToPath(import.meta.url));
const pinned = path.join(root, "node_modules/node/bin/node");

const words = process.argv.slice(2);
const wantsHelp = words.includes("--help");
if (wantsHelp && words.every((word) => word.startsWith("--"))) help();
installPackages();
while (words[0]?.startsWith("--")) install(words.shift().slice(2));
const [script, ...args] = words;
if (script !== undefined) run(script, args);

/** Runs once per lock file. An interrupted `npm ci` leaves no stamp and is repeated. */
function installPackages() {
  const stamp = path.join(root, "node_modules/.landfall-setup");
  const lock = createHash("sha256")
    .update(readFileSync(path.join(root, "package-lock.json")))
    .digest("hex");
  if (existsSync(pinned) && existsSync(stamp) && readFileSync(stamp, "utf8") === lock) return;
  // npm's own variables (this runs inside `npm run`) would make the inner npm act as the outer one.
  const keep = (name) =>
    !name.startsWith("npm_") || name.startsWith("npm_config_registry") || name.startsWith("npm_config_cache");
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => keep(name)));
  const npm = (...words) => spawnSync("npm", words, { cwd: root, stdio: ["ignore", 2, 2], env }).status === 0;
  console.error("setting up: npm packages, among them Node 24 …");
  if (!npm("ci", "--include=dev", "--no-audit", "--no-fund", "--loglevel=error")) fail("`npm ci` failed: see above");
  // With ignore-scripts, npm omits Node 24 without a warning.
  if (!existsSync(pinned) && !(npm("rebuild", "node", "--ignore-scripts=false") && existsSync(pinned)))
    fail("Node 24 is missing: run `npm rebuild node --ignore-scripts=false`");
  writeFileSync(`${stamp}~`, lock);
  renameSync(`${stamp}~`, stamp); // other scripts read it
}

/**
 * `--edge`: programs of an edge. `--clients`: clients and servers of the tests. `--models`: the model checker. `--peers`: for
 * comparison.
 */
function install(what) {
  const clients = {
    "openssh-server": () => hasCommand("sshd"),
    "openssh-client": () => hasCommand("ssh"),
    curl: () => hasCommand("curl"),
    openssl: () => hasCommand("openssl"),
    postgresql: () => hasCommand("psql") && existsSync("/usr/lib/postgresql"),
    "mariadb-server-core": () => hasCommand("mariadbd") && hasCommand("mariadb-install-db"),
    "mariadb-client-core": () => hasCommand("mariadb"),
    "kubernetes-client": () => hasCommand("kubectl"),
  };
  const needs = {
    edge: {
      packages: ["nginx", "libnginx-mod-stream", "libnginx-mod-stream-js", "iproute2", "libjemalloc2"],
      here: hasEdge,
    },
    clients: {
      // Only what is missing: kubectl also comes from Kubernetes' own packages, which Debian's can't be beside.
      packages: Object.keys(clients).filter((name) => !clients[name]()),
      here: () => Object.values(clients).every((isHere) => isHere()),
    },
    models: { packages: ["spin", "gcc", "libc6-dev"], here: () => ["spin", "gcc"].every(hasCommand) },
    peers: { packages: ["haproxy"], here: () => hasCommand("haproxy") },
  };
  const need = needs[what];
  if (need === undefined) fail(`setup has no option --${what}: use ${Object.keys(needs).join(", ")}`);
  const { packages, here } = need;
  if (wantsHelp || here()) return;
  const options = { stdio: ["ignore", 2, 2], env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" } };
  const apt = (...words) => spawnSync("apt-get", ["-qq", ...words], options);
  if (process.getuid() !== 0 || apt("--version").error !== undefined)
    fail(`programs are missing: install them, on Debian with \`apt-get install ${packages.join(" ")}\``);
  console.error(`setting up: ${packages.join(", ")} …`);
  apt("update");
  if (withoutServices(() => apt("install", "-y", "--no-install-recommends", ...packages)).status !== 0 || !here())
    fail(`apt-get could not install ${packages.join(", ")}`);
}

/** Prevents packages from starting their servers: Debian reads this file first. */
function withoutServices(work) {
  const policy = "/usr/sbin/policy-rc.d";
  if (existsSync(policy)) return work();
  writeFileSync(policy, "#!/bin/sh\nexit 101\n", { mode: 0o755 });
  try {
    return work();
  } finally {
    rmSync(policy);
  }
}

function hasEdge() {
  const folders = ["/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules"];
  const njs = folders.some((folder) => existsSync(path.join(folder, "ngx_stream_js_module.so")));
  return njs && ["nginx", "ss"].every(hasCommand);
}

function hasCommand(name) {
  return spawnSync("sh", ["-c", `command -v ${name}`], { stdio: "ignore", env: fullEnv() }).status === 0;
}

/** Debian installs servers in a directory that only root's PATH has. */
function fullEnv() {
  return { ...process.env, PATH: `${process.env.PATH}${path.delimiter}/usr/sbin` };
}

function run(script, args) {
  const bin = path.join(root, "node_modules/.bin");
  const child = spawn(pinned, [path.resolve(root, script), ...args], {
    stdio: ["inherit", "inherit", "inherit", "ipc"],
    env: { ...fullEnv(), PATH: `${path.dirname(pinned)}${path.delimiter}${bin}${path.delimiter}${fullEnv().PATH}` },
  });
  process.on("SIGINT", () => {}); // the terminal sent it to the whole group
  for (const signal of ["SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
  const parent = process.ppid; // npm sends no signal to its child when it is killed with SIGKILL
  setInterval(() => {
    if (process.ppid !== parent) child.kill("SIGTERM");
  }, 500).unref();
  child.on("close", (code, signal) => process.exit(code ?? 128 + constants.signals[signal]));
}

function help() {
  console.log(`Usage: npm run setup

Installs the pinned npm packages and, on Debian as root, the programs of an edge (nginx with njs). Every other
script does this by itself; see \`npm run\` for their names, and \`npm run NAME -- --help\` for their options.`);
  process.exit(0);
}

function fail(message) {
  console.error(message);
  process.exit(1);
}
