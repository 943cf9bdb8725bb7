// SPDX-License-Identifier: MIT
/*
 * A slot of a dying file is unbound while memory_failure() invalidates it. Linux before 7.3.
 *
 *   unbind-during-memory-failure [ROUNDS]
 *
 * kvm_gmem_error_folio() starts an invalidation, and would end it for the slots that are bound then. kvm_gmem_unbind()
 * of a file whose last reference is gone clears the binding without the invalidate lock, so the end finds nothing and
 * mmu_invalidate_in_progress of the VM stays raised; the slot is freed while the hook may still use it. A hit: a
 * pre-fault of the gfn, bound to another file since, does not end until a signal; and a warning in kvm_destroy_vm().
 *
 * The window is between start and end of the hook. A SCHED_FIFO thread on the injector's CPU preempts it there, with
 * luck; that the hook is near is seen in /proc/kpageflags, where the page is off the LRU by then. Needs root, four CPUs
 * and hwpoison-inject. Exit code 1: three hits.
 */
#include "vcpu.h"

#include <sys/eventfd.h>
#include <sys/time.h>

#define PAGES 16
#define HITS 3
#define KPF_LRU 5
#define KPF_HWPOISON 19

static int file, wake, running = 1;
static uint64_t frame;
static unsigned int delay;
static volatile int injected, go;
static struct vcpu vcpu;

/* Burns the injector's CPU for 60 ms whenever it is woken. */
static void *preempt(void *unused UNUSED)
{
	struct sched_param priority = { .sched_priority = 10 };
	uint64_t count, end;

	name_thread("preempt", 3);
	if (sched_setscheduler(0, SCHED_FIFO, &priority))
		die("SCHED_FIFO");
	while (running && read(wake, &count, sizeof(count)) == sizeof(count))
		for (end = now_ns() + 60000000; now_ns() < end;)
			;
	return NULL;
}

static void *fail(void *unused UNUSED)
{
	name_thread("fail", 3);
	meet();
	usleep(500);
	inject_by_frame(frame);
	injected = 1;
	return NULL;
}

static void *close_file(void *unused UNUSED)
{
	name_thread("close", 2);
	meet();
	while (!go)
		;
	spin(delay);
	close(file);
	return NULL;
}

static void give_up(int number UNUSED)
{
	vcpu.stop = 1;
}

/* Wait until memory_failure() has taken the page off the LRU: the hook comes next. */
static void wait_for_hook(int flags_fd)
{
	uint64_t flags, end = now_ns() + 2000000000;

	do
		if (pread(flags_fd, &flags, sizeof(flags), frame * sizeof(flags)) != sizeof(flags))
			die("/proc/kpageflags");
	while (!(flags >> KPF_HWPOISON & 1 && !(flags >> KPF_LRU & 1)) && now_ns() < end && !injected);
}

/* Whether faults of the gfn in use are retried for ever: the slot is another file's by now. */
static int is_stuck(int vm, void *address)
{
	struct gmem_prefault range = { .gpa = GPA, .size = PAGE };
	struct itimerval none = { 0 }, soon = { { 1, 0 }, { 2, 0 } };
	int other = create_file(vm, PAGES, GMEM_MMAP | GMEM_INIT_SHARED), ret, error;

	if (set_slot(vm, 3, GPA, other, 0, PAGES, address))
		die("KVM_SET_USER_MEMORY_REGION2");
	setitimer(ITIMER_REAL, &soon, NULL);
	do {
		ret = ioctl(vcpu.fd, GMEM_PREFAULT, &range);
		error = errno;
	} while (ret && error == EAGAIN && !vcpu.stop);
	setitimer(ITIMER_REAL, &none, NULL);
	close(other);
	return ret && (error == EINTR || error == EAGAIN);
}

static int one_round(long round, unsigned int *random)
{
	pthread_t closer, injector;
	uint64_t one = 1, begin, took;
	unsigned int later;
	int vm = create_vm(), flags_fd, hit;
	void *address = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	memset(&vcpu, 0, sizeof(vcpu));
	create_vcpu(&vcpu, vm);
	file = create_file(vm, PAGES, GMEM_MMAP | GMEM_INIT_SHARED);
	if (set_slot(vm, 1, GPA, file, 0, PAGES, address))
		die("KVM_SET_USER_MEMORY_REGION2");
	clear_trace();
	if (fallocate(file, FALLOC_FL_KEEP_SIZE, 0, PAGE))
		die("fallocate");
	frame = frame_of(file, 0);
	if (!frame)
		die("the frame is not in the trace");
	write_file("/proc/sys/vm/drop_caches", "1"); /* drains the LRU batches: the page must be on the LRU */
	usleep(1000);
	flags_fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	injected = go = 0;
	delay = draw(random) % 1500;
	later = draw(random) % 6000;
	barrier_parties = 3;
	pthread_create(&closer, NULL, close_file, NULL);
	pthread_create(&injector, NULL, fail, NULL);
	pin_to(1);
	meet();
	wait_for_hook(flags_fd);
	spin(later);
	if (write(wake, &one, sizeof(one)) != sizeof(one))
		die("eventfd");
	go = 1;
	begin = now_ns();
	if (set_slot(vm, 1, GPA, -1, 0, 0, NULL))
		die("deletion of the slot");
	took = now_ns() - begin;
	pthread_join(injector, NULL);
	pthread_join(closer, NULL);
	hit = is_stuck(vm, address);
	if (hit)
		say("round %ld: hit; the deletion took %.1f ms", round, took / 1e6);
	close(flags_fd);
	destroy_vcpu(&vcpu);
	close(vm);
	munmap(address, PAGES * PAGE);
	return hit;
}

int main(int argc, char **argv)
{
	long rounds = argc > 1 ? atol(argv[1]) : 500, round, hits = 0;
	struct sigaction action = { .sa_handler = give_up };
	unsigned int random = 5;
	pthread_t hog;
	int vm = create_vm(); /* stays open: KVM is not switched off and on in every round */

	if (!can_be_mapped(vm)) {
		say("cannot run: this kernel has no slots with guest_memfd for an ordinary VM");
		return 2;
	}
	prepare_injection_by_frame();
	sigaction(SIGALRM, &action, NULL);
	wake = eventfd(0, EFD_SEMAPHORE);
	pthread_create(&hog, NULL, preempt, NULL);
	for (round = 1; round <= rounds && hits < HITS; round++) {
		hits += one_round(round, &random);
		if (round % 50 == 0)
			say("%ld rounds, %ld hits", round, hits);
	}
	say("RESULT: %ld hits in %ld rounds", hits, round - 1);
	return hits >= HITS;
}
