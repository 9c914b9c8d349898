/** `npm run landfall -- …` */
import { Command } from "commander";
import pc from "picocolors";
import { connect, UsageError } from "./connect.ts";
import { endPin, explainFailover, type PinOptions, setPin } from "./failover.ts";
import { changePath, openPod, type PathOptions, type PodOptions, setDns } from "./local.ts";
import { drainEdge, evacuate, type MoveOptions, restore } from "./move.ts";
import { grantName, releaseName, showName } from "./names.ts";
import { rebuild } from "./rebuild.ts";
import { showStatus } from "./status.ts";
import { retryStructure } from "./structure.ts";
import { listTenants, putTenant, removeTenant, type ShowOptions, showTenant } from "./tenants.ts";

const program = new Command("landfall")
  .description("One global endpoint for many tenants.")
  .option("--stage <name>", "a deployed stage; without it, the embedded cloud of `npm run dev`");
program.hook("preAction", (_, action) => {
  const { stage } = program.opts<{ stage?: string }>();
  if (action.parent?.name() !== "local") connect(stage);
  else if (stage !== undefined) throw new UsageError("`local` works only with the embedded cloud: leave --stage out");
});

const tenant = program.command("tenant").description("write tenant records and show their state");
tenant
  .command("put")
  .description("writes a record, if this fleet can serve it")
  .argument("<file>", "a record in JSON; - reads standard input")
  .option("--wait", "wait until it is served or rejected; the exit status shows which")
  .action((file: string, { wait = false }: { wait?: boolean }) => putTenant(file, wait));
tenant
  .command("show")
  .description("shows how a tenant is served, or why not")
  .argument("<id>")
  .option("--json", "one line of JSON")
  .option("--trace", "the times of its latest change: stream, admission, commit, each edge")
  .action((id: string, options: ShowOptions) => showTenant(id, options));
tenant
  .command("list")
  .description("every tenant in one table")
  .option("--json", "one line of JSON")
  .action(({ json = false }: { json?: boolean }) => listTenants(json));
tenant.command("rm").description("deletes a tenant's record").argument("<id>").action(removeTenant);

const name = program.command("name").description("who has which names, and who may have them");
name
  .command("who")
  .description("shows who has a name or a wildcard, why, since when, and who has names around it")
  .argument("<name>", "as in access.acme.com or '*.acme.com'")
  .option("--json", "one line of JSON")
  .action((text: string, { json = false }: { json?: boolean }) => showName(text, json));
name
  .command("grant")
  .description("keeps a name and all that lies below it for one tenant, until it is released")
  .argument("<name>")
  .argument("<tenant>")
  .requiredOption("--why <reason>", "is kept with the decision")
  .action((text: string, tenantId: string, { why }: { why: string }) => grantName(text, tenantId, why));
name
  .command("release")
  .description("ends a grant, and the time for which a name that was given up stays reserved")
  .argument("<name>")
  .requiredOption("--why <reason>", "is kept with the decision")
  .action((text: string, { why }: { why: string }) => releaseName(text, why));

program
  .command("status")
  .description("cells, edges, and their weights in the accelerator")
  .option("--json", "one line of JSON")
  .action(({ json = false }: { json?: boolean }) => showStatus(json));

program
  .command("pin")
  .description("gives an edge a weight or a region a dial for a time, whatever failover believes; the rails still hold")
  .argument("<kind>", "edge or region")
  .argument("<target>", "the edge's id, or the region")
  .option("--weight <0-255>", "of an edge; 128 is its whole share")
  .option("--dial <0-100>", "of a region")
  .option("--out", "no new users: weight 0, or dial 0")
  .requiredOption("--for <time>", "1m to 72h, as in 2h")
  .requiredOption("--why <reason>", "is shown wherever the pin is")
  .option("--cell <name>", "where several cells have the region")
  .action((kind: string, target: string, options: PinOptions) => setPin(kind, target, options));
program
  .command("unpin")
  .description("ends a pin")
  .argument("<kind>", "edge or region")
  .argument("<target>")
  .option("--cell <name>", "where several cells have the region")
  .action((kind: string, target: string, options: { cell?: string }) => endPin(kind, target, options));
const moving = (command: Command) =>
  command
    .option("--cell <name>", "where several cells have it")
    .option("--yes <hash>", "does what the plan with this hash says, if it still says so")
    .option("--json", "one line of JSON");
moving(program.command("evacuate").description("shows what taking a region out would do, and does it with --yes"))
  .argument("<region>")
  .requiredOption("--for <time>", "1m to 72h, as in 2h")
  .requiredOption("--why <reason>", "is shown wherever the pin is")
  .action((region: string, options: MoveOptions) => evacuate(region, options));
moving(program.command("drain").description("the same for one edge"))
  .argument("<edge>", "the edge's id")
  .requiredOption("--for <time>", "1m to 72h, as in 2h")
  .requiredOption("--why <reason>", "is shown wherever the pin is")
  .action((edgeId: string, options: MoveOptions) => drainEdge(edgeId, options));
moving(program.command("restore").description("shows how a region or an edge would return, and begins it with --yes"))
  .argument("<target>", "a region, or an edge's id")
  .action((target: string, options: MoveOptions) =>
    restore(target.startsWith("i-") ? "edge" : "region", target, options),
  );
program
  .command("explain")
  .description("what failover sees of an edge, a region or a cell, what it decides, and what it did and why")
  .argument("<kind>", "edge, region or cell")
  .argument("<target>")
  .option("--at <time>", "the decision that was the last one then, as in 2026-11-28T14:04:31Z")
  .option("--cell <name>", "where several cells have the region")
  .option("--json", "one line of JSON")
  .action((kind: string, target: string, options: { at?: string; cell?: string; json?: boolean }) =>
    explainFailover(kind, target, options),
  );

program
  .command("rebuild")
  .description("rebuilds a ledger from the snapshots when it is behind them (restored from a backup, or lost)")
  .option("--apply", "write the ledger; without it, show what would be written")
  .action(({ apply = false }: { apply?: boolean }) => rebuild(apply));

const structure = program.command("structure").description("what edges run beside the routes: nginx.conf, router");
structure
  .command("retry")
  .description("tries a structure again that was returned because an edge refused it or got worse")
  .argument("<cell>")
  .action((cell: string) => retryStructure(cell));

const local = program.command("local").description("what only the embedded cloud has");
local
  .command("pod")
  .description("gives a real server an address in a region, behind that region's distance, until the cloud stops")
  .requiredOption("--region <region>", "where its address is")
  .requiredOption("--target <host:port>", "the real server")
  .option("--port <port>", "the pod's port; by default the target's port")
  .option("--address <address>", "the address of an existing pod in the region")
  .action((options: PodOptions) => openPod(options));
local
  .command("dns")
  .description("sets what the embedded cloud's DNS answers for a name, such as a proof or a load balancer's addresses")
  .argument("<name>")
  .argument("<type>", "TXT, A or AAAA")
  .argument("[values...]", "none removes the records")
  .action((name: string, type: string, values: string[]) => setDns(name, type, values));
local
  .command("network")
  .description("makes the way between two places worse, for open connections too, until --clear or the cloud stops")
  .requiredOption("--from <place>", "a city, a region, or an address")
  .requiredOption("--to <place>", "a city, a region, or an address")
  .option("--loss <share>", "share of segments that are lost, as in 2%")
  .option("--jitter <time>", "how much later a segment may be, as in 20ms")
  .option("--rtt <time>", "round trip instead of the measured one, as in 300ms")
  .option("--cut", "nothing passes")
  .option("--clear", "as measured again")
  .action((options: PathOptions) => changePath(options));

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof UsageError) console.error(pc.red(error.message));
  else if ((error as NodeJS.ErrnoException).code === "ECONNREFUSED" || /ECONNREFUSED/.test(String(error)))
    console.error(pc.red("the embedded cloud does not answer any more: start it with `npm run dev`"));
  else console.error(pc.red(`failed: ${error instanceof Error ? error.message : String(error)}`));
  process.exitCode = 1;
}
