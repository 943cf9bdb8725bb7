// SPDX-License-Identifier: MIT
/*
 * memory_failure() against PUNCH_HOLE of the same page.
 *
 *   memory-failure-against-punch [ROUNDS [private]]
 *
 * One thread injects an error into a page, another punches it. memory_failure() has the folio locked when it calls
 * kvm_gmem_error_folio(), which takes the invalidate lock shared; the hole has that lock exclusively and waits for the
 * folio. The file is one that the host can map, or, where there is none or with `private`, a private one; errors in that
 * come from hwpoison-inject. Exit code 1: both hang, and then what else of the system hangs is tried.
 */
#include "gmem.h"

#define PAGES 64
#define INDEX 3 /* the page under fire */
#define DELAY 4000 /* turns that each thread spins at most before it begins */

static int vm, file, mapped;
static uint8_t *map;
static uint64_t frame;
static long rounds;
static atomic_long done[2];

static void allocate_page(void)
{
	if (mapped) {
		/* A hole leaves the poison in the host's page table (poisoned-mapping-survives-punch.c). */
		madvise(map + INDEX * PAGE, PAGE, MADV_DONTNEED);
		map[INDEX * PAGE] = 1;
		return;
	}
	clear_trace();
	if (fallocate(file, FALLOC_FL_KEEP_SIZE, INDEX * PAGE, PAGE))
		die("fallocate");
	frame = frame_of(file, INDEX);
	if (!frame)
		die("the frame is not in the trace");
}

static void *fail(void *unused UNUSED)
{
	unsigned int random = 7;

	name_thread("fail", 0);
	for (long i = 0; i < rounds; i++) {
		allocate_page();
		meet();
		spin(draw(&random) % DELAY);
		if (mapped)
			inject_by_address(map + INDEX * PAGE);
		else
			inject_by_frame(frame);
		done[0] = i + 1;
		meet();
		meet();
	}
	return NULL;
}

static void *punch(void *unused UNUSED)
{
	unsigned int random = 99;

	name_thread("punch", 1);
	for (long i = 0; i < rounds; i++) {
		meet();
		spin(draw(&random) % DELAY);
		if (fallocate(file, HOLE, INDEX * PAGE, PAGE))
			die("PUNCH_HOLE");
		done[1] = i + 1;
		meet();
		/* Whoever came first: the next round begins with a new page. */
		if (fallocate(file, HOLE, INDEX * PAGE, PAGE))
			die("PUNCH_HOLE");
		meet();
	}
	return NULL;
}

static void allocate_another(void)
{
	fallocate(file, FALLOC_FL_KEEP_SIZE, (PAGES - 1) * PAGE, PAGE);
}

static void use_another_file(void)
{
	int other = create_file(create_vm(), 1, 0);

	fallocate(other, FALLOC_FL_KEEP_SIZE, 0, PAGE);
	fallocate(other, HOLE, 0, PAGE);
}

static void fail_elsewhere(void)
{
	char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	*page = 1;
	madvise(page, PAGE, MADV_HWPOISON);
}

int main(int argc, char **argv)
{
	pthread_t threads[2];

	rounds = argc > 1 ? atol(argv[1]) : 20000;
	vm = create_vm();
	mapped = can_be_mapped(vm) && argc < 3;
	file = create_file(vm, PAGES, mapped ? GMEM_MMAP | GMEM_INIT_SHARED : 0);
	if (mapped)
		map = map_file(file, PAGES);
	else
		prepare_injection_by_frame();
	signal(SIGBUS, on_memory_error);
	say("%s, %ld rounds", mapped ? "MADV_HWPOISON on a mapped file" : "hwpoison-inject on a private file", rounds);
	barrier_parties = 2;
	pthread_create(&threads[0], NULL, fail, NULL);
	pthread_create(&threads[1], NULL, punch, NULL);
	if (!watch_rounds(done, 2, rounds))
		return 0;
	bystander("fallocate of another page of the file", allocate_another);
	bystander("another file of another VM", use_another_file);
	bystander("a memory error in an anonymous page of another process", fail_elsewhere);
	_exit(1);
}
