/*
 * Law 5: no write takes a listener's last healthy endpoint.
 *
 * Models   functions/apply-accelerator.ts      lease, decision, renewal and check before each write, release
 *          aws/ledger/leases.ts                a lease is over by the clock of the one that wants it
 *          aws/accelerator.ts                  a write has one attempt: it takes effect within its time-out, or never
 *          control/failover/evaluate.ts,
 *          core/failover/                      the weights, and the order of the writes
 *          core/assert.ts (assertChange)       the check of a write against what was observed and written before: a write
 *                                              without an answer counts as made where it withdraws, else as not made
 *          schemas/limits.ts                   acceleratorLimits
 *
 * Two executions, and endpoint groups with one edge each and any weights. An execution may be slow anywhere, except from
 * the renewal of its lease to the end of its write: that takes at most WRITE ticks. Clocks differ by at most SKEW ticks.
 *
 * Law      After a write there is an endpoint of weight > 0 that its execution observed as healthy, if there was one right
 *          before the write. What counts is the observed health: the real one changes while a write is on its way.
 *
 * Left out The end of a function after 30 s: it comes before its first lease is over. Here nothing but the renewal keeps an
 *          execution that was slow from writing.
 *          Health, signals and reports have no state: each observation finds any values. Edges that come or go, dials, the
 *          health INITIAL. Writes are ordered only in two classes: those that raise a weight, then those that lower one.
 *          Later runs of an execution: they begin with other weights, and the first ones begin with any.
 *
 * Faults   FAULT_NO_LEASE     an execution begins while another one has the lease
 *          FAULT_NO_RENEWAL   it writes without having renewed its lease
 *          FAULT_SHORT_LEASE  a lease is as long as a write
 *          FAULT_STALE_CHECK  each write is checked against what was observed, without the writes before it
 *          FAULT_LOST_ANSWER  a write without an answer counts as not made
 */
#ifndef GROUPS
#define GROUPS 3
#endif
#define WRITE 1
#define SKEW 1
#ifdef FAULT_SHORT_LEASE
#define LEASE WRITE
#else
#define LEASE (WRITE + SKEW + 1)
#endif

byte weight[GROUPS];           /* in the accelerator: 0 or 1 */
byte holder = 0;               /* the last taker of the lease, or 0 once it is released: another taker is another epoch */
byte age = 0;                  /* ticks since the lease was taken or renewed, as far as they matter */
bool isAhead[3];               /* whether the clock of execution 1 or 2 is SKEW ticks ahead */
bool isSent[3];                /* whether a write of it may be on its way, and for how many ticks */
byte sentFor[3];

#define isFree(self) (holder == 0 || age + SKEW * isAhead[self] >= LEASE + SKEW * isAhead[holder])
#define mayTick(self) (!isSent[self] || sentFor[self] < WRITE)

active proctype time() {
end:
  do
  :: d_step { mayTick(1) && mayTick(2) ->
       age = (holder != 0 && age < LEASE + SKEW -> age + 1 : age);
       sentFor[1] = sentFor[1] + isSent[1];
       sentFor[2] = sentFor[2] + isSent[2] }
  od
}

/* Whether users have an endpoint by these weights: before a write of `group`, and after it. */
#define count(weights) \
  before = false; after = false; \
  for (other : 0 .. GROUPS - 1) { \
    before = before || (weights[other] && isHealthy[other]); \
    after = after || ((other == group -> desired[group] : weights[other]) && isHealthy[other]) \
  } \
  other = 0

/* A degraded edge has weight 0, but not if no other one takes users. */
inline decide() {
  before = false;
  for (other : 0 .. GROUPS - 1) { before = before || (isHealthy[other] && !isDegraded[other]) }
  for (other : 0 .. GROUPS - 1) {
    desired[other] = (before -> !isDegraded[other] : (isHealthy[other] -> 1 : observed[other]));
    isDegraded[other] = false
  }
  other = 0
}

/* Goes on to the next write: first to those that raise a weight. After the last one, `group` is GROUPS. */
inline seek() {
  do
  :: group < GROUPS && (desired[group] == observed[group] || desired[group] != isRaising) -> group++
  :: group == GROUPS && isRaising -> isRaising = false; group = 0
  :: else -> break
  od;
  before = false; after = false;
  if
  :: group == GROUPS -> forget()
  :: else
  fi
}

/* Variables that no longer matter have one value, so that there are fewer states. */
inline forget() {
  for (other : 0 .. GROUPS - 1) { isHealthy[other] = false; observed[other] = 0; desired[other] = 0 }
  other = 0; isRaising = false
}

inline takeEffect() {
  count(weight);
  assert(!before || after);
  weight[group] = desired[group]
}

#ifdef FAULT_LOST_ANSWER
#define withoutAnswer() skip
#else
#define withoutAnswer() observed[group] = (desired[group] < observed[group] -> desired[group] : observed[group])
#endif

proctype execution(byte self) {
  byte observed[GROUPS], desired[GROUPS];
  bool isHealthy[GROUPS];      /* as the accelerator reports it */
  bool isDegraded[GROUPS];     /* as signals and the edge's reports say */
  byte group, other;
  bool isRaising, before, after;
  atomic {
#ifndef FAULT_NO_LEASE
    isFree(self);
#endif
    holder = self; age = 0;
    for (group : 0 .. GROUPS - 1) {
      observed[group] = weight[group];
      if
      :: isHealthy[group] = true
      :: isHealthy[group] = false
      fi;
      if
      :: isDegraded[group] = true
      :: isDegraded[group] = false
      fi
    }
    decide(); group = 0; isRaising = true; seek()
  }
  do
  :: group == GROUPS -> break
#ifdef FAULT_NO_RENEWAL
  :: d_step { group < GROUPS ->
#else
  :: group < GROUPS && holder != self -> break  /* the lease is lost */
  :: d_step { group < GROUPS && holder == self -> age = 0;
#endif
       count(observed); isSent[self] = !before || after; before = false; after = false }
     atomic {
       if
       :: !isSent[self]                         /* refused: it would break the law */
       :: isSent[self] -> takeEffect();
#ifndef FAULT_STALE_CHECK
            observed[group] = desired[group]
#endif
       :: isSent[self] -> withoutAnswer()       /* it failed, and the other writes are made nevertheless */
       :: isSent[self] -> takeEffect(); withoutAnswer()
       fi;
       isSent[self] = false; sentFor[self] = 0; group++; seek()
     }
  od;
  atomic {
    forget(); group = 0;
    if
    :: holder == self -> holder = 0; age = 0    /* released */
    :: else
    fi
  }
}

init {
  byte group;
  atomic {
    if
    :: isAhead[1] = true
    :: isAhead[2] = true
    :: true
    fi;
    for (group : 0 .. GROUPS - 1) {
      if
      :: weight[group] = 0
      :: weight[group] = 1
      fi
    }
    run execution(1); run execution(2)
  }
}
