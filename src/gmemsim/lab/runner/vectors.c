/* SPDX-License-Identifier: MIT */
/* Calls of conformance vectors, with the bytes that they say: 0 or an errno, and what was read as values. */
#include "abi.h"

#define UNALIGNED_SLOT_SPACE (2ull << 20)

static int of_call(long ret)
{
	return ret < 0 ? errno : 0;
}

static void value(struct task *task, int64_t found)
{
	*value_room(task) = found;
}

/* Memory for a slot that is not a file's, aligned as a huge page. */
static uint8_t *anonymous(uint64_t size)
{
	uint8_t *memory = mmap(NULL, size + UNALIGNED_SLOT_SPACE, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED)
		return NULL;
	return (uint8_t *)(((uintptr_t)memory + UNALIGNED_SLOT_SPACE - 1) & ~(UNALIGNED_SLOT_SPACE - 1));
}

static int raw_mmap(const struct op *op)
{
	struct map *map = &S->maps[op->a];
	uint8_t *wanted = (uint8_t *)(0x200000000000ull + ((uint64_t)op->a << 32)), *memory;

	memory = mmap(wanted, op->d, PROT_READ | PROT_WRITE, (op->e ? MAP_SHARED : MAP_PRIVATE) | MAP_FIXED, S->files[op->b].fd,
		      op->c);
	if (memory == MAP_FAILED)
		return errno;
	map->memory = memory;
	map->bytes = op->d;
	return 0;
}

/* Words, then bytes. What is read is one value if it is the same everywhere, else -1. */
static int access_range(struct task *task, const struct op *op, int write)
{
	uint8_t *memory = S->maps[op->a].memory + op->b, byte = op->d;
	int64_t word = (int64_t)(0x0101010101010101ull * byte), at = 0;
	int code = 0, first = -1, mixed = 0;

	for (; at + 8 <= op->c && !code && !((uintptr_t)(memory + at) & 7); at += 8) {
		code = host_access((uint64_t *)(memory + at), &word, write);
		if (first < 0)
			first = word & 255;
		mixed |= (uint64_t)word != 0x0101010101010101ull * (uint8_t)first;
	}
	for (; at < op->c && !code; at++) {
		code = host_byte(memory + at, &byte, write);
		if (first < 0)
			first = byte;
		mixed |= byte != first;
	}
	if (!write && !code)
		value(task, mixed ? -1 : first);
	return code;
}

static int bind(const struct op *op, int version)
{
	struct gmem_region region = { .slot = op->a, .flags = op->f & 0xffffffff, .gpa = op->b, .size = op->c };
	int how = op->f >> 32;

	/* Where the slot's own memory is: 0 nowhere, 1 anonymous, 2 the file itself, 3 at a number. */
	if ((how & 255) == 3)
		region.address = how >> 8;
	else if (how == 1)
		region.address = (uintptr_t)anonymous(op->c);
	else if (how == 2)
		region.address = (uintptr_t)mmap(NULL, op->c, PROT_READ | PROT_WRITE, MAP_SHARED, S->files[op->d].fd, op->e);
	if (version == 1) {
		struct kvm_userspace_memory_region old = { .slot = region.slot, .flags = region.flags,
							   .guest_phys_addr = region.gpa, .memory_size = region.size,
							   .userspace_addr = region.address };

		if (op->a < 0)
			old.slot = ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_NR_MEMSLOTS);
		return of_call(ioctl(S->vms[0].fd, KVM_SET_USER_MEMORY_REGION, &old));
	}
	if (op->d >= 0)
		region.fd = S->files[op->d].fd;
	region.offset = op->e;
	return of_call(ioctl(S->vms[0].fd, GMEM_SET_REGION, &region));
}

/* Until it is done if `loop`, as the call says how much is left. */
static int raw_prefault(struct task *task, const struct op *op)
{
	struct gmem_prefault range = { .gpa = op->a, .size = op->b, .flags = op->c };
	int ret, calls = 0;

	if (op->e)
		return of_call(ioctl(vcpus[0][task->vcpu].fd, GMEM_PREFAULT, (void *)8));
	do
		ret = of_call(ioctl(vcpus[0][task->vcpu].fd, GMEM_PREFAULT, &range));
	while (op->d && range.size && (!ret || ret == EINTR || ret == EAGAIN) && calls++ < 100000);
	value(task, range.size);
	value(task, range.gpa);
	return ret;
}

/* Words of four bytes; a value that is the same everywhere, else -1. */
static int guest_range(struct task *task, const struct op *op, int write)
{
	int64_t word = write ? 0x01010101ll * (uint8_t)op->c : 0;
	struct vcpu *vcpu = &vcpus[0][task->vcpu];
	int code = guest_words(task, vcpu, op->a, op->b / 4, &word, write);

	if (code == OUT_EXIT_MEMORY_FAULT) {
		uint64_t *fault = (uint64_t *)&vcpu->run->hw;
		int error = errno;

		for (int i = 0; i < 3; i++)
			value(task, fault[i]);
		value(task, error);
	}
	if (!write && !code)
		value(task, word >= 0 && word == 0x01010101ll * (word & 255) ? word & 255 : -1);
	return code;
}

static int file_call(struct task *task, const struct op *op)
{
	int fd = S->files[op->a].fd;
	static char bytes[1 << 16];
	struct stat stat;

	switch (op->opcode) {
	case OP_RAW_FALLOCATE:
		return of_call(syscall(SYS_fallocate, fd, (int)op->b, op->c, op->d));
	case OP_RAW_STAT:
		if (fstat(fd, &stat))
			return errno;
		value(task, stat.st_size);
		value(task, stat.st_blksize);
		value(task, stat.st_ino);
		return 0;
	case OP_RAW_READ:
		return of_call(read(fd, bytes, op->c));
	case OP_RAW_WRITE:
		return of_call(write(fd, bytes, op->c));
	case OP_RAW_PREAD:
		return of_call(pread(fd, bytes, op->c, op->b));
	}
	return of_call(pwrite(fd, bytes, op->c, op->b));
}

int raw_call(struct task *task, const struct op *op)
{
	struct gmem_create create = { .size = op->b, .flags = op->c };
	struct gmem_attributes attributes = { .address = op->a, .size = op->b, .attributes = op->c, .flags = op->d };
	struct map *map = &S->maps[op->a];
	unsigned long nodes = op->e;
	unsigned long mask[16] = { 0 };
	int policy, node, ret;
	void *address;

	switch (op->opcode) {
	case OP_RAW_CREATE:
		ret = ioctl(S->vms[0].fd, GMEM_CREATE, &create);
		if (ret < 0)
			return errno;
		S->files[op->a].fd = ret;
		return 0;
	case OP_RAW_MMAP:
		return raw_mmap(op);
	case OP_RAW_MUNMAP:
		return of_call(munmap(map->memory, map->bytes));
	case OP_RAW_MADVISE:
		return of_call(madvise(map->memory + op->b, op->c, op->d));
	case OP_RAW_LOAD:
	case OP_RAW_STORE:
		return access_range(task, op, op->opcode == OP_RAW_STORE);
	case OP_RAW_BIND:
		return bind(op, 2);
	case OP_RAW_BIND1:
		return bind(op, 1);
	case OP_RAW_ATTRIBUTES:
		return of_call(ioctl(S->vms[0].fd, GMEM_SET_ATTRIBUTES, &attributes));
	case OP_RAW_CONVERT:
		attributes = (struct gmem_attributes){ .address = op->b, .size = op->c, .attributes = op->d };
		return of_call(ioctl(S->files[op->a].fd, GMEM_SET_ATTRIBUTES2, &attributes));
	case OP_RAW_PREFAULT:
		return raw_prefault(task, op);
	case OP_RAW_MBIND:
		return of_call(syscall(SYS_mbind, map->memory + op->b, op->c, (int)op->d, nodes ? &nodes : NULL, nodes ? 64 : 0, 0));
	case OP_RAW_MEMPOLICY:
		ret = syscall(SYS_get_mempolicy, &policy, mask, 1024, map->memory + op->b, 2 /* MPOL_F_ADDR */);
		if (!ret) {
			value(task, policy);
			value(task, mask[0]);
		}
		return of_call(ret);
	case OP_RAW_GUEST_LOAD:
	case OP_RAW_GUEST_STORE:
		return guest_range(task, op, op->opcode == OP_RAW_GUEST_STORE);
	case OP_RAW_RESUME:
		return guest_resume(task, &vcpus[0][task->vcpu]);
	case OP_RAW_VCPU:
		task->vcpu = op->a;
		return 0;
	case OP_RAW_INJECT:
		return inject(task, op);
	case OP_RAW_UNPOISON:
		return unpoison();
	case OP_RAW_NODE:
		address = map->memory + op->b;
		ret = syscall(SYS_move_pages, 0, 1l, &address, NULL, &node, 0);
		if (!ret)
			value(task, node);
		return of_call(ret);
	case OP_RAW_FLAGS:
		value(task, ioctl(S->vms[0].fd, KVM_CHECK_EXTENSION, 244));
		return 0;
	}
	return file_call(task, op);
}
