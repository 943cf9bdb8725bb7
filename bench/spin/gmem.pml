/* guest_memfd in small: NV vCPUs take F faults each on two pages, a converter flips the kind of a page C times.
 *
 * The same program, step for step, is `small_model` in ../explore_spin.py: every statement here that another process can
 * observe is one trap there, and what is in d_step or atomic belongs to one trap. A blocked guard there is a park.
 *
 * A fault: snapshot the sequence, read the kind of the page, take the invalidate lock shared and the folio lock, make
 * the page ready if it is private and was not, drop both, and install under mmu_lock unless an invalidation ran
 * meanwhile (then wait for its end and retry). A conversion, under the invalidate lock exclusive: begin the
 * invalidation and unmap, flip the kind, take readiness away if it is shared now, end the invalidation.
 *
 * -DNO_RETRY leaves the check out, -DNO_UNMAP the unmapping; both break the assertion or leave a stale mapping.
 */
#ifndef NV
#define NV 2
#endif
#ifndef F
#define F 1
#endif
#ifndef C
#define C 1
#endif
#define NP 2

byte readers = 0, seq = 0, done = 0;
bit writer = 0, in_progress = 0;
bit folio[NP], ready[NP], private[NP];
byte mapped[NP];     /* a bit a vCPU */
bit kind[NP];        /* kind of the mappings that are there */

proctype vcpu(byte id)
{
  byte p, s, n = 0;
  bit k;
  do
  :: n < F ->
     if :: p = 0 :: p = 1 fi;
retry:
     s = seq;
     k = private[p];
     atomic { !writer -> readers++ };
     atomic { !folio[p] -> folio[p] = 1 };
     d_step { if :: k && !ready[p] -> ready[p] = 1 :: else fi };
     folio[p] = 0;
     readers--;
     atomic {
       if
#ifndef NO_RETRY
       :: in_progress || s != seq -> skip
#endif
       :: else ->
          assert(k == private[p]);
          assert(!k || ready[p]);
          mapped[p] = mapped[p] | (1 << id);
          kind[p] = k;
          n++;
          goto next
       fi
     };
     !in_progress;
     goto retry;
next: skip
  :: n == F -> break
  od;
  done++
}

proctype converter()
{
  byte p, n = 0;
  do
  :: n < C ->
     if :: p = 0 :: p = 1 fi;
     atomic { !writer && readers == 0 -> writer = 1 };
     d_step { in_progress = 1;
#ifndef NO_UNMAP
              mapped[p] = 0
#endif
            };
     private[p] = 1 - private[p];
     d_step { if :: !private[p] -> ready[p] = 0 :: else fi };
     d_step { seq++; in_progress = 0 };
     writer = 0;
     n++
  :: n == C -> break
  od;
  done++
}

init
{
  byte i = 0;
  atomic {
    do :: i < NV -> run vcpu(i); i++ :: else -> break od;
    run converter()
  };
  done == NV + 1;
  assert(!mapped[0] || kind[0] == private[0]);
  assert(!mapped[1] || kind[1] == private[1])
}
