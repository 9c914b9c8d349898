/** `npm run demo`: shows all of Landfall on one machine. `-- --json` adds a last line with every figure. */
import path from "node:path";
import { Command } from "commander";
import pc from "picocolors";
import { connectTo } from "../../cli/connect.ts";
import { localDir } from "../../schemas/local.ts";
import { Cloud } from "../cloud.ts";
import type { ProfileName } from "../latency.ts";
import { profileOption } from "../options.ts";
import { isAlive } from "../processes.ts";
import { untilStopped } from "../signals.ts";
import { must, StepFailed, Story } from "./story.ts";
import { ConnectionFailed } from "./user.ts";

const options = new Command("npm run demo --")
  .description("Shows all of Landfall on this machine. Exits with 0 only if every step passes.")
  .addOption(profileOption())
  .option("--json", "print every figure in a last line of JSON")
  .parse()
  .opts<{ profile: ProfileName; json?: boolean }>();
const { profile } = options;

const dir = path.join(localDir, "demo");
/** What failed inside the cloud. */
const faults: string[] = [];
const began = Date.now();
const seconds = () => `${((Date.now() - began) / 1000).toFixed(1)} s`.padStart(7);
const say = (text: string) => console.log(text);
let stopping = false;
let cloud: Cloud | undefined;
let story: Story | undefined;
const figures: Record<string, unknown> = { profile };

async function step(title: string, work: () => Promise<string>): Promise<void> {
  say(`${pc.dim(seconds())}  ${pc.bold(title)}`);
  say(`         ${pc.green("✓")} ${await work()}`);
}

async function tell(): Promise<void> {
  await step("The cloud boots from infra.lock.json", async () => {
    cloud = await Cloud.boot({ dir, profile, onFault: (error, what) => faults.push(`${what}: ${String(error)}`) });
    connectTo(cloud.endpoints());
    const { viewTenant } = await import("../../cli/view.ts");
    const { viewStatus } = await import("../../cli/status.ts");
    story = new Story(cloud, { tenant: viewTenant, status: viewStatus }, say);
    return story.ready();
  });
  const { servers, tenants, cities, edgeDies, regionOut, deletion } = bound(story!);
  await step("Tenants run their own proxies", servers);
  await step("Tenant records are written", tenants);
  await step("Users connect from six cities and press keys", cities);
  await step("An edge dies under traffic", edgeDies);
  await step("A region is taken out by a health event, and brought back", regionOut);
  await step("A tenant is deleted", deletion);
  Object.assign(figures, story!.figures);
  await step("Everything is shut down", shutDown);
}

const bound = (told: Story) => ({
  servers: () => told.servers(),
  tenants: () => told.tenants(),
  cities: () => told.cities(),
  edgeDies: () => told.edgeDies(),
  regionOut: () => told.regionOut(),
  deletion: () => told.deletion(),
});

async function shutDown(): Promise<string> {
  const pids = (cloud?.endpoints().edges ?? [])
    .flatMap(({ pid, agentPid }) => [pid, agentPid])
    .filter((pid) => pid !== undefined);
  story?.close();
  await cloud?.stop();
  const left = pids.filter(isAlive);
  must(left.length === 0, `no process is left (still running: ${left.join(", ")})`);
  return `${pids.length} processes ended, none is left`;
}

const outcome = await Promise.race([
  tell().then(
    () => 0,
    (error: unknown) => {
      if (stopping) return 1; // errors that the shutdown causes are not reported
      const isExplained = error instanceof StepFailed || error instanceof ConnectionFailed;
      say(`         ${pc.red("✗")} ${isExplained ? error.message : String((error as Error).stack)}`);
      for (const fault of faults.slice(-5)) say(`         ${pc.dim("the cloud reported")} ${fault.slice(0, 500)}`);
      say(`         ${pc.dim("logs")} ${path.relative(process.cwd(), dir)}/logs (functions), …/edges/*/agent.log`);
      return 1;
    },
  ),
  untilStopped().then((signal) => {
    stopping = true;
    say(`\n${signal}: shutting down`);
    return signal === "SIGTERM" ? 143 : 130;
  }),
]);
if (outcome !== 0) await shutDown().catch((error) => console.error(error));
Object.assign(figures, { seconds: Math.round((Date.now() - began) / 100) / 10, ok: outcome === 0 });
if (outcome === 0) say(`${pc.dim(seconds())}  ${pc.green("Every step passed.")} Keep it running with: npm run dev`);
if (options.json) console.log(JSON.stringify(figures));
process.exit(outcome);
