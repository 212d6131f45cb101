/* The commit protocol of specs/5-commit.md, for Spin. [Words] are sections of that page; S1 … L3 are its properties.

A *call* is one public operation with one commit id; `me` is its number. Versions count from 1 here; 0 is "no table".
A set of files is a bit mask. What others could tell apart are separate steps; Spin tries all orders of them.
By construction: S1 (`apply` needs a free number, and nothing frees one) and the hashes of S2 (a number has one body). A
crash needs no step: a process that crashed is one that is never scheduled again. For L3 it is one: RUNS.
Left out: lock, hint, checkpoints, `set`, batch ids, the overwrite of a part; time (a vacuum here has retention and
grace 0); rows, but for one key that the file of a keyed write holds. How it is run: tests/protocol/spin.py. */

#define BIT(n)      (1 << (n))
#define LOWEST(set) ((set) & (~(set) + 1))
#define FREE(n)     (log[n].by == 0)
#define N           (base + 1)      /* the one number that a call may try [Commit 3] */
#define HITS        (live[base] & keyed[key])
#define KEYED       (kind == ONCE || kind == UPSERT)

mtype = { APPEND, ONCE, UPSERT, OVERWRITE, VACUUM, OTHER };     /* ONCE is append_once */
mtype:bug = { NONE,
    NO_READ_BACK,       /* "exists", or no answer, is taken for a lost race */
    EXISTS_IS_MINE,     /* "exists" is taken for the answer to a put that was sent twice */
    NEXT_NUMBER,        /* read back as absent: goes on, instead of settling this number */
    DELETE_FIRST,       /* a vacuum deletes, and then commits */
    LIST_UNREAD,        /* a writer does not look for its files in a vacuum's list */
    CLEAN_UNKNOWN,      /* what was staged is deleted though the outcome is unknown */
    NO_PROBE,           /* a keyed writer looks at the files that it removes, not into those that others added */
    GONE_UNREAD,        /* a keyed writer does not look at what others removed */
    UNKNOWN_IS_LOST,    /* out of tries: a conflict is told, not that it is unknown */
    NOT_DERIVED,        /* a vacuum keeps its list after a lost race */
    COMMIT_FIRST }      /* the manifest is created before the data file */
mtype:event = {         /* what a recorded run shows of the steps: tests/protocol/traces.py */
    HEAD, STAGE, UNSTAGE, SEE, PUT, LOST, EXISTS, MINE, OTHERS, ABSENT, DELETE, ACK, SAME, ABORT, UNKNOWN, CRASH }

int standing;           /* data files that are in the store */
int keyed[3];           /* by key, from 1: files that hold it */
byte newest, lost, i;   /* the newest version; answers lost so far; a counter */
int committed, aborted, settled, dead;      /* calls, as bits */

#ifdef TRACE
#include "trace.pml"    /* the same steps, each only where a recorded run shows it */
#else
#define TRACED      false
#define ON(event, n) true
#define ATOMIC      atomic
#define DID         skip
#define FOUND       newest
#define STAGED      BIT(me * PASSES + pass + 1)
#define UNSTAGED    LOWEST(mine[me].adds)
#define DELETED     LOWEST(mine[me].lists)
#define FOLDER      standing        /* what a vacuum sees in the folder */
#define REMOVES     (kind == OVERWRITE -> live[base] : (kind == UPSERT -> HITS : 0))
byte kinds[6] = { APPEND, ONCE, UPSERT, UPSERT, OVERWRITE, VACUUM }; byte keys[6] = { 0, 2, 1, 2, 2, 0 }
#if EMPTY                           /* else version 1 has one file, with key 1 */
#define GIVEN       skip
#else
#define GIVEN       log[1].by = COUNT + 1; log[1].adds = 1; live[1] = 1; standing = 1; keyed[1] = 1; newest = 1
#endif
#if FAULTLESS
#define RUNS        !(dead & BIT((_pid - 1) / 2))
#endif
#define CHOOSE      select(k : k .. 5); kind = kinds[k]; key = keys[k]      /* in this order: calls are alike else */
#endif

typedef Body { byte by; int adds; int removes; int lists; byte whole };     /* by: the call + 1, 0 is nobody */
Body log[LAST + 2];     /* the register of manifests; LAST is as far as COUNT calls can get */
Body mine[COUNT];       /* by call: the bytes that it sends */
byte flight[COUNT];     /* by call: the number that a put of `mine`, given up by its client, may yet create, or 0. One
                           is enough: a call leaves a number only when it is taken, and what it sent there is void */
int live[LAST + 2];     /* by version: the files of state(v) [Replay] */

inline check() {        /* after each commit and each deletion, in the same step */
    for (i : log[newest].whole .. newest) { assert((live[i] & ~standing) == 0) }              /* S7, S15: no dangling */
    for (i : 1 .. 2) { assert((live[newest] & keyed[i]) == LOWEST(live[newest] & keyed[i])) } /* S10, S11b: key once */
    i = 0
}

inline apply(who, n) {  /* the store creates manifest n, whole and durable, of the bytes that `who` sent */
    assert(n == newest + 1);                                    /* S2: no gap */
    assert(!(committed & BIT(who)));                            /* S3: once */
    assert(!(aborted & BIT(who)));                              /* S5: an abort is definite */
    assert(!(mine[who].removes & ~live[n - 1]));                /* S10: it removes what is there */
    log[n].by = who + 1; log[n].adds = mine[who].adds; log[n].removes = mine[who].removes;
    log[n].lists = mine[who].lists; log[n].whole = mine[who].whole;
    live[n] = live[n - 1] & ~log[n].removes | log[n].adds;
    newest = n; committed = committed | BIT(who);
    check()
}

#define unstage         delete(mine[me].adds, UNSTAGED, UNSTAGE)
#define delete_listed   delete(mine[me].lists, DELETED, DELETE)
inline delete(set, file, event) {       /* one file at a time */
    do
    :: atomic { set & file && ON(event, 0) -> standing = standing & ~(file); set = set & ~(file); check(); DID }
    :: set == 0 || TRACED -> set = 0; break
    od
}

proctype late(byte me) {        /* a put that its client gave up lands after all, or never does */
end:do
    :: atomic { flight[me] != 0 && FREE(flight[me]) && ON(PUT, flight[me]) -> apply(me, flight[me]); DID }
    od
}

proctype call(byte me; byte kind; byte key)
#ifdef RUNS
    provided (RUNS)
#endif
{   byte base, seen, pass, tries;
    int added, removed, listed; bool again, derive, beaten;             /* by the manifests that are newer than the base */

    atomic { FOUND <= newest && ON(HEAD, FOUND) -> base = FOUND; seen = base; DID }
plan:                                                           /* [Commit 1] */
    ATOMIC {
        if
        :: kind == ONCE && HITS || TRACED -> goto same          /* every key is there */
        :: kind == VACUUM -> goto list
        :: !(kind == ONCE && HITS) && kind != VACUUM -> mine[me].removes = REMOVES
        fi }
    do
    :: atomic { (mine[me].adds == 0 || TRACED) && ON(STAGE, 0) ->
                standing = (BUG == COMMIT_FIRST -> standing : standing | STAGED);
                mine[me].adds = mine[me].adds | STAGED; keyed[key] = (key != 0 -> keyed[key] | STAGED : 0); DID }
    :: mine[me].adds != 0 || TRACED -> goto newer
    od;

list:                                                           /* [Vacuum 1] what state(base) does not hold */
    atomic { mine[me].lists = FOLDER & ~live[base];
             if :: SPARE -> mine[me].lists = mine[me].lists & ~LOWEST(mine[me].lists) :: true fi;   /* one is young */
             i = base;                                          /* whole is what came after the last removal */
             do :: i > log[base].whole && log[i].removes == 0 -> i-- :: else -> break od;
             mine[me].whole = i; i = 0;
             if :: mine[me].lists == 0 || TRACED -> goto same :: mine[me].lists != 0 || TRACED fi }
    if :: BUG == DELETE_FIRST -> delete_listed :: else fi;

newer:                                                          /* [Commit 2, Conflicts] */
    ATOMIC {
        do
        :: !FREE(seen + 1) && ON(SEE, seen + 1) -> seen++; added = added | log[seen].adds;
                                         removed = removed | log[seen].removes; listed = listed | log[seen].lists; DID
        :: FREE(seen + 1) -> break
        :: TRACED && !beaten -> break       /* without the lock, the put is the look; as if it had been made before */
        :: tries == 0 && !FAULTLESS -> goto abort               /* an error, or the time is over */
        od;
        beaten = false; again = base == 0 && seen != 0 ||                                       /* they created the table */
                BUG != LIST_UNREAD && (listed & mine[me].adds) ||               /* a vacuum lists what I staged */
                BUG != GONE_UNREAD && KEYED && (removed & mine[me].removes) ||  /* what I rely on is gone */
                BUG != NO_PROBE && KEYED && (added & ~removed & keyed[key]);    /* probe: they added my key */
        derive = kind == VACUUM && seen != base && BUG != NOT_DERIVED;
        added = 0; removed = 0; listed = 0;
        if
        :: again || TRACED && seen != base -> goto redo
        :: !again && derive -> base = seen; goto list
        :: !again && !derive -> base = seen                                     /* rebase */
        fi;
        if :: kind == OVERWRITE || TRACED -> mine[me].removes = REMOVES :: else fi;     /* derive */
        if :: kind != VACUUM -> mine[me].whole = log[base].whole :: else fi }

create:                                                         /* [Commit 3] */
    if
    :: atomic { FREE(N) && ON(PUT, N) -> apply(me, N); DID } goto created
    :: atomic { FREE(N) && lost < LOSSES && ON(PUT, N) -> apply(me, N); lost++; DID } atomic { ON(LOST, N) -> DID }
    :: atomic { lost < LOSSES && ON(LOST, N) -> flight[me] = (FREE(N) -> N : 0); lost++; DID }
    :: atomic { !FREE(N) && ON(EXISTS, N) -> DID }
    fi;
    if                                                          /* [Commit 4] not "created": read it back */
    :: BUG == NO_READ_BACK -> goto newer :: BUG == EXISTS_IS_MINE && !FREE(N) -> goto created
    :: atomic { log[N].by == me + 1 && ON(MINE, N) -> flight[me] = 0; DID } goto created
    :: atomic { !FREE(N) && log[N].by != me + 1 && ON(OTHERS, N) -> flight[me] = 0; tries = 0; beaten = TRACED; DID } goto newer
    :: atomic { FREE(N) && tries < TRIES && ON(ABSENT, N) -> tries++; DID }
       if :: BUG == NEXT_NUMBER -> goto newer :: BUG != NEXT_NUMBER -> goto create :: TRACED -> goto unknown fi
    :: !FAULTLESS -> goto unknown                               /* out of tries, or it cannot be read */
    fi;

created:
    if :: kind == VACUUM && BUG != DELETE_FIRST -> delete_listed :: else fi;        /* [Vacuum 3] */
    atomic { ON(ACK, N) -> assert(log[N].by == me + 1); settled = settled | BIT(me); DID } goto done     /* S4 */
redo:
    unstage; pass++; base = seen;
    if :: pass < PASSES -> goto plan :: else -> goto abort fi;
same: unstage;
    atomic { FOUND <= newest && ON(SAME, FOUND) -> settled = settled | BIT(me); DID } goto done
abort:
    unstage;
    atomic { ON(ABORT, 0) -> aborted = aborted | BIT(me); assert(!FAULTLESS && !(aborted & committed)); DID } goto done
unknown:                                                        /* [Commit 5] S6: nothing is deleted */
    if :: BUG == CLEAN_UNKNOWN -> unstage :: BUG == UNKNOWN_IS_LOST -> goto abort :: else fi;
    atomic { ON(UNKNOWN, 0) -> assert(!FAULTLESS); DID }
done:
}

init {
    byte c, k, kind, key;
    atomic {
        GIVEN;
        for (c : 0 .. COUNT - 1) { CHOOSE; run call(c, kind, key); run late(c) } }
    if
    :: FAULTLESS -> select(c : 0 .. COUNT); dead = BIT(c);      /* L1: all settle; L3: also if one has died */
                    timeout -> assert((settled | dead | BIT(COUNT)) == BIT(COUNT + 1) - 1)
    :: else fi
}
