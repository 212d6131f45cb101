/* What commit.pml asks of its surroundings where a recorded run decides: a visible step is possible only where it is
the next event of the run; what no event shows stays free. The run is the model's if `at` can reach its end.

The run is read from the file that $TRACE names, as tests/protocol/traces.py writes it, all numbers: how many calls; for
each of them whether it is a vacuum; how many events; for each of these its number in mtype:event, call, version, and
files: what the version adds, removes and lists, or the file that it is about. Calls, versions and files are at most as
many as a set has bits. */

#define TRACED      true
#define BUG         NONE
#define FAULTLESS   false
#define SPARE       false
#define COUNT       31
#define LAST        31
#define PASSES      255
#define TRIES       255
#define LOSSES      255
#define EVENTS      4000

short at;                           /* the next event */
hidden byte calls;
hidden byte vacuums[COUNT];
hidden byte name[EVENTS];
hidden byte caller[EVENTS];
hidden byte version[EVENTS];
hidden int files[EVENTS];
hidden int removes[EVENTS];
hidden int lists[EVENTS];
hidden int would_remove[1024];      /* by call and version: what it removes there, and lists */
hidden int would_list[1024];

c_code {
    static int furthest = -1, events;
    static void got_to(int now_at) {
        if (now_at > furthest) printf("got to %d\n", furthest = now_at);
        if (now_at == events) exit(0);
    }
    static int number(FILE *run) {
        int found;
        if (fscanf(run, "%d", &found) != 1) { printf("the run is cut short\n"); exit(1); }
        return found;
    }
    static void load(void) {
        FILE *run = fopen(getenv("TRACE"), "r");
        calls = number(run);
        for (int call = 0; call < calls; call++) vacuums[call] = number(run);
        events = number(run);
        for (int n = 0; n < events; n++) {
            name[n] = number(run); caller[n] = number(run); version[n] = number(run);
            files[n] = number(run); removes[n] = number(run); lists[n] = number(run);
            would_remove[caller[n] * 32 + version[n]] |= removes[n];
            would_list[caller[n] * 32 + version[n]] |= lists[n];
        }
        fclose(run);
        got_to(0);
    }
}

#define GIVEN       c_code { load(); }
#define CHOOSE      if :: c == calls -> break :: else -> kind = (vacuums[c] -> VACUUM : OTHER); key = 0 fi
#define ATOMIC
#define SAME_BYTES  (mine[me].adds == files[at] && mine[me].removes == removes[at] && mine[me].lists == lists[at])
#define ON(event, n) (name[at] == event && caller[at] == me && version[at] == (n) && \
                     (event == PUT && SAME_BYTES || event != PUT && !(dead & BIT(me))))
#define DID         at++; c_code { got_to(now.at); }
#define FOUND       version[at]
#define STAGED      files[at]
#define UNSTAGED    files[at]
#define DELETED     files[at]
#define FOLDER      would_list[me * 32 + N]
#define REMOVES     (would_remove[me * 32 + N] & live[base])
#define assert(fact) (fact)         /* what breaks a property is no run of the model */

/* Steps that no event shows are taken just after or just before an event of the same call. Other moments bring nothing:
all that such steps ask is whether a number is still free. */
#define WHO         (_pid - 2) / 2
#define RUNS        caller[at] == WHO || at > 0 && caller[at - 1] == WHO

active proctype crash() {           /* what a crashed process sent may still be applied */
end:do
    :: atomic { name[at] == CRASH -> dead = dead | BIT(caller[at]); DID }
    od
}
