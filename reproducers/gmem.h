/* SPDX-License-Identifier: MIT */
/*
 * What the reproducers share: guest_memfd by ioctl, injected memory errors, a barrier, and a watch that tells a hang
 * and shows where the threads are. Include it first.
 *
 * The structures are written out here because the header of an older distribution lacks them.
 */
#ifndef GMEM_H
#define GMEM_H

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096ul
#define GPA 0x10000000ull /* where the guest has the file */

#ifndef MADV_HWPOISON
#define MADV_HWPOISON 100
#endif

#define GMEM_MMAP 1ull
#define GMEM_INIT_SHARED 2ull
#define SLOT_GUEST_MEMFD 4u
#define CAP_GUEST_MEMFD_FLAGS 244

struct gmem_create {
	uint64_t size, flags, reserved[6];
};

struct gmem_slot { /* struct kvm_userspace_memory_region2 */
	uint32_t slot, flags;
	uint64_t gpa, size, address, offset;
	uint32_t fd, pad1;
	uint64_t pad2[14];
};

struct gmem_prefault {
	uint64_t gpa, size, flags, padding[5];
};

#define GMEM_CREATE _IOWR(KVMIO, 0xd4, struct gmem_create)
#define GMEM_SET_SLOT _IOW(KVMIO, 0x49, struct gmem_slot)
#define GMEM_PREFAULT _IOWR(KVMIO, 0xd5, struct gmem_prefault)

#define HOLE (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)
#define UNUSED __attribute__((unused))

static int kvm_fd = -1;

static inline uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

__attribute__((format(printf, 1, 2))) static inline void say(const char *format, ...)
{
	static uint64_t begin;
	va_list arguments;

	if (!begin)
		begin = now_ns();
	printf("[%8.3f] ", (now_ns() - begin) / 1e9);
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	printf("\n");
	fflush(stdout);
}

__attribute__((noreturn)) static inline void die(const char *what)
{
	say("cannot run: %s: %s", what, strerror(errno));
	exit(2);
}

static inline void pin_to(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu % sysconf(_SC_NPROCESSORS_ONLN), &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static inline void name_thread(const char *name, int cpu)
{
	prctl(PR_SET_NAME, name);
	pin_to(cpu);
}

static inline unsigned int draw(unsigned int *state)
{
	*state = *state * 1664525u + 1013904223u;
	return *state >> 8;
}

static inline void spin(unsigned int turns)
{
	for (volatile unsigned int i = 0; i < turns; i++)
		;
}

/* 0, or -errno. */
static inline int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), ret = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

/* -- guest_memfd ------------------------------------------------------------------------------- */

static inline int create_vm(void)
{
	int vm;

	if (kvm_fd < 0)
		kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm_fd < 0)
		die("/dev/kvm");
	vm = ioctl(kvm_fd, KVM_CREATE_VM, 0);
	if (vm < 0)
		die("KVM_CREATE_VM");
	return vm;
}

/* Whether files of this VM can be mapped by the host (Linux 6.18 and later). */
static inline int can_be_mapped(int vm)
{
	int flags = ioctl(vm, KVM_CHECK_EXTENSION, CAP_GUEST_MEMFD_FLAGS);

	return flags > 0 && (flags & 3) == 3;
}

static inline int create_file(int vm, unsigned long pages, uint64_t flags)
{
	struct gmem_create args = { .size = pages * PAGE, .flags = flags };
	int fd = ioctl(vm, GMEM_CREATE, &args);

	if (fd < 0)
		die("KVM_CREATE_GUEST_MEMFD");
	return fd;
}

static inline void *map_file(int fd, unsigned long pages)
{
	void *map = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (map == MAP_FAILED)
		die("mmap of the file");
	return map;
}

/* Make a slot of `pages` pages of the file, from page `first`; 0 pages: delete it. */
static inline int set_slot(int vm, int slot, uint64_t gpa, int fd, unsigned long first, unsigned long pages, void *address)
{
	struct gmem_slot args = { .slot = slot, .gpa = gpa, .size = pages * PAGE };

	if (pages) {
		args.flags = SLOT_GUEST_MEMFD;
		args.address = (uintptr_t)address;
		args.offset = first * PAGE;
		args.fd = fd;
	}
	return ioctl(vm, GMEM_SET_SLOT, &args);
}

/* -- memory errors ----------------------------------------------------------------------------- */

#define TRACE "/sys/kernel/tracing/"
#define ADDED "events/filemap/mm_filemap_add_to_page_cache/enable"
#define CORRUPT_PFN "/sys/kernel/debug/hwpoison/corrupt-pfn"

static inline void clear_trace(void)
{
	close(open(TRACE "trace", O_WRONLY | O_TRUNC | O_CLOEXEC));
}

/* For files that cannot be mapped: the frame is read from the tracepoint of its insertion, the error injected by it. */
static inline void prepare_injection_by_frame(void)
{
	if (write_file(TRACE ADDED, "1") || write_file(TRACE "tracing_on", "1"))
		die(TRACE ADDED " (is tracefs mounted?)");
	if (access(CORRUPT_PFN, W_OK))
		die(CORRUPT_PFN " (modprobe hwpoison-inject; mount debugfs)");
}

/* Frame of page `index` of the file, put into it since `clear_trace`; 0: not found. */
static inline uint64_t frame_of(int fd, unsigned long index)
{
	FILE *trace = fopen(TRACE "trace", "re");
	uint64_t pfn = 0;
	struct stat stat;
	char line[512];

	if (!trace || fstat(fd, &stat))
		die(TRACE "trace");
	while (fgets(line, sizeof(line), trace)) {
		char *event = strstr(line, "mm_filemap_add_to_page_cache:");
		char *ino, *frame, *offset;

		if (!event)
			continue;
		ino = strstr(event, " ino ");
		frame = strstr(event, "pfn=0x");
		offset = strstr(event, "ofs=");
		if (ino && frame && offset && strtoull(ino + 5, NULL, 16) == stat.st_ino &&
		    strtoull(offset + 4, NULL, 0) == index * PAGE)
			pfn = strtoull(frame + 6, NULL, 16);
	}
	fclose(trace);
	return pfn;
}

/* 0, or -errno of memory_failure. */
static inline int inject_by_frame(uint64_t pfn)
{
	char text[32];

	snprintf(text, sizeof(text), "0x%llx", (unsigned long long)pfn);
	return write_file(CORRUPT_PFN, text);
}

static inline int inject_by_address(void *page)
{
	return madvise(page, PAGE, MADV_HWPOISON) ? -errno : 0;
}

/* The signal that an injected error sends to its injector; ignored, it would end the process. */
static inline void on_memory_error(int number UNUSED)
{
}

/* -- rounds, and a watch over them ---------------------------------------------------------------- */

static atomic_int barrier_inside, barrier_turn;
static int barrier_parties;

/* Spins, so that all leave at almost the same moment; yields now and then, because virtual CPUs may share one. */
static inline void meet(void)
{
	int turn = barrier_turn;

	if (atomic_fetch_add(&barrier_inside, 1) == barrier_parties - 1) {
		barrier_inside = 0;
		barrier_turn = turn + 1;
		return;
	}
	for (int i = 0; barrier_turn == turn; i++)
		if (i > 2000) {
			sched_yield();
			i = 0;
		}
}

static inline void print_file(const char *path)
{
	char buffer[4096];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t count;

	if (fd < 0)
		return;
	while ((count = read(fd, buffer, sizeof(buffer) - 1)) > 0) {
		buffer[count] = 0;
		printf("%s", buffer);
	}
	close(fd);
	fflush(stdout);
}

/* State and kernel stack of a task below /proc. */
static inline void print_task(const char *task)
{
	char path[320], stat[512], *name, *end;
	ssize_t count;
	int fd;

	snprintf(path, sizeof(path), "%s/stat", task);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	count = read(fd, stat, sizeof(stat) - 1);
	close(fd);
	if (count <= 0)
		return;
	stat[count] = 0;
	name = strchr(stat, '(');
	end = strrchr(stat, ')');
	if (!name || !end)
		return;
	printf("--- %.*s state %c\n", (int)(end - name + 1), name, end[2]);
	snprintf(path, sizeof(path), "%s/stack", task);
	print_file(path);
}

static inline void print_threads(void)
{
	DIR *tasks = opendir("/proc/self/task");
	struct dirent *entry;
	char path[300];

	while (tasks && (entry = readdir(tasks)))
		if (entry->d_name[0] != '.' && atoi(entry->d_name) != getpid()) {
			snprintf(path, sizeof(path), "/proc/self/task/%s", entry->d_name);
			print_task(path);
		}
	if (tasks)
		closedir(tasks);
}

/* Whether something else still works: in a process of its own, which has eight seconds. */
static inline void bystander(const char *what, void (*does)(void))
{
	char path[64];
	pid_t child;

	fflush(stdout);
	child = fork();
	if (!child) {
		does();
		_exit(0);
	}
	for (int i = 0; i < 80; i++) {
		if (waitpid(child, NULL, WNOHANG) == child) {
			say("%s: works", what);
			return;
		}
		usleep(100000);
	}
	say("%s: does not come back", what);
	snprintf(path, sizeof(path), "/proc/%d", child);
	print_task(path);
}

/* HardwareCorrupted of /proc/meminfo, in pages: injected errors that memory_failure has counted; -1 if it is not there. */
static inline long pages_with_errors(void)
{
	FILE *file = fopen("/proc/meminfo", "r");
	char line[128];
	long kilobytes = -1;

	while (file && kilobytes < 0 && fgets(line, sizeof(line), file))
		sscanf(line, "HardwareCorrupted: %ld", &kilobytes);
	if (file)
		fclose(file);
	return kilobytes < 0 ? -1 : kilobytes / 4;
}

#define STILL 20 /* seconds without a round that mean a hang */

/* Wait for `threads` counters to reach `rounds`: 0, or 1 if they stand still. */
static inline int watch_rounds(atomic_long *done, int threads, long rounds)
{
	uint64_t begin = now_ns(), moved = begin;
	long last = -1;

	for (;;) {
		long sum = 0, least = rounds;

		usleep(200000);
		for (int i = 0; i < threads; i++) {
			sum += done[i];
			if (done[i] < least)
				least = done[i];
		}
		if (least >= rounds) {
			say("RESULT: no hang in %ld rounds, %.1f s, %ld pages with an error", rounds,
			    (now_ns() - begin) / 1e9, pages_with_errors());
			return 0;
		}
		if (sum != last) {
			last = sum;
			moved = now_ns();
		} else if (now_ns() - moved > STILL * 1000000000ull) {
			say("RESULT: hung in round %ld, %.1f s after the start", least + 1, (moved - begin) / 1e9);
			print_threads();
			return 1;
		}
	}
}

#endif
