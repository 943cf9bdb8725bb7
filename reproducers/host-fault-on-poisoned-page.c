// SPDX-License-Identifier: MIT
/*
 * A host fault between the poison bit of a page and the reference that memory_failure() takes. Refuted for 6.18 to 7.3.
 *
 *   host-fault-on-poisoned-page [guest-write|guest-read|prefault|host-read] [ROUNDS]
 *
 * Such a fault evicts the page from the page cache if it is clean and unreferenced. KVM marks every page that it maps
 * dirty, so a page of the guest stays; one that only the host has read is evicted (`host-read`, the control). What
 * would be wrong: the guest goes on with the old page while the host has a new one. An unaided run meets the window
 * rarely: of 15 rounds with the injector held at get_hwpoison_page() the control was evicted in 14. Needs root and
 * hwpoison-inject. Exit code 1: the guest kept an old page.
 */
#include "vcpu.h"

#include <setjmp.h>

#define PAGES 512

static __thread sigjmp_buf away;
static __thread volatile sig_atomic_t loading;
static uint8_t *map;
static long index_now;
static volatile int turn, over;
static atomic_long raced, signalled;

static void on_sigbus(int number UNUSED)
{
	if (loading)
		siglongjmp(away, 1);
}

/* 0 and the word, or 1 for SIGBUS. */
static int host_read(volatile uint32_t *page, uint32_t *value)
{
	if (sigsetjmp(away, 1)) {
		loading = 0;
		return 1;
	}
	loading = 1;
	*value = *page;
	loading = 0;
	return 0;
}

/* Reads the page and forgets its mapping, over and over, so that every read is a fault. */
static void *read_on(void *unused UNUSED)
{
	uint32_t value;
	int seen = 0;

	name_thread("host", 1);
	while (!over) {
		if (turn == seen) {
			sched_yield();
			continue;
		}
		seen = turn;
		while (turn == seen && !over) {
			raced++;
			if (host_read((void *)(map + index_now * PAGE), &value)) {
				signalled++;
				break;
			}
			madvise(map + index_now * PAGE, PAGE, MADV_DONTNEED);
		}
	}
	return NULL;
}

/* The injector has a process of its own: the signal and the mapping are not its affair. */
static pid_t start_injector(int asks[2], int answers[2])
{
	pid_t child = fork();
	uint64_t pfn;
	int ret;

	if (child)
		return child;
	name_thread("inject", 0);
	munmap(map, PAGES * PAGE);
	while (read(asks[0], &pfn, sizeof(pfn)) == sizeof(pfn)) {
		ret = inject_by_frame(pfn);
		if (write(answers[1], &ret, sizeof(ret)) != sizeof(ret))
			break;
	}
	_exit(0);
}

static void touch_page(struct vcpu *vcpu, const char *how, uint32_t *value)
{
	uint64_t gpa = GPA + index_now * PAGE;
	struct gmem_prefault range = { .gpa = gpa, .size = PAGE };
	int ret = 0;

	if (!strcmp(how, "host-read")) {
		ret = host_read((void *)(map + index_now * PAGE), value);
		madvise(map + index_now * PAGE, PAGE, MADV_DONTNEED);
	} else if (!strcmp(how, "prefault")) {
		ret = ioctl(vcpu->fd, GMEM_PREFAULT, &range);
		*value = 0;
	} else {
		ret = guest_access(vcpu, gpa, !strcmp(how, "guest-write"), value);
	}
	if (ret)
		die("the first access");
}

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "guest-write";
	long rounds = argc > 2 ? atol(argv[2]) : 400, evicted = 0, poisoned = 0, apart = 0;
	int vm = create_vm(), file, asks[2], answers[2], with_guest = strcmp(how, "host-read"), ret;
	struct vcpu vcpu = { 0 };
	pthread_t reader;
	pid_t injector;

	if (!can_be_mapped(vm)) {
		say("cannot run: this kernel cannot map a guest_memfd");
		return 2;
	}
	prepare_injection_by_frame();
	create_vcpu(&vcpu, vm);
	file = create_file(vm, PAGES, GMEM_MMAP | GMEM_INIT_SHARED);
	map = map_file(file, PAGES);
	if (set_slot(vm, 1, GPA, file, 0, PAGES, map))
		die("KVM_SET_USER_MEMORY_REGION2");
	signal(SIGBUS, on_sigbus);
	if (pipe(asks) || pipe(answers))
		die("pipe");
	say("%s, %ld rounds", how, rounds);
	injector = start_injector(asks, answers);
	pin_to(3);
	pthread_create(&reader, NULL, read_on, NULL);
	for (long round = 0; round < rounds; round++) {
		uint32_t value = 0x1000 + round, host = 0, guest = 0;
		uint64_t before, after;
		int bus, error;

		index_now = round % PAGES;
		clear_trace();
		if (fallocate(file, HOLE, index_now * PAGE, PAGE))
			die("PUNCH_HOLE");
		madvise(map + index_now * PAGE, PAGE, MADV_DONTNEED);
		touch_page(&vcpu, how, &value);
		before = frame_of(file, index_now);
		if (!before)
			die("the frame is not in the trace");
		write_file("/proc/sys/vm/drop_caches", "1"); /* the reference of an LRU batch would hide the question */
		turn++;
		usleep(200);
		if (write(asks[1], &before, sizeof(before)) != sizeof(before) ||
		    read(answers[0], &ret, sizeof(ret)) != sizeof(ret))
			die("injector");
		usleep(1000);
		bus = host_read((void *)(map + index_now * PAGE), &host);
		error = with_guest ? guest_access(&vcpu, GPA + index_now * PAGE, 0, &guest) : 0;
		after = frame_of(file, index_now);
		evicted += !bus && after != before;
		poisoned += error == EHWPOISON;
		apart += with_guest && !bus && after != before && !error && guest == value;
	}
	over = 1;
	turn++;
	pthread_join(reader, NULL);
	kill(injector, SIGKILL);
	waitpid(injector, NULL, 0);
	say("%ld racing reads, %ld with SIGBUS; page evicted %ld times; KVM_RUN with EHWPOISON %ld times", (long)raced,
	    (long)signalled, evicted, poisoned);
	say("RESULT: %s, %ld rounds: the guest kept a page that the host has no more %ld times", how, rounds, apart);
	return apart != 0;
}
