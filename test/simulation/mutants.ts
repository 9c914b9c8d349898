/** Faults that the simulation must find, as text changes to the sources. */
export interface Mutant {
  name: string;
  /** Where the search begins, for a fault that few seeds find. */
  firstSeed?: number;
  changes: { file: string; from: string; to: string }[];
}

export const mutants: Mutant[] = [
  {
    name: "frees slots without a tombstone",
    changes: [
      {
        file: "aws/ledger/admission.ts",
        from: "    ...plan.tombstoneSlots.map(({ protocol, slot, reason }) =>",
        to: `    ...plan.tombstoneSlots.map(({ protocol, slot }): Write => ({
      Put: { TableName, Item: keys.freeSlot(cell, kindOf(protocol), slot) },
    })),
    ...plan.tombstoneSlots.map(({ slot }): Write => ({ Delete: { TableName, Key: keys.slot(cell, slot) } })),
    ...([] as typeof plan.tombstoneSlots).map(({ protocol, slot, reason }) =>`,
      },
      {
        file: "core/admission/admit.ts",
        from: "    claims: [],\n    ...(admitted === undefined &&",
        to: "    claims: [],\n    slots: {},\n    ...(admitted === undefined &&",
      },
    ],
  },
  {
    name: "uses the event's image, not the record",
    changes: [
      {
        file: "functions/admit-tenants.ts",
        from: "  const batch = await beginAttempt(batchId);",
        to: "  const batch = await beginAttempt(batchId);\n  imagesOf = globalThis.simulatedImages(batch.tenantIds, batch.sequences);",
      },
      {
        file: "functions/admit-tenants.ts",
        from: "const hashOf =",
        to: "let imagesOf;\nconst hashOf =",
      },
      {
        file: "functions/admit-tenants.ts",
        from: "const inputs = await readRecords(tenantIds);",
        to: "const inputs = imagesOf(tenantIds) ?? (await readRecords(tenantIds));",
      },
      {
        file: "functions/admit-tenants.ts",
        from: "const records = await readRecords(written);",
        to: "const records = imagesOf(written) ?? (await readRecords(written));",
      },
    ],
  },
  {
    name: "claims names that another tenant has",
    changes: [
      {
        file: "core/names/points.ts",
        from: '    if (other.kind === kind && kind !== "below") return true;',
        to: "    if (other.kind === kind) return false;",
      },
    ],
  },
  {
    name: "gives names above those of others",
    changes: [
      {
        file: "core/names/claims.ts",
        from: "  return [...new Set([...names, ...guarded.map((name) => `@${name}`)])].sort();",
        to: "  return guarded.length < 0 ? [] : [...new Set(names)].sort();",
      },
    ],
  },
  {
    name: "takes a name that changed since it was read",
    changes: [
      {
        file: "aws/ledger/names.ts",
        from: 'this.#conditions.add(known === undefined ? "attribute_not_exists(pk)" : "stamp = :known");',
        to: 'this.#conditions.add("attribute_not_exists(#absent)");',
      },
      {
        file: "aws/ledger/names.ts",
        from: "= {};\n  readonly #values",
        to: '= { "#absent": "absent" };\n  readonly #values',
      },
    ],
  },
  {
    name: "takes a failure that passes for a verdict",
    changes: [
      {
        file: "aws/transient.ts",
        from: "  isTransient(error) || (error instanceof Error",
        to: "  false && (error instanceof Error",
      },
    ],
  },
  {
    name: "writes manifests without a condition",
    changes: [
      {
        file: "aws/snapshots.ts",
        from: '        ...(stored === undefined ? { IfNoneMatch: "*" } : { IfMatch: stored.etag }),\n',
        to: "",
      },
    ],
  },
  {
    name: "ignores the row's version at admission",
    changes: [
      {
        file: "aws/ledger/admission.ts",
        from: '"version = :version", atVersion)',
        to: '"attribute_exists(pk)")',
      },
    ],
  },
  {
    name: "ignores silent edges when freeing slots",
    changes: [
      {
        file: "core/audit/tombstones.ts",
        from: "facts.edges.every((edge) => edge",
        to: "facts.edges.filter((edge) => facts.now - edge.reportedAt <= 15_000).every((edge) => edge",
      },
    ],
  },
  {
    name: "announces an edge's readiness before its summary shows it",
    changes: [
      {
        file: "control/edges/record.ts",
        from: "  await announceReadiness(cell, await writeSummaries(cell, [...beats, ...summaries]));",
        to: "  await announceReadiness(cell, new Map([...beats, ...summaries].map((one) => [one.summary.edgeId, one])));\n  await writeSummaries(cell, [...beats, ...summaries].map((one) => ({ ...one, version: one.version + 1 })));",
      },
    ],
  },
  {
    name: "drops the keys that a batch read did not process",
    firstSeed: 220,
    changes: [
      {
        file: "aws/documents.ts",
        from: "    rest = [...rest.slice(keysPerBatchGet), ...left];",
        to: "    rest = rest.slice(keysPerBatchGet);",
      },
    ],
  },
  {
    name: "reads without ConsistentRead",
    changes: [
      { file: "aws/documents.ts", from: "Keys: asked, ConsistentRead: true", to: "Keys: asked" },
      { file: "aws/ledger/query.ts", from: "      ConsistentRead: true,\n", to: "" },
      {
        file: "aws/ledger/batches.ts",
        from: "Key: keys.batch(batchId), ConsistentRead: true",
        to: "Key: keys.batch(batchId)",
      },
      {
        file: "aws/ledger/commits.ts",
        from: "Key: keys.commit(cell), ConsistentRead: true",
        to: "Key: keys.commit(cell)",
      },
    ],
  },
  {
    name: "publishes while the fleet is frozen",
    changes: [
      {
        file: "functions/publish-cell.ts",
        from: '  if (settings.frozen) return { cell, state: "frozen" as const };',
        to: "",
      },
    ],
  },
  {
    name: "counts every silent edge as terminated",
    changes: [
      {
        file: "aws/compute.ts",
        from: '  return instance === undefined || instance.state === "terminated";',
        to: "  return true;",
      },
    ],
  },
  {
    name: "believes an edge that serves a generation which was never committed",
    changes: [
      {
        file: "core/edges/reports.ts",
        from: "  const isAbove = report.appliedGeneration > Math.max(live, known);",
        to: "  const isAbove = false;",
      },
    ],
  },
  {
    name: "writes the accelerator without its lease",
    firstSeed: 215,
    changes: [
      {
        file: "functions/apply-accelerator.ts",
        from: "  const lease = await takeLease(`accelerator#${cell}`, awsRequestId, leaseMs, Date.now());",
        to: "  const lease = { name: `accelerator#${cell}`, holder: awsRequestId, epoch: Date.now() };",
      },
      {
        file: "functions/apply-accelerator.ts",
        from: "    if (!(await holdLease(lease, leaseMs, Date.now())))",
        to: "    await holdLease(lease, leaseMs, Date.now());\n    if (false)",
      },
    ],
  },
  {
    name: "takes an edge that is not heard for degraded",
    changes: [
      { file: "core/failover/beliefs.ts", from: "!edge.serving && !isUnheard(edge)", to: "!isRecent(edge, now)" },
    ],
  },
  {
    name: "lowers weights before it raises others",
    firstSeed: 20,
    changes: [
      { file: "core/failover/changes.ts", from: "b.takers - a.takers || b.load - a.load", to: "a.takers - b.takers" },
      { file: "functions/apply-accelerator.ts", from: "assertChange(change, before, gone);", to: "" },
    ],
  },
  {
    name: "leaves terminated edges in the accelerator",
    changes: [
      {
        file: "core/failover/wanted.ts",
        from: "const leaves = (edge: Belief) =>",
        to: "const leaves = (edge: Belief) =>\n    false &&",
      },
    ],
  },
  {
    name: "publishes routes in the order in which it reads them",
    firstSeed: 45,
    changes: [
      {
        file: "core/publishing/render.ts",
        from: "here.toSorted((a, b) => a.route.slot - b.route.slot)",
        to: "here",
      },
    ],
  },
  {
    name: "never forgets an edge",
    changes: [{ file: "core/edges/forget.ts", from: 'isAttached ? "mark" : "forget"', to: '"mark"' }],
  },
  {
    name: "finds no difference between routes that are live and routes of the ledger",
    firstSeed: 40,
    changes: [
      {
        file: "core/routes/differences.ts",
        from: "export function routeDifferences(live: Route[], ledger: Route[]): string[] {",
        to: "export function routeDifferences(live: Route[], ledger: Route[]): string[] {\n  return [];",
      },
    ],
  },
];
