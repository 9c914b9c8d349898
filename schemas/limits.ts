/**
 * Every limit, lease, time-out and interval of Landfall, each with its unit in its name and its reason above it. Infra,
 * functions, the edge's agent, the simulation and the docs take them from here; `docs/limits.md` is written from this file.
 * Limits of AWS itself are marked with the word "AWS".
 */

/** One tenant record, and its routes, writes and reasons. */
export const tenantLimits = {
  /** Characters of a server name. DNS has no longer ones, and the router takes none. */
  nameCharactersMax: 253,
  /** Server names of one record. */
  hostnamesMax: 20,
  /** Wildcards of one record: each covers any number of names. */
  wildcardsMax: 5,
  /** Attempts to write names of which some are not free, or change meanwhile. */
  claimAttemptsMax: 4,
  /** Tenants with names below one name that none of them has. AWS: an item holds 400 KB, and each may take 390 bytes of it. */
  tenantsBelowMax: 1000,
  /** Protocols of one record: each takes a slot. */
  protocolsMax: 8,
  /** Backend addresses of one region. */
  addressesMax: 16,
  /** Client address ranges of one record: each is compared at connect, by the tenants that have them. */
  allowMax: 200,
  /** Canonical JSON of one record. AWS: an item holds 400 KB; a proxy's record is below 2 KB. */
  recordBytesMax: 32 * 1024,
  /** Rendered routes of one tenant, so that one tenant cannot fill a route bucket. */
  routeBytesMax: 64 * 1024,
  /** Writes of one admission. AWS: a transaction takes 100 items, the tenant's row among them. */
  transactionWritesMax: 100,
  /** Tenants admitted in one transaction. AWS: 4 MB; a tenant's record and routes have at most 130 KB. */
  admissionsPerTransactionMax: 25,
  /** Reasons that a row keeps, and characters of each: rows stay small whatever a record holds. */
  reasonsMax: 20,
  reasonCharactersMax: 300,
  /** Bytes of a tenant's id in a ledger key; longer ids are hashed. AWS: a partition key holds 2,048 bytes. */
  keyIdBytesMax: 255,
} as const;

/** Slots of a cell. */
export const slotLimits = {
  /** TCP ports of one cell. AWS: a listener's port ranges; also what one nginx can listen on with little memory. */
  portsMax: 20_000,
  /** First number of a tls slot: above the most ports of a cell, so that a cell can grow without renumbering. */
  tlsSlotBase: 20_000,
  /** Digits of a slot number in a ledger key. */
  keyDigits: 6,
} as const;

/** Route buckets and manifests. */
export const snapshotLimits = {
  /** Route buckets of a cell: the manifest names each, and the ledger spreads its routes over as many partitions. */
  bucketCount: 64,
  /** Bytes of the routes in one object: a change moves one such object. A larger bucket is divided by its tenants' digits. */
  leafBytesMax: 64 * 1024,
  /** Digits of a tenant, each of 4 bits: the deepest leaf holds what is left, whatever its size. */
  digits: 6,
  /** Bytes of one bucket. More is a fault of the generator, not a snapshot. */
  bucketBytesMax: 4 * 1024 * 1024,
  /** Bytes of a bucket that admission leaves free: concurrent batches do not see each other's routes. */
  bucketHeadroomBytes: 512 * 1024,
  /** Sizes that an edge accepts: an object of twice a bucket, and a manifest with overrides for every edge. */
  objectBytesMax: 8 * 1024 * 1024,
  manifestBytesMax: 256 * 1024,
  /** Objects that one process remembers to have put, and bytes of objects that it keeps parsed. Parsed they took 2.2 times that. */
  placedObjectsMax: 10_000,
  parsedBytesMax: 32 * 1024 * 1024,
  /** How long it counts on what it has put: much less than the audit keeps an object that nothing names. */
  placedMs: 3600 * 1000,
  /** Objects that an edge reads side by side. */
  objectReadsMax: 16,
} as const;

/** A batch of changed records on its way through tenant-rollout. */
export const rolloutLimits = {
  /** Tenants of a batch, and bytes of their ids. AWS: an item holds 400 KB, and the batch names each tenant three times. */
  batchTenantsMax: 500,
  batchIdBytesMax: 40_000,
  /** How long a batch and its coverage are kept, for traces. */
  batchKeepSeconds: 24 * 3600,
  /** A batch older than this is over, and slots that it reserved are lost: longer than the workflow's time-out. */
  batchActiveMs: 20 * 60_000,
  /** Rollouts that one tenant may start at once, and the time in which it may start another: then its writes wait for it. */
  paceBurst: 3,
  paceMs: 1000,
  /** A turn that has not ended by then was lost with its rollout, or is late: further writes start another rollout. */
  turnLostMs: 10_000,
  /** stepflows/tenant-rollout: the whole execution, the wait for acks, the attempts to admit, and to see every edge serve. */
  workflowSeconds: 900,
  ackWaitSeconds: 30,
  admitAttemptsMax: 20,
  settleChecksMax: 5,
} as const;

/** The publisher of a cell. */
export const publishLimits = {
  /** How long a publisher that died or hangs delays the next one: one that gets on extends its lease. */
  leaseMs: 15_000,
  /** No commit begins with less time left in the function. One of 5,000 new tenants took up to 35 s on two shared cores. */
  reserveMs: 90_000,
  /** Batches of one commit. AWS: a transaction takes 100 items; each batch takes two, the commit and the lease one each. */
  batchesPerCommitMax: 45,
  /** Characters of a failure's reason that the ledger keeps for the status. */
  failureCharactersMax: 500,
  /** Tenants and reasons that are kept of a bucket's refused changes: the audit finds the others. */
  withheldTenantsMax: 200,
  withheldReasonsMax: 5,
} as const;

/** Edges and their reports. */
export const edgeLimits = {
  /** How often an edge asks for the addresses of backends that are DNS names, and how long an answer may take. */
  lookupEveryMs: 10_000,
  lookupMs: 2000,
  /** Lookups side by side, and addresses of one name that are used. AWS: 1,024 packets a second from one interface. */
  lookupsAtOnceMax: 50,
  addressesPerNameMax: 16,
  /** Time between two fetches of the manifest by an agent, plus or minus the jitter. */
  pollMs: 250,
  pollJitterMs: 25,
  /** The same, when the manifest has not changed for a minute: polls are most of what a quiet fleet costs. */
  quietPollMs: 1000,
  quietAfterMs: 60_000,
  /** An edge reports on every change, and at least this often. */
  reportEveryMs: 10_000,
  /** A report counts as recent for one interval and a half. */
  recentReportMs: 15_000,
  /** Six missed reports: then EC2 is asked whether the instance is terminated. */
  silentMs: 60_000,
  /** An edge that runs and is silent for this long is replaced, if the others report: it keeps slots and names from being freed. */
  giveUpMs: 30 * 60_000,
  /** How long a neighbour may take to answer, and after how many questions in a row without an answer it is accused. */
  probeMs: 1000,
  missedProbes: 2,
  /** Neighbours that one report accuses, at most. */
  accusedMax: 50,
  /** Acks that a cell's summary keeps of each edge: two seconds of them at the pace of the agent, for a trace. */
  acksKeptMax: 8,
  /** Times that a batch of reports is merged when another one wrote the same edges meanwhile. */
  reportMergesMax: 5,
  /** Refused routes and closing tenants of one report, and characters of each reason. AWS: an item holds 400 KB. */
  rejectedRoutesMax: 100,
  closingTenantsMax: 100,
  reasonCharactersMax: 300,
  /** Bytes of notes about connections that lead nowhere, for the agent to read: about 20,000 in a quarter of a second. */
  refusedBytesMax: 1024 * 1024,
  /** Names that such connections asked for last, and that an edge keeps. */
  refusedNamesMax: 20,
  /** Items that a cell's edge summaries are divided into. AWS: a partition takes 1000 write units a second. */
  summaryItems: 4,
  /** Edges that one update of a summary names. AWS: an expression has at most 4 KB. */
  edgesPerUpdate: 50,
} as const;

/** The staged rollout of a structure. */
export const structureLimits = {
  /** An edge may take this long to report the structure that it was given. */
  applyMs: 60_000,
  /** One that stopped reporting may be terminated: that is known after `silentMs` and one reconcile. */
  silentMs: 3 * 60_000,
} as const;

/** Global Accelerator. */
export const acceleratorLimits = {
  /** Time-outs of a write and its connection. Only one attempt: a repeated write could be later than the lease. */
  requestMs: 5000,
  connectMs: 2000,
  /** Longer than the function that writes (30 s) and one request together, so that no late write meets another writer. */
  leaseMs: 45_000,
  /** Seconds between two health checks (AWS: 10 or 30) and failures until an endpoint is unhealthy: found in 10 to 20 s. */
  healthCheckSeconds: 10,
  healthCheckFailures: 1,
  /** Tries of one execution, each without an endpoint that AWS refused. */
  triesMax: 4,
  /** Endpoints of a group (AWS's quota; also as many as one write may name). */
  endpointsMax: 10,
} as const;

/** Failover. */
export const failoverLimits = {
  /** How long a monitor's word counts. A monitor that died must not keep an edge out for ever; one that lives repeats itself. */
  signalKeepMs: 60 * 60_000,
  /** After so long with users, a cell counts as whole though a region of it never came up. */
  armAfterMs: 10 * 60_000,
  /** Falls that double the soak of a return, and how long without one until they are forgotten. */
  soakDoublingsMax: 3,
  forgetFallsMs: 10 * 60_000,
  /** The time in which withdrawals by opinion are counted. */
  withdrawalsMs: 60 * 60_000,
  /** While anything is not as it should be, the accelerator is looked at this often: drift is seen within 15 s. */
  lookMs: 10_000,
  /** An execution that watches ends after so long: reconcile, once a minute, goes on. */
  watchMs: 55_000,
  /** Shortest and longest pin. A pin that nobody remembers must end. */
  pinMsMin: 60_000,
  pinMsMax: 72 * 3600_000,
  /** How far a plan looks ahead: the longest return has four steps of eight minutes. */
  foreseenMs: 40 * 60_000,
  /** How long a command waits for the accelerator to show what it asked for. */
  shownWithinMs: 60_000,
  /** How long decision records are kept. */
  recordSeconds: 30 * 24 * 3600,
} as const;

/** Proofs that names are their tenants' own, where the fleet requires them. */
export const proofLimits = {
  /** How often a proof is looked for: this often at first, half as often after each look from `soonLooks` on, to a limit. */
  everyMs: 55_000,
  soonLooks: 20,
  everyMaxMs: 3600_000,
  /** How long the DNS may take, and how long a proof counts. What a tenant has needs none. */
  answerMs: 3000,
  keepSeconds: 7 * 24 * 3600,
  /** Tenants of one run; the others come first in the next one. */
  tenantsPerRunMax: 2000,
} as const;

/** The audit. */
export const auditLimits = {
  /** A difference is repaired when it is the same after this time: a change in progress looks like a difference too. */
  apartMs: 15_000,
  /** Time after which a repair in vain is tried again, at first and at most; it doubles each time. */
  backoffMs: 4 * 60_000,
  backoffMaxMs: 24 * 3600_000,
  /** Tenants that one audit compares, and items of the ledger that it reads. The next one goes on behind them. */
  tenantsPerRunMax: 20_000,
  itemsPerRunMax: 200_000,
  /** How long the row of a removed tenant is kept. */
  removedKeepMs: 24 * 3600_000,
  /** Differences that one item of the ledger keeps, and their bytes. */
  differencesMax: 1500,
  differenceBytesMax: 150_000,
  /** Pending tenants that one audit tries again. */
  pendingTriedMax: 500,
  /** Nothing more is read or freed with less time left in the function. */
  reserveMs: 60_000,
  /** An object stays this long after it was last referenced. References are noted, and what is due is deleted, this often. */
  objectKeepMs: 7 * 24 * 3600 * 1000,
  referenceEveryMs: 3600 * 1000,
  /** Objects that are deleted before the publishers' leases are extended: they take a fraction of a lease. */
  deletedAtOnceMax: 100,
  /** Hashes of one note. AWS: an item holds 400 KB. */
  hashesPerNote: 4000,
  /** How long a note of references is kept: longer than objects. */
  referenceKeepSeconds: 8 * 24 * 3600,
} as const;

/** Settings, and calls to AWS. */
export const clientLimits = {
  /** Maximum age of settings: a freeze must work within seconds. AWS: Parameter Store allows 40 reads per second. */
  settingsMaxAgeMs: 5000,
  /** Characters of the reason why a setting is invalid. AWS: an event holds 256 KiB. */
  settingReasonCharactersMax: 500,
  /** Time-outs for a region's bucket that hangs: to connect, and to respond. */
  s3ConnectMs: 1000,
  s3RequestMs: 3000,
  s3AttemptsMax: 2,
  /** AWS: keys of one BatchGetItem, items of one BatchWriteItem, and events of one PutEvents. */
  keysPerBatchGet: 100,
  itemsPerBatchWrite: 25,
  eventsPerPut: 10,
  /** Calls that one function makes side by side: more would only queue at DynamoDB. */
  parallelCallsMax: 16,
} as const;

/** How long each function may run. The default is 30 s. */
export const functionSeconds: Readonly<Record<string, number>> = {
  "admit-tenants": 120,
  "publish-cell": 180,
  "settle-rollout": 120,
  "free-tombstones": 300,
  "find-drift": 300,
  "sweep-snapshots": 300,
  "prove-names": 55,
};
export const defaultFunctionSeconds = 30;

/** How often the scheduled workflows start. */
export const scheduleMinutes = {
  /** Advances each cell: structure, publishing, edges, accelerator. */
  reconcile: 1,
  /** Compares records, ledger, snapshots and statuses, and frees slots and names. */
  audit: 5,
  /** Looks for proofs of names, if the fleet requires them. */
  proofs: 1,
} as const;

/** The Tenants stream. */
export const streamLimits = {
  /** Records of one delivery, and how long the stream waits for more. */
  batchRecordsMax: 1000,
  windowSeconds: 0,
  /** Retries of a failed delivery, and the maximum age of a record. Then it goes to the failures bucket. */
  retriesMax: 10,
  recordAgeSeconds: 3600,
} as const;

/** The Reports stream. */
export const reportStreamLimits = {
  /** Reports of one delivery. */
  batchRecordsMax: 100,
  /** How long the stream waits for more reports that say the same as the ones before. Changes do not wait. */
  beatWindowSeconds: 2,
  /** Retries, and the maximum age of a report: the edge repeats it within 10 s. AWS: at least 60 s. */
  retriesMax: 3,
  recordAgeSeconds: 60,
} as const;
