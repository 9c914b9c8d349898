/*
 * Law 3: no generation decreases, and what a region's manifest names is in that region.
 *
 * Models   functions/publish-cell.ts,
 *          control/publishing/publication.ts    objects are put, then the commit is written
 *          aws/ledger/leases.ts, commits.ts     the commit requires its base and the lease's epoch
 *          control/publishing/copies.ts,
 *          aws/snapshots.ts                     objects first, then the manifest, only over the one that was read
 *          functions/sweep-snapshots.ts,
 *          core/audit/objects.ts                objects without a reference for a grace are deleted, under the lease, and
 *                                               in regions that have the live commit
 *
 * Two publishers that may stop at any step, the home region (0) and another one (1), and the sweep. An object is known by
 * its content: a later commit may name the same object again.
 *
 * Law      Commits count up by 1. No manifest goes back a generation. Each region has the object that its manifest names.
 *
 * Left out Parts of objects, signatures, halts. An ETag is its manifest's generation: all regions get the same bytes.
 *          Clocks: a lease may expire at any time, so `lease` is its last taker; what the sweep deletes at once takes a
 *          fraction of the lease that it has just extended. A grace (7 days) passes at once, and only while no publisher
 *          and no sweep runs (they take minutes at most), and while the home region has the live commit.
 *          References are noted hourly: the live commit's object is noted when a grace passes, and sometimes before.
 *          What the sweep restores. One run of it has one region: deletes in two regions have nothing in common.
 *
 * Faults   FAULT_NO_CONDITION  a manifest is written over any other one
 *          FAULT_NO_GRACE      an object is deleted although it was put a short time ago
 *          FAULT_NO_NOTES      ... although it was referenced a short time ago
 *          FAULT_NO_LEASE      ... without the lease: it may have been put again since it was listed
 *          FAULT_BEHIND        ... in a region whose manifest is not the live commit's
 */
#ifndef GENERATIONS
#define GENERATIONS 3  /* the last generation */
#endif
#define OBJECTS 2
#define REGIONS 2
#define SWEEP 3                /* as the taker of the lease; publishers are 1 and 2 */

/* The ledger: the commit, the lease, and the objects that notes of the last grace name. */
byte generation = 1;
byte live = 0;                 /* the object of the live commit */
byte lease = 0;
bool isNoted[OBJECTS];

/* The regions: objects, whether each was put within the last grace, and the manifest. */
typedef Region {
  bool has[OBJECTS];
  bool isRecent[OBJECTS];
  byte manifest;               /* its generation */
  byte named;                  /* its object */
  bool isAsRead[3]             /* nobody wrote the manifest since this publisher read it: it has the same ETag */
}
Region region[REGIONS];

byte running = 0;              /* publishers and sweeps */

#define isCurrent(r) (region[r].manifest == copied)

inline put(r, object) {
  region[r].has[object] = true;
  region[r].isRecent[object] = true
}

/* An object is put unless the region's manifest names it already. Its bytes come from a region that has it. */
inline putIfMissing(r, object) {
  d_step {
    if
    :: region[r].named == object -> skip
    :: else -> assert(region[0].has[object] || region[1].has[object]); put(r, object)
    fi
  }
}

/* Without a restore, a ledger that is read after a manifest is not behind it. */
inline readManifest(r) {
  region[r].isAsRead[self] = true;
  assert(region[r].manifest <= generation)
}

#ifdef FAULT_NO_CONDITION
#define mayWrite(r) true
#else
#define mayWrite(r) region[r].isAsRead[self]
#endif

inline writeManifest(r) {
  assert(region[r].manifest <= copied && region[r].has[object]);
  region[r].manifest = copied;
  region[r].named = object;
  region[r].isAsRead[1] = false;
  region[r].isAsRead[2] = false
}

/* Publishers are 1 and 2. */
proctype publisher(byte self) {
  byte base, next;             /* the generation to commit over, then the committed one; and its object */
  byte r, copied, object;      /* what is copied to a region: the own commit, or else the latest one */
end:
  do
  :: d_step { true -> running++; lease = self; readManifest(0); readManifest(1) }
     d_step { true -> base = generation; next = live }
     if
     :: true                   /* nothing to commit */
     :: base < GENERATIONS ->
          if
          :: true              /* the same object again: nothing to put */
          :: d_step { true -> next = 1 - next; put(0, next); put(1, next) }
          :: d_step { true -> next = 1 - next; put(0, next) } /* the other put failed: it is done again when copying */
          fi;
          if
          :: d_step { lease == self && generation == base ->
               base++; assert(base == generation + 1); generation = base; live = next }
          :: goto over         /* the lease is lost, or the publisher has died */
          fi
     fi;
     do
     :: r < REGIONS ->
          atomic { copied = base; object = next }
          if
          :: isCurrent(r) && region[r].isAsRead[self] -> skip
          :: !(isCurrent(r) && region[r].isAsRead[self]) ->
               putIfMissing(r, object);
               if
               :: d_step { mayWrite(r) -> writeManifest(r) }
               :: !mayWrite(r) ->
                    d_step { readManifest(r) }
                    d_step { copied = generation; object = live }
                    if
                    :: isCurrent(r) -> skip
                    :: !isCurrent(r) ->
                         putIfMissing(r, object);
                         if
                         :: d_step { mayWrite(r) -> writeManifest(r) }
                         :: true
                         fi
                    fi
               :: true
               fi
          :: true              /* the region fails, here as above, or the publisher has died */
          fi;
          atomic { region[r].isAsRead[self] = false; copied = 0; object = 0; r++ }
     :: r == REGIONS -> break
     od;
over:
     atomic { running--; base = 0; next = 0; r = 0; copied = 0; object = 0;
       region[0].isAsRead[self] = false; region[1].isAsRead[self] = false }
  od
}

#ifdef FAULT_NO_GRACE
#define isOld(r, o) true
#else
#define isOld(r, o) (!region[r].isRecent[o])
#endif
#ifdef FAULT_NO_NOTES
#define isNamedInNotes(o) false
#else
#define isNamedInNotes(o) isNoted[o]
#endif

#define isDue(r, o) (region[r].has[o] && o != referenced && isOld(r, o) && !isNamedInNotes(o))
#ifdef FAULT_BEHIND
#define isUpToDate(r) true
#else
#define isUpToDate(r) (region[r].manifest == generation)
#endif
#ifdef FAULT_NO_LEASE
#define hasLease true
#else
#define hasLease (lease == SWEEP)
#endif

inline list() {
  isListed[0] = isDue(r, 0);
  isListed[1] = isDue(r, 1)
}

inline delete(o) {
  assert(region[r].named != o);
  region[r].has[o] = false;
  isListed[o] = false
}

proctype sweep() {
  byte referenced, r;          /* the object of the live commit, as the sweep read it; the region */
  bool isListed[OBJECTS];      /* what is due */
end:
  do
  :: atomic { true -> running++;
       if
       :: isNoted[live] = true
       :: true                 /* another object was live when the note was written */
       fi;
       lease = SWEEP; referenced = live;
       if
       :: isUpToDate(0) -> r = 0; list()
       :: isUpToDate(1) -> r = 1; list()
       :: true                 /* the region fails or is behind */
       fi
     }
     do
     :: d_step { hasLease && isListed[0] -> delete(0) }
     :: d_step { hasLease && isListed[1] -> delete(1) }
     :: break                  /* all are deleted, the lease is lost, or the sweep has died */
     od;
     atomic { isListed[0] = false; isListed[1] = false }
     atomic { running--; referenced = 0; r = 0 }
  od
}

proctype time() {
end:
  do
  :: d_step { running == 0 && region[0].manifest == generation ->
       region[0].isRecent[0] = false; region[0].isRecent[1] = false;
       region[1].isRecent[0] = false; region[1].isRecent[1] = false;
       isNoted[live] = true; isNoted[1 - live] = false }
  od
}

init {
  d_step { region[0].manifest = 1; region[1].manifest = 1; put(0, live); put(1, live) }
  atomic { run publisher(1); run publisher(2); run sweep(); run time() }
}
