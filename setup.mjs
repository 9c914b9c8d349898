// Sets up what a fresh machine lacks, then runs a script under the pinned Node. Written for the Node that the machine
// has (20 or later). `exec` in the npm scripts matters: without it, SIGTERM to npm orphans the child.
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = path.dirname(fileURLToPath(import.meta.url));
const pinned = path.join(root, "node_modules/node/bin/node");

installPackages();
const words = process.argv.slice(2);
while (words[0]?.startsWith("--")) install(words.shift().slice(2));
const [script, ...args] = words;
if (script !== undefined) run(script, args);

/** Once per lock file; an `npm ci` that was interrupted leaves no stamp and is done again. */
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
  // With ignore-scripts, npm leaves Node 24 out without a word.
  if (!existsSync(pinned) && !(npm("rebuild", "node", "--ignore-scripts=false") && existsSync(pinned)))
    fail("Node 24 is missing: run `npm rebuild node --ignore-scripts=false`");
  writeFileSync(stamp, lock);
}

/** `--edge` is what an edge runs on, `--clients` the programs whose protocols the tests speak, `--peers` what benches compare with. */
function install(what) {
  const needs = {
    edge: {
      packages: ["nginx", "libnginx-mod-stream", "libnginx-mod-stream-js", "iproute2", "libjemalloc2"],
      here: hasEdge,
    },
    clients: {
      packages: ["openssh-server", "openssh-client", "curl", "openssl", "postgresql"],
      here: () => ["sshd", "ssh", "curl", "openssl", "psql"].every(hasCommand) && existsSync("/usr/lib/postgresql"),
    },
    peers: { packages: ["haproxy"], here: () => hasCommand("haproxy") },
  };
  const need = needs[what];
  if (need === undefined) fail(`setup knows no --${what}: use ${Object.keys(needs).join(", ")}`);
  const { packages, here } = need;
  if (here()) return;
  const options = { stdio: ["ignore", 2, 2], env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" } };
  const apt = (...words) => spawnSync("apt-get", ["-qq", ...words], options);
  if (process.getuid() !== 0 || apt("--version").error !== undefined)
    fail(`programs are missing: install them, on Debian with \`apt-get install ${packages.join(" ")}\``);
  console.error(`setting up: ${packages.join(", ")} …`);
  apt("update");
  if (withoutServices(() => apt("install", "-y", "--no-install-recommends", ...packages)).status !== 0 || !here())
    fail(`apt-get could not install ${packages.join(", ")}`);
}

/** Servers that come with packages are not to be started: Debian asks this file. */
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

/** Debian has servers where only root's PATH looks. */
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
  const parent = process.ppid; // an npm that was killed outright tells nobody
  setInterval(() => {
    if (process.ppid !== parent) child.kill("SIGTERM");
  }, 500).unref();
  child.on("close", (code, signal) => process.exit(code ?? 128 + constants.signals[signal]));
}

function fail(message) {
  console.error(message);
  process.exit(1);
}
