// SPDX-License-Identifier: MIT
/*
 * memory_failure() against fallocate() of the page, with a writer of the file queued between them.
 *
 *   memory-failure-allocation-writer [punch|bind [ROUNDS]]
 *
 * fallocate() has the invalidate lock shared and waits for the folio that memory_failure() has locked. The error hook
 * wants that lock shared as well, which would be fine, but stands behind a writer in the queue, and the writer waits
 * for fallocate(). The writer need not touch the page: a hole elsewhere in the file will do, or a memslot ioctl.
 * Needs a file that the host can map (Linux 6.18 and later). Exit code 1: all three hang.
 */
#include "gmem.h"

#define PAGES 64 /* that fallocate goes through */
#define INDEX (PAGES - 1) /* the page under fire: the last of them */
#define OTHER (PAGES + 1) /* what the writer works on */
#define DELAY 20000

static int vm, file, bind;
static uint8_t *map;
static long rounds;
static atomic_long done[3];

static void *fail(void *unused UNUSED)
{
	unsigned int random = 7;

	name_thread("fail", 0);
	for (long i = 0; i < rounds; i++) {
		madvise(map + INDEX * PAGE, PAGE, MADV_DONTNEED);
		map[INDEX * PAGE] = 1;
		meet();
		spin(draw(&random) % DELAY);
		inject_by_address(map + INDEX * PAGE);
		done[0] = i + 1;
		meet();
		meet();
	}
	return NULL;
}

static void *write_lock(void *unused UNUSED)
{
	unsigned int random = 99;

	name_thread("writer", 1);
	for (long i = 0; i < rounds; i++) {
		meet();
		spin(draw(&random) % DELAY);
		if (bind) {
			/* Made in one round, deleted in the next. */
			if (set_slot(vm, 7, GPA, file, OTHER, i % 2 ? 0 : 1, map))
				die("KVM_SET_USER_MEMORY_REGION2");
		} else if (fallocate(file, HOLE, OTHER * PAGE, PAGE)) {
			die("PUNCH_HOLE elsewhere");
		}
		done[1] = i + 1;
		meet();
		meet();
	}
	return NULL;
}

static void *allocate(void *unused UNUSED)
{
	unsigned int random = 31;

	name_thread("allocate", 2);
	for (long i = 0; i < rounds; i++) {
		meet();
		spin(draw(&random) % DELAY);
		if (fallocate(file, FALLOC_FL_KEEP_SIZE, 0, PAGES * PAGE))
			die("fallocate");
		done[2] = i + 1;
		meet();
		if (fallocate(file, HOLE, INDEX * PAGE, PAGE))
			die("PUNCH_HOLE");
		meet();
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[3];

	bind = argc > 1 && !strcmp(argv[1], "bind");
	rounds = argc > 2 ? atol(argv[2]) : 20000;
	vm = create_vm();
	if (!can_be_mapped(vm)) {
		say("cannot run: this kernel cannot map a guest_memfd");
		return 2;
	}
	file = create_file(vm, 1024, GMEM_MMAP | GMEM_INIT_SHARED);
	map = map_file(file, 1024);
	signal(SIGBUS, on_memory_error);
	if (fallocate(file, FALLOC_FL_KEEP_SIZE, 0, PAGES * PAGE))
		die("fallocate");
	say("the writer is %s, %ld rounds", bind ? "a memslot ioctl" : "PUNCH_HOLE of another page", rounds);
	barrier_parties = 3;
	pthread_create(&threads[0], NULL, fail, NULL);
	pthread_create(&threads[1], NULL, write_lock, NULL);
	pthread_create(&threads[2], NULL, allocate, NULL);
	_exit(watch_rounds(done, 3, rounds));
}
