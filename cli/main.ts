/** `npm run landfall -- …` */
import { Command } from "commander";
import pc from "picocolors";
import { connect, UsageError } from "./connect.ts";
import { openPod, type PodOptions } from "./local.ts";
import { rebuild } from "./rebuild.ts";
import { showStatus } from "./status.ts";
import { listTenants, putTenant, removeTenant, type ShowOptions, showTenant } from "./tenants.ts";

const program = new Command("landfall")
  .description("One global endpoint for many tenants.")
  .option("--stage <name>", "a deployed stage; without it, the embedded cloud of `npm run dev`");
program.hook("preAction", (_, action) => {
  const { stage } = program.opts<{ stage?: string }>();
  if (action.parent?.name() !== "local") connect(stage);
  else if (stage !== undefined) throw new UsageError("`local` is the embedded cloud's: leave --stage out");
});

const tenant = program.command("tenant").description("write tenant records and see what became of them");
tenant
  .command("put")
  .description("writes a record, after checking that this fleet could serve it")
  .argument("<file>", "a record in JSON; - reads standard input")
  .option("--wait", "wait until it is served or rejected; the exit status says which")
  .action((file: string, { wait = false }: { wait?: boolean }) => putTenant(file, wait));
tenant
  .command("show")
  .description("what a tenant is served as, or why not")
  .argument("<id>")
  .option("--json", "one line of JSON")
  .option("--trace", "the life of its latest change: stream, admission, commit, each edge")
  .action((id: string, options: ShowOptions) => showTenant(id, options));
tenant
  .command("list")
  .description("every tenant in one table")
  .option("--json", "one line of JSON")
  .action(({ json = false }: { json?: boolean }) => listTenants(json));
tenant.command("rm").description("deletes a tenant's record").argument("<id>").action(removeTenant);

program
  .command("status")
  .description("cells, edges, and their weights in the accelerator")
  .option("--json", "one line of JSON")
  .action(({ json = false }: { json?: boolean }) => showStatus(json));

program
  .command("rebuild")
  .description("reads the snapshots back into a ledger that is behind them (restored from a backup, or lost)")
  .option("--apply", "write it; without, say what would be written")
  .action(({ apply = false }: { apply?: boolean }) => rebuild(apply));

program
  .command("local")
  .description("what only the embedded cloud has")
  .command("pod")
  .description("gives a real server an address in a region, behind that region's distance, until the cloud stops")
  .requiredOption("--region <region>", "where its address is")
  .requiredOption("--target <host:port>", "the real server")
  .option("--port <port>", "where the pod listens; the target's port by default")
  .option("--address <address>", "an address that a pod of the region has already")
  .action((options: PodOptions) => openPod(options));

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof UsageError) console.error(pc.red(error.message));
  else if ((error as NodeJS.ErrnoException).code === "ECONNREFUSED" || /ECONNREFUSED/.test(String(error)))
    console.error(pc.red("the embedded cloud does not answer any more: start it with `npm run dev`"));
  else console.error(pc.red(`failed: ${error instanceof Error ? error.message : String(error)}`));
  process.exitCode = 1;
}
