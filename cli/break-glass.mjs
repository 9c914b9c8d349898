#!/usr/bin/env node
// Sets weights and dials of Global Accelerator when nothing of Landfall works: it needs this file, Node 18 or later and
// @aws-sdk/client-global-accelerator, and credentials for the account.
//
//   node break-glass.mjs save LISTENER_ARN > state.json     what is there now, to keep with the runbooks
//   node break-glass.mjs apply state.json                   what would change: edit weights and dials in the file first
//   node break-glass.mjs apply state.json --yes             writes it
//
// Exit codes: 0 done, 1 failed, 2 it would change something. If the controller still runs, set its mode to `monitor` first:
// otherwise it writes what it believes.
import { readFileSync } from "node:fs";
import {
  GlobalAcceleratorClient,
  paginateListEndpointGroups,
  UpdateEndpointGroupCommand,
} from "@aws-sdk/client-global-accelerator";

const client = new GlobalAcceleratorClient({ region: "us-west-2" }); // the API answers nowhere else

/** @returns {Promise<{ listenerArn: string, groups: { region: string, arn: string, dial: number, endpoints: { id: string, weight: number, health?: string }[] }[] }>} */
async function read(listenerArn) {
  const groups = [];
  for await (const page of paginateListEndpointGroups({ client }, { ListenerArn: listenerArn }))
    for (const group of page.EndpointGroups ?? [])
      groups.push({
        region: group.EndpointGroupRegion,
        arn: group.EndpointGroupArn,
        dial: group.TrafficDialPercentage ?? 100,
        endpoints: (group.EndpointDescriptions ?? []).map(({ EndpointId, Weight = 128, HealthState }) => ({
          id: EndpointId,
          weight: Weight,
          health: HealthState,
        })),
      });
  return { listenerArn, groups: groups.sort((a, b) => (a.region < b.region ? -1 : 1)) };
}

/** What must never be written, whatever the file says. */
function faultIn({ groups }) {
  const isWhole = (value, most) => Number.isInteger(value) && value >= 0 && value <= most;
  for (const { region, dial, endpoints } of groups) {
    if (endpoints.length === 0) return `${region} has no endpoint: an empty list would detach all of them`;
    if (!(dial >= 0 && dial <= 100)) return `the dial of ${region} is not from 0 to 100: ${dial}`;
    const bad = endpoints.find(({ weight }) => !isWhole(weight, 255));
    if (bad !== undefined) return `the weight of ${bad.id} is not a whole number from 0 to 255: ${bad.weight}`;
  }
  const takes = groups.some(({ dial, endpoints }) => dial > 0 && endpoints.some(({ weight }) => weight > 0));
  return takes ? undefined : "no endpoint would take users: leave one weight and its dial above 0";
}

/** Groups that would change, those that gain weight first, so that users always have somewhere to go. */
function changesFrom(now, wanted) {
  const load = ({ dial, endpoints }) => dial * endpoints.reduce((sum, { weight }) => sum + weight, 0);
  return wanted.groups
    .map((group) => ({ group, old: now.groups.find(({ arn }) => arn === group.arn) }))
    .filter(({ group, old }) => old === undefined || linesOf(old, group).length > 0)
    .sort((a, b) => load(b.group) - load(b.old ?? b.group) - (load(a.group) - load(a.old ?? a.group)));
}

function linesOf(old, group) {
  const before = new Map(old.endpoints.map(({ id, weight }) => [id, weight]));
  const after = new Map(group.endpoints.map(({ id, weight }) => [id, weight]));
  const ids = [...new Set([...before.keys(), ...after.keys()])].filter((id) => before.get(id) !== after.get(id));
  return [
    ...(old.dial === group.dial ? [] : [`dial of ${group.region}: ${old.dial} → ${group.dial} %`]),
    ...ids.map(
      (id) => `weight of ${id} (${group.region}): ${before.get(id) ?? "none"} → ${after.get(id) ?? "removed"}`,
    ),
  ];
}

async function apply(file, isMeant) {
  const wanted = JSON.parse(readFileSync(file, "utf8"));
  const fault = faultIn(wanted);
  if (fault !== undefined) throw new Error(`${file}: ${fault}`);
  const changes = changesFrom(await read(wanted.listenerArn), wanted);
  for (const { group, old } of changes) {
    if (old === undefined) throw new Error(`${group.arn} is not there any more: save the state again`);
    for (const line of linesOf(old, group)) console.log(line);
  }
  if (changes.length === 0) return console.log("nothing would change");
  if (!isMeant) {
    console.log("nothing is done yet: say --yes");
    process.exitCode = 2;
    return;
  }
  for (const { group } of changes) {
    const EndpointConfigurations = group.endpoints.map(({ id, weight }) => ({
      EndpointId: id,
      Weight: weight,
      ClientIPPreservationEnabled: true,
    }));
    await client.send(
      new UpdateEndpointGroupCommand({
        EndpointGroupArn: group.arn,
        TrafficDialPercentage: group.dial,
        EndpointConfigurations,
      }),
    );
    console.log(`written: ${group.region}`);
  }
}

const [command, target, ...more] = process.argv.slice(2);
try {
  if (command === "save" && target !== undefined) console.log(JSON.stringify(await read(target), null, 2));
  else if (command === "apply" && target !== undefined) await apply(target, more.includes("--yes"));
  else throw new Error("say: break-glass.mjs save LISTENER_ARN, or: break-glass.mjs apply FILE [--yes]");
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
}
