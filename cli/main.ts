/** `npm run landfall -- …` */
import { Command } from "commander";
import pc from "picocolors";
import { connect, UsageError } from "./connect.ts";
import { openPod, type PodOptions } from "./local.ts";
import { showStatus } from "./status.ts";
import { listTenants, putTenant, removeTenant, showTenant } from "./tenants.ts";

const program = new Command("landfall")
  .description("One global endpoint for many tenants.")
  .option("--stage <name>", "a deployed stage; without it, the embedded cloud of `npm run dev`");
program.hook("preAction", (_, action) => {
  if (action.parent?.name() !== "local") connect(program.opts<{ stage?: string }>().stage);
});

const tenant = program.command("tenant").description("write tenant records and see what became of them");
tenant.command("put").argument("<file>", "a record in JSON; - reads standard input").action(putTenant);
tenant
  .command("show")
  .argument("<id>")
  .option("--json", "one line of JSON")
  .action((id: string, { json = false }: { json?: boolean }) => showTenant(id, json));
tenant
  .command("list")
  .option("--json", "one line of JSON")
  .action(({ json = false }: { json?: boolean }) => listTenants(json));
tenant.command("rm").argument("<id>").action(removeTenant);

program
  .command("status")
  .description("cells, edges, and their weights in the accelerator")
  .option("--json", "one line of JSON")
  .action(({ json = false }: { json?: boolean }) => showStatus(json));

program
  .command("local")
  .description("what only the embedded cloud has")
  .command("pod")
  .description("gives a real server an address in a region, behind that region's distance, until the cloud stops")
  .requiredOption("--region <region>")
  .requiredOption("--target <host:port>", "the real server")
  .option("--port <port>", "where the pod listens; the target's port by default")
  .option("--address <address>", "an address that a pod of the region has already")
  .action((options: PodOptions) => openPod(options));

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof UsageError) console.error(pc.red(error.message));
  else console.error(pc.red(`failed: ${error instanceof Error ? error.message : String(error)}`));
  process.exitCode = 1;
}
