/* SPDX-License-Identifier: MIT */
/* The operations of a task, one kernel call or access each. Outcomes as those of gmemsim/scenarios/handlers. */
#include "abi.h"

#include <linux/io_uring.h>
#include <sys/uio.h>

#define HOLE FALLOC_FL_PUNCH_HOLE

atomic_int background;
static pthread_barrier_t barriers[MOST_BARRIERS];
static __thread sigjmp_buf escape;
static __thread volatile sig_atomic_t guarded;
/* SIGBUS of a memory error came that no access of ours asked for. */
__thread volatile sig_atomic_t struck;

static void on_fault(int number, siginfo_t *info, void *context)
{
	(void)info;
	(void)context;
	if (guarded) {
		guarded = 0;
		siglongjmp(escape, number);
	}
	/* A memory error that is reported later, to whoever maps the page: no access of ours. */
	if (number == SIGBUS) {
		struck = 1;
	} else {
		signal(number, SIG_DFL);
		raise(number);
	}
}

static void on_user(int number)
{
	(void)number;
}

void ops_init(void)
{
	struct sigaction fault = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER };
	struct sigaction user = { .sa_handler = on_user };

	sigaction(SIGBUS, &fault, NULL);
	sigaction(SIGSEGV, &fault, NULL);
	sigaction(SIGUSR1, &user, NULL);
	for (int i = 0; i < S->nbarriers; i++)
		pthread_barrier_init(&barriers[i], NULL, S->parties[i]);
}

int64_t *value_room(struct task *task)
{
	if (task->nvalues == task->values_room) {
		task->values_room = task->values_room ? task->values_room * 2 : 64;
		task->values = realloc(task->values, task->values_room * sizeof(int64_t));
	}
	return &task->values[task->nvalues++];
}

static int from_call(int ret)
{
	return ret ? errno : 0;
}

/* A load or store of the word at `address`: 0 or a signal's outcome. */
int host_access(volatile uint64_t *address, int64_t *value, int write)
{
	int number;

	number = sigsetjmp(escape, 1);
	if (number)
		return number == SIGBUS ? OUT_SIGBUS : OUT_SIGSEGV;
	guarded = 1;
	if (write)
		*address = *value;
	else
		*value = *address;
	guarded = 0;
	return 0;
}

/* The same of one byte. */
int host_byte(volatile uint8_t *address, uint8_t *value, int write)
{
	int number;

	number = sigsetjmp(escape, 1);
	if (number)
		return number == SIGBUS ? OUT_SIGBUS : OUT_SIGSEGV;
	guarded = 1;
	if (write)
		*address = *value;
	else
		*value = *address;
	guarded = 0;
	return 0;
}

static int pin(struct map *map, int64_t page)
{
	struct io_uring_params params = { 0 };
	struct iovec part = { .iov_base = map->memory + page * PAGE, .iov_len = PAGE };
	int ring = syscall(SYS_io_uring_setup, 1, &params);

	if (ring < 0)
		return OUT_CANNOT;
	if (syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &part, 1)) {
		int error = errno;

		close(ring);
		return error;
	}
	map->pins[page] = ring;
	return 0;
}

static int unpin(struct map *map, int64_t page)
{
	int ring = map->pins[page];

	if (!ring)
		return EINVAL;
	map->pins[page] = 0;
	syscall(SYS_io_uring_register, ring, IORING_UNREGISTER_BUFFERS, NULL, 0);
	close(ring);
	return 0;
}

static void note(int *first, int code)
{
	if (!*first)
		*first = code;
}

static int on_pages(struct task *task, const struct op *op, int keep)
{
	int code, first = 0;

	switch (op->opcode) {
	case OP_GUEST_TOUCH:
	case OP_GUEST_READ:
	case OP_GUEST_WRITE:
		for (int64_t gfn = op->a; gfn < op->b && !task->stopped; gfn++) {
			int64_t value = op->c ? op->c + op->d * (gfn - op->a) : 0;

			note(&first, code = guest_access(task, &vcpus[task->vm][task->vcpu], gfn, &value, op->c != 0));
			if (keep)
				*value_room(task) = code ? -code : value;
		}
		break;
	case OP_HOST_TOUCH:
	case OP_HOST_READ:
	case OP_HOST_WRITE:
		for (int64_t page = op->b; page < op->c; page++) {
			int64_t value = op->d ? op->d + op->e * (page - op->b) : 0;
			uint8_t *memory = S->maps[op->a].memory;

			code = memory ? host_access((uint64_t *)(memory + page * PAGE), &value, op->d != 0) : OUT_SIGSEGV;
			note(&first, code);
			if (keep)
				*value_room(task) = code ? -code : value;
		}
		break;
	case OP_PIN:
	case OP_UNPIN:
		for (int64_t page = op->b; page < op->c; page++)
			note(&first, op->opcode == OP_PIN ? pin(&S->maps[op->a], page) : unpin(&S->maps[op->a], page));
		break;
	case OP_MEMORY_FAILURE:
		for (int64_t page = op->b; page < op->c; page++)
			note(&first, frame_failure(op->a, page));
		break;
	case OP_MADVISE_FAILURE:
		for (int64_t page = op->b; page < op->c; page++)
			note(&first, from_call(madvise(S->maps[op->a].memory + page * PAGE, PAGE, MADV_HWPOISON)));
		break;
	}
	return first;
}

static int prefault(struct task *task, const struct op *op)
{
	struct gmem_prefault range = { .gpa = op->a, .size = op->b };
	int ret = from_call(ioctl(vcpus[task->vm][task->vcpu].fd, GMEM_PREFAULT, &range));

	*value_room(task) = ((int64_t)range.gpa - op->a) / (int64_t)PAGE;
	return ret;
}

static int file_io(struct task *task, const struct op *op, int fd)
{
	int64_t pages = op->c - op->b;
	uint64_t *bytes = calloc(pages, PAGE);
	ssize_t ret;

	for (int64_t page = 0; page < pages; page++)
		bytes[page * 512] = op->d + op->e * page;
	ret = op->opcode == OP_FILE_WRITE ? pwrite(fd, bytes, pages * PAGE, op->b * PAGE) :
					    pread(fd, bytes, pages * PAGE, op->b * PAGE);
	/* A file without positions refuses these two before it is asked whether it can be written or read at all. */
	if (ret < 0 && errno == ESPIPE)
		ret = op->opcode == OP_FILE_WRITE ? write(fd, bytes, pages * PAGE) : read(fd, bytes, pages * PAGE);
	if (ret < 0)
		ret = -errno;
	free(bytes);
	if (op->opcode == OP_FILE_WRITE)
		*value_room(task) = ret > 0 ? ret / (int64_t)PAGE : 0;
	return ret < 0 ? -ret : ret < pages * (int64_t)PAGE ? OUT_SHORT : 0;
}

static int file_attributes(const struct op *op, int fd)
{
	int ret = 0;

	for (int64_t attempt = 0; attempt < op->f; attempt++) {
		struct gmem_attributes2 args = { .offset = op->b, .size = op->c, .flags = op->e,
						 .attributes = op->d ? ATTRIBUTE_PRIVATE : 0 };

		ret = from_call(ioctl(fd, GMEM_SET_ATTRIBUTES2, &args));
		if (ret != EAGAIN)
			break;
	}
	return ret;
}

static int on_file(struct task *task, const struct op *op)
{
	struct file *file = &S->files[op->a];
	int fd = file->fd;

	if (op->opcode == OP_CREATE)
		return do_create(file, op->b);
	if (op->opcode == OP_CLOSE)
		return do_close(file);
	if (fd < 0)
		return EBADF;
	switch (op->opcode) {
	case OP_ALLOCATE:
	case OP_PUNCH:
		return from_call(fallocate(fd, (op->opcode == OP_PUNCH ? HOLE : 0) | (op->d ? FALLOC_FL_KEEP_SIZE : 0), op->b, op->c));
	case OP_FILE_WRITE:
	case OP_FILE_READ:
		return file_io(task, op, fd);
	case OP_FTRUNCATE:
		return from_call(ftruncate(fd, op->b));
	case OP_FILE_IOCTL:
		return from_call(ioctl(fd, _IO(KVMIO, 0xfe), 0));
	}
	return file_attributes(op, fd);
}

static void sleep_ns(int64_t low, int64_t high, unsigned int *luck)
{
	int64_t ns = low + (high > low ? ((int64_t)draw(luck) << 8 | (draw(luck) & 255)) % (high - low + 1) : 0);
	struct timespec time = { ns / 1000000000, ns % 1000000000 };

	if (ns < 100000)
		for (uint64_t end = now_ns() + ns; now_ns() < end;)
			;
	else
		nanosleep(&time, NULL);
}

static int call(struct task *task, const struct op *op)
{
	struct map *map = &S->maps[op->a];

	switch (op->opcode) {
	case OP_PREFAULT:
		return prefault(task, op);
	case OP_MMAP:
		return do_mmap(map, op->b);
	case OP_MUNMAP:
		do_munmap(map);
		return 0;
	case OP_MADVISE:
	case OP_COLLAPSE:
		if (!map->memory)
			return ENOMEM;
		return from_call(madvise(map->memory + op->b * PAGE, (op->c - op->b) * PAGE,
					 op->opcode == OP_MADVISE ? MADV_DONTNEED : MADV_COLLAPSE));
	case OP_BIND:
		return do_bind(&S->slots[op->a]);
	case OP_UNBIND:
		return do_unbind(&S->slots[op->a]);
	case OP_SET_ATTRIBUTES:
	case OP_CONVERT:
		return set_attributes(op->a, op->b, op->c, op->d);
	case OP_SLEEP:
		sleep_ns(op->a, op->b, &task->luck);
		return 0;
	case OP_SIGNAL:
		if (!S->tasks[op->a].tid)
			return ESRCH;
		return from_call(syscall(SYS_tgkill, getpid(), S->tasks[op->a].tid, SIGUSR1));
	case OP_BARRIER:
		pthread_barrier_wait(&barriers[op->a]);
		return 0;
	}
	return on_file(task, op);
}

/* One call of this thread's. */
int one_call(struct task *task, const struct op *op)
{
	return op->opcode < OP_RAW_CREATE ? call(task, op) : raw_call(task, op);
}

void run_op(struct task *task, const struct op *op)
{
	struct result *result;
	int keep = op->opcode == OP_GUEST_READ || op->opcode == OP_HOST_READ;
	int begin = task->nvalues, code;

	switch (op->opcode) {
	case OP_GUEST_TOUCH:
	case OP_GUEST_READ:
	case OP_GUEST_WRITE:
	case OP_HOST_TOUCH:
	case OP_HOST_READ:
	case OP_HOST_WRITE:
	case OP_PIN:
	case OP_UNPIN:
	case OP_MEMORY_FAILURE:
	case OP_MADVISE_FAILURE:
		code = on_pages(task, op, keep);
		break;
	default:
		code = placed_call(task, op);
	}
	if (task->done == task->results_room) {
		task->results_room = task->results_room ? task->results_room * 2 : 64;
		task->results = realloc(task->results, task->results_room * sizeof(*result));
	}
	result = &task->results[task->done++];
	result->opcode = op->opcode;
	result->code = code;
	result->values = begin;
	result->count = task->nvalues - begin;
}
