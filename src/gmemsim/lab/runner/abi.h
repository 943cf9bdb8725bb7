/* SPDX-License-Identifier: MIT */
/*
 * What the runner needs of the KVM API, written out because the header of an older distribution lacks it, and of the
 * program that it is given. Opcodes and outcomes are those of gmemsim/lab/wire.py.
 */
#ifndef ABI_H
#define ABI_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
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
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096ull

struct gmem_create {
	uint64_t size, flags, reserved[6];
};

struct gmem_region { /* struct kvm_userspace_memory_region2 */
	uint32_t slot, flags;
	uint64_t gpa, size, address, offset;
	uint32_t fd, pad1;
	uint64_t pad2[14];
};

struct gmem_prefault {
	uint64_t gpa, size, flags, padding[5];
};

struct gmem_attributes {
	uint64_t address, size, attributes, flags;
};

struct gmem_attributes2 { /* of the file, where a series has it */
	uint64_t offset, size, attributes, flags, error_offset, reserved[11];
};

#define GMEM_CREATE _IOWR(KVMIO, 0xd4, struct gmem_create)
#define GMEM_SET_REGION _IOW(KVMIO, 0x49, struct gmem_region)
#define GMEM_PREFAULT _IOWR(KVMIO, 0xd5, struct gmem_prefault)
#define GMEM_SET_ATTRIBUTES _IOW(KVMIO, 0xd2, struct gmem_attributes)
#define GMEM_SET_ATTRIBUTES2 _IOWR(KVMIO, 0xd2, struct gmem_attributes2)
#define GMEM_MMAP 1ull
#define GMEM_INIT_SHARED 2ull
#define ATTRIBUTE_PRIVATE (1ull << 3)
#define REGION_GUEST_MEMFD 4u
#define EXIT_MEMORY_FAULT 39
#ifndef EHWPOISON
#define EHWPOISON 133
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_HWPOISON
#define MADV_HWPOISON 100
#endif

/* Outcomes beside 0 and errnos. */
enum {
	OUT_SIGBUS = 1000,
	OUT_SIGSEGV,
	OUT_EXIT_MEMORY_FAULT,
	OUT_EXIT_MMIO,
	OUT_EXIT_LOOP,
	OUT_EXIT_OTHER,
	OUT_SHORT,
	OUT_CANNOT, /* the runner could not do it: no outcome of the kernel's */
};

enum opcode {
	OP_NEXT = 0, /* of a task that repeats: a new round */
	OP_GUEST_TOUCH,
	OP_GUEST_READ,
	OP_GUEST_WRITE,
	OP_PREFAULT,
	OP_HOST_TOUCH,
	OP_HOST_READ,
	OP_HOST_WRITE,
	OP_MMAP,
	OP_MUNMAP,
	OP_MADVISE,
	OP_COLLAPSE,
	OP_PIN,
	OP_UNPIN,
	OP_CREATE,
	OP_CLOSE,
	OP_ALLOCATE,
	OP_PUNCH,
	OP_FILE_WRITE,
	OP_FILE_READ,
	OP_FTRUNCATE,
	OP_FILE_IOCTL,
	OP_MEMORY_FAILURE,
	OP_SET_FILE_ATTRIBUTES,
	OP_BIND,
	OP_UNBIND,
	OP_SET_ATTRIBUTES,
	OP_SLEEP,
	OP_SIGNAL,
	OP_BARRIER,
	OP_MADVISE_FAILURE, /* MADV_HWPOISON on a mapping: faults the page in first */
	OP_CONVERT,
	/* Of conformance vectors: one call each, byte by byte as they say (vectors.c). */
	OP_RAW_CREATE,
	OP_RAW_FALLOCATE,
	OP_RAW_STAT,
	OP_RAW_READ,
	OP_RAW_WRITE,
	OP_RAW_PREAD,
	OP_RAW_PWRITE,
	OP_RAW_MMAP,
	OP_RAW_MUNMAP,
	OP_RAW_MADVISE,
	OP_RAW_LOAD,
	OP_RAW_STORE,
	OP_RAW_BIND,
	OP_RAW_BIND1,
	OP_RAW_ATTRIBUTES,
	OP_RAW_CONVERT,
	OP_RAW_PREFAULT,
	OP_RAW_MBIND,
	OP_RAW_MEMPOLICY,
	OP_RAW_GUEST_LOAD,
	OP_RAW_GUEST_STORE,
	OP_RAW_FLAGS,
	OP_RAW_RESUME, /* KVM_RUN again, registers as they are */
	OP_RAW_INJECT,
	OP_RAW_UNPOISON,
	OP_RAW_NODE,
	OP_RAW_VCPU, /* calls of vCPUs are this one's from here on */
	OP_SIGNAL_PENDING, /* with the task's next call a signal arrives */
	OP_RAW_FORK, /* the task's calls are made by a child process from here on */
	OP_RAW_EXIT,
};

#define MOST_VMS 4
#define MOST_VCPUS 16
#define MOST_FILES 128
#define MOST_BUFFERS 16
#define MOST_SLOTS 32
#define MOST_MAPS 64
#define MOST_TASKS 32
#define MOST_BARRIERS 16

struct op {
	int opcode;
	int64_t a, b, c, d, e, f;
};

struct vm {
	int type, vcpus, policy; /* policy: 0 re-enter, 1 convert, 2 stop */
	int fd;
	uint8_t *low;
};

struct vcpu {
	int fd;
	struct kvm_run *run;
	int number;
};

struct file {
	int vm, absent, fd;
	uint64_t bytes, flags;
};

struct buffer {
	uint64_t pages;
	uint8_t *memory;
};

struct slot {
	uint32_t id, flags;
	int vm, file, buffer, absent; /* buffer -1: a mapping of the file */
	uint64_t gfn, pages, start;
	uint8_t *address;
	int address_file; /* fd that `address` shows */
};

struct map {
	int file, absent;
	uint64_t start, pages;
	uint64_t bytes; /* of a vector's */
	_Atomic(uint8_t *) memory;
	int *pins; /* a ring of io_uring for every page that is pinned */
};

struct result {
	int opcode, code, count;
	int values; /* first of `count` in the task's values */
};

struct task {
	char name[32];
	int vm, vcpu, until, background;
	int64_t start_low, start_high;
	struct op *ops;
	int count, room;
	/* of the present round */
	pthread_t thread;
	pid_t tid;
	int index, stopped;
	struct result *results;
	int done, results_room;
	int64_t *values;
	int nvalues, values_room;
	unsigned int luck;
	int armed; /* a signal arrives with the next call */
	pid_t child; /* makes the calls, if not 0 */
	int to_child, from_child;
	atomic_int at; /* operation under way, for the watch; -1: between rounds */
};

struct scenario {
	int id, rounds, trace, each;
	unsigned int seed;
	int64_t spread; /* ns: longest drawn delay between operations */
	int stop_after; /* seconds; 0: all rounds */
	int still; /* seconds without progress that are a hang */
	int report_seconds; /* seconds for the kernel's words after one that nothing ends */
	struct vm vms[MOST_VMS];
	struct file files[MOST_FILES];
	struct buffer buffers[MOST_BUFFERS];
	struct slot slots[MOST_SLOTS];
	struct map maps[MOST_MAPS];
	struct task tasks[MOST_TASKS];
	struct task setup;
	int parties[MOST_BARRIERS];
	int nvms, nfiles, nbuffers, nslots, nmaps, ntasks, nbarriers;
};

/* What the watch sees of the child. */
struct progress {
	atomic_long round;
	atomic_long steps;
	atomic_int at[MOST_TASKS];
};

extern struct scenario *S;
extern struct progress *progress;
extern int kvm_fd, out_fd;
extern atomic_int background;

void emit(const char *format, ...) __attribute__((format(printf, 1, 2)));
void emit_text(const char *kind, const char *text);
int write_file(const char *path, const char *text);
uint64_t now_ns(void);
unsigned int draw(unsigned int *state);

/* watch.c */
int watch(pid_t child);

/* world.c */
int world_make(void);
void world_end(void);
int do_create(struct file *file, int64_t bytes);
int do_close(struct file *file);
int do_bind(struct slot *slot);
int do_unbind(struct slot *slot);
int do_mmap(struct map *map, int shared);
void do_munmap(struct map *map);
int set_attributes(int vm, uint64_t address, uint64_t size, int private);

/* vcpu.c */
int vcpu_make(struct vm *vm, struct vcpu *vcpu, int number);
void vcpu_end(struct vcpu *vcpu);
int guest_words(struct task *task, struct vcpu *vcpu, uint64_t address, uint64_t words, int64_t *value, int write);
int guest_resume(struct task *task, struct vcpu *vcpu);
int guest_access(struct task *task, struct vcpu *vcpu, uint64_t gfn, int64_t *value, int write);
extern struct vcpu vcpus[MOST_VMS][MOST_VCPUS];

/* ops.c */
void run_op(struct task *task, const struct op *op);
void ops_init(void);
int one_call(struct task *task, const struct op *op);
extern __thread volatile sig_atomic_t struck;

int host_access(volatile uint64_t *address, int64_t *value, int write);
int host_byte(volatile uint8_t *address, uint8_t *value, int write);
int64_t *value_room(struct task *task);

/* vectors.c */
int raw_call(struct task *task, const struct op *op);

/* poison.c */
int frame_failure(int file, uint64_t index);
int inject(struct task *task, const struct op *op);
int unpoison(void);
void frames_prepare(void);

/* processes.c */
int placed_call(struct task *task, const struct op *op);
void child_end(struct task *task);

/* rounds.c */
void run_scenario(void);

/* holds.c */
void gate(long task, long call);
void holds_prepare(const char *path);

/* trace.c */
void trace_prepare(const char *path);
void trace_begin(void);
void trace_end(void);

#endif
