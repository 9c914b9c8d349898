/*
 * Laws 1 and 2: a slot and a name have at most one tenant. A released one is a tombstone of its last tenant, until no edge
 * can serve it any more.
 *
 * Models   core/admission/admit.ts, aws/ledger/admission.ts       claim, release, claim again
 *          functions/publish-cell.ts, control/publishing/*.ts,
 *          aws/ledger/leases.ts, aws/ledger/commits.ts            render, commit under the lease, copy to the regions
 *          edge/agent/agent.ts, core/edges/edge.ts                an edge applies a generation, and reports it later
 *          functions/free-tombstones.ts, core/audit/tombstones.ts,
 *          aws/ledger/audit.ts                                    mark and free tombstones
 *
 * Two tenants, one name, two publishers, two regions with one edge each, and one audit. The second edge boots at any time.
 *
 * Law      What an edge serves for a tenant is owned by that tenant in the ledger, perhaps as a tombstone. Hence two edges
 *          never serve the name for different tenants.
 *
 * Left out A slot is one item as a name is, and is marked and freed in the same way: the name stands for both.
 *          The dirty set: a publisher takes a tenant's route from the ledger or leaves it as it is live, as it likes.
 *          Clocks: any lease may expire at any time. A take ends the holder's epoch, so `lease` is the last taker.
 *          How a manifest is copied: copies.pml. Here the live commit is copied in one step, sooner or later or not at all.
 *          The cool-off. It covers an edge that boots from its first fetch to its first report; here such an edge counts
 *          from its fetch on. Refused routes and terminated edges.
 *          The audit's reads of the manifests, the edges and the tombstone are one step with the write that frees: what is
 *          read only grows, and the write requires that the tombstone is unchanged.
 *
 * Faults   FAULT_NO_ACKS       a tombstone is freed without waiting for the edges
 *          FAULT_NO_MANIFESTS  ... without waiting for the regions' manifests (`publishedFrom`)
 *          FAULT_NO_LEASE      a tombstone is marked by the live commit, while a publisher may still hold the old route
 */
#ifndef WRITES
#define WRITES 5       /* admissions */
#endif
#ifndef GENERATIONS
#define GENERATIONS 4  /* the last generation */
#endif

#define NOBODY 0       /* as an owner */
#define A 1            /* tenants, and the bits of their routes in a set of routes */
#define B 2
#define AUDIT 3        /* as the last taker of the lease; publishers are 1 and 2 */

/* The ledger: the item of the name, the tenants' routes for it, the commit, and the lease. */
byte owner = NOBODY;
bool isTombstone = false;
byte absentFrom = 0;   /* marks of the tombstone; 0: not marked */
byte seenAt = 0;
bool isAsRead = false; /* the item was not written since the audit read it: same tenant and same time of release */
byte routes = 0;
byte generation = 1;
byte live = 0;         /* the routes in the live commit */
byte lease = 0;
byte writes = 0;

/* The regions' manifests, and the edges. An edge is absent (0) until it boots. */
byte published[2] = 1;
byte publishedRoutes[2] = 0;
byte applied[2];
byte served[2];
byte acked[2];

#define isLawful(edge) (served[edge] == 0 || served[edge] == owner)

inline write(tenant, asTombstone) {
  owner = tenant;
  isTombstone = asTombstone;
  absentFrom = 0;
  seenAt = 0;
  isAsRead = false
}

/* A transaction checks the item and the tenant's row, so that each admission is one step. */
active [2] proctype tenant() {
  byte self = _pid + 1;
end:
  do
  :: d_step { writes < WRITES && (owner == NOBODY || (owner == self && isTombstone)) ->
       write(self, false); routes = routes | self; writes++ }
  :: d_step { writes < WRITES && owner == self && !isTombstone ->
       write(self, true); routes = routes & ~self; writes++ }
  od
}

proctype publisher(byte self) {
  byte base = 0, rendered = 0;
end:
  do
  :: d_step { generation < GENERATIONS -> lease = self; base = generation; rendered = live }
     /* The tenants' routes are not read at the same time. */
     if
     :: d_step { true -> rendered = (rendered & B) | (routes & A) }
     :: true
     fi;
     if
     :: d_step { true -> rendered = (rendered & A) | (routes & B) }
     :: true
     fi;
     d_step {
       if
       :: lease == self && generation == base && rendered != live -> generation++; live = rendered
       :: else
       fi;
       base = 0; rendered = 0
     }
  od
}

active [2] proctype region() {
  byte self = _pid - 2;
end:
  do
  :: d_step { published[self] < generation -> published[self] = generation; publishedRoutes[self] = live }
  od
}

proctype edge(byte self) {
end:
  do
  :: d_step { applied[self] < published[self] ->
       applied[self] = published[self]; served[self] = publishedRoutes[self]; assert(isLawful(self)) }
  :: d_step { acked[self] < applied[self] -> acked[self] = applied[self] }
  od
}

#ifdef FAULT_NO_MANIFESTS
#define isPublished true
#else
#define isPublished (published[0] >= absentFrom && published[1] >= absentFrom)
#endif
#ifdef FAULT_NO_ACKS
#define isAcked(edge) true
#else
#define isAcked(edge) (applied[edge] == 0 || acked[edge] >= absentFrom)
#endif

active proctype audit() {
  bool hasLease = false;
end:
  do
  :: d_step { isTombstone && absentFrom == 0 -> isAsRead = true }
     if
#ifdef FAULT_NO_LEASE
     :: hasLease = true
#else
     :: d_step { lease = AUDIT; hasLease = true }
     :: true /* a publisher holds it */
#endif
     fi;
     d_step {
       if
       :: isAsRead && !(live & owner) && (hasLease || (seenAt != 0 && generation >= seenAt + 2)) ->
            absentFrom = generation
       :: else ->
            if
            :: isAsRead && seenAt == 0 -> seenAt = generation
            :: else
            fi
       fi;
       isAsRead = false; hasLease = false
     }
  :: d_step { isTombstone && absentFrom != 0 && isPublished && isAcked(0) && isAcked(1) ->
       write(NOBODY, false); assert(isLawful(0) && isLawful(1)) }
  od
}

init {
  d_step { applied[0] = 1; acked[0] = 1 }
  atomic { run publisher(1); run publisher(2); run edge(0); run edge(1) }
}
