/* SPDX-License-Identifier: MIT */
/* VMs, files, slots and mappings of one round, as gmemsim/scenarios/world.py makes them. */
#include "abi.h"

static int old_fds[256], nold;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

int do_create(struct file *file, int64_t bytes)
{
	struct gmem_create args = { .size = bytes, .flags = file->flags };
	int fd = ioctl(S->vms[file->vm].fd, GMEM_CREATE, &args);

	if (fd < 0)
		return errno;
	pthread_mutex_lock(&lock);
	/* A second descriptor takes the first one's place and leaves it open. */
	if (file->fd >= 0 && nold < 256)
		old_fds[nold++] = file->fd;
	file->fd = fd;
	pthread_mutex_unlock(&lock);
	return 0;
}

int do_close(struct file *file)
{
	int fd;

	pthread_mutex_lock(&lock);
	fd = file->fd;
	file->fd = -1;
	pthread_mutex_unlock(&lock);
	if (fd < 0)
		return EBADF;
	return close(fd) ? errno : 0;
}

int do_bind(struct slot *slot)
{
	int fd = slot->file < 0 ? -1 : S->files[slot->file].fd, ret;
	struct gmem_region region = { .slot = slot->id, .flags = slot->flags, .gpa = slot->gfn * PAGE,
				      .size = slot->pages * PAGE, .offset = slot->start * PAGE, .fd = fd };
	uint8_t *fresh = NULL;

	if (slot->buffer >= 0) {
		region.address = (uintptr_t)S->buffers[slot->buffer].memory + slot->start * PAGE;
	} else {
		if (!slot->address && fd >= 0) {
			fresh = mmap(NULL, slot->pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, slot->start * PAGE);
			if (fresh == MAP_FAILED)
				fresh = NULL;
			slot->address = fresh;
		}
		region.address = (uintptr_t)slot->address;
	}
	ret = ioctl(S->vms[slot->vm].fd, GMEM_SET_REGION, &region) ? errno : 0;
	if (ret && fresh) {
		munmap(fresh, slot->pages * PAGE);
		slot->address = NULL;
	}
	return ret;
}

int do_unbind(struct slot *slot)
{
	struct gmem_region region = { .slot = slot->id };

	return ioctl(S->vms[slot->vm].fd, GMEM_SET_REGION, &region) ? errno : 0;
}

/*
 * Each mapping has an address of its own, far below where the kernel puts others: when it is gone nothing else comes to be
 * there, and an access faults.
 */
static uint8_t *address_of(struct map *map)
{
	return (uint8_t *)(0x200000000000ull + ((uint64_t)(map - S->maps) << 32));
}

int do_mmap(struct map *map, int shared)
{
	int fd = S->files[map->file].fd;
	uint8_t *memory;

	if (fd < 0)
		return EBADF;
	/* Elsewhere first: MAP_FIXED takes away what is there before the file is asked whether it can be mapped. */
	memory = mmap(NULL, map->pages * PAGE, PROT_READ | PROT_WRITE, shared ? MAP_SHARED : MAP_PRIVATE, fd, map->start * PAGE);
	if (memory == MAP_FAILED)
		return errno;
	memory = mremap(memory, map->pages * PAGE, map->pages * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, address_of(map));
	if (memory == MAP_FAILED)
		return OUT_CANNOT;
	map->memory = memory;
	return 0;
}

void do_munmap(struct map *map)
{
	if (map->memory)
		munmap(map->memory, map->pages * PAGE);
}

int set_attributes(int vm, uint64_t address, uint64_t size, int private)
{
	struct gmem_attributes args = { .address = address, .size = size,
					.attributes = private ? ATTRIBUTE_PRIVATE : 0 };

	return ioctl(S->vms[vm].fd, GMEM_SET_ATTRIBUTES, &args) ? errno : 0;
}

static int bad(const char *what, int error)
{
	emit("{\"kind\":\"refused\",\"scenario\":%d,\"what\":\"%s\",\"errno\":%d}\n", S->id, what, error);
	return error;
}

/* The initial state: 0, or errno after a line that says what was refused. */
int world_make(void)
{
	int ret;

	for (int i = 0; i < S->nvms; i++) {
		struct vm *vm = &S->vms[i];

		vm->low = NULL;
		vm->fd = ioctl(kvm_fd, KVM_CREATE_VM, vm->type);
		if (vm->fd < 0)
			return bad("KVM_CREATE_VM of this type", errno);
		for (int k = 0; k < vm->vcpus; k++)
			if ((ret = vcpu_make(vm, &vcpus[i][k], k)))
				return bad("KVM_CREATE_VCPU", ret);
	}
	for (int i = 0; i < S->nfiles; i++) {
		S->files[i].fd = -1;
		if (!S->files[i].absent && (ret = do_create(&S->files[i], S->files[i].bytes)))
			return bad("KVM_CREATE_GUEST_MEMFD", ret);
	}
	for (int i = 0; i < S->nbuffers; i++)
		S->buffers[i].memory = mmap(NULL, S->buffers[i].pages * PAGE, PROT_READ | PROT_WRITE,
					    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < S->nslots; i++) {
		S->slots[i].address = NULL;
		if (!S->slots[i].absent && (ret = do_bind(&S->slots[i])))
			return bad("KVM_SET_USER_MEMORY_REGION2", ret);
	}
	for (int i = 0; i < S->nmaps; i++) {
		S->maps[i].memory = NULL;
		if (!S->maps[i].absent && (ret = do_mmap(&S->maps[i], 1)))
			return bad("mmap of the file", ret);
	}
	return 0;
}

void world_end(void)
{
	for (int i = 0; i < S->nmaps; i++)
		if (S->maps[i].memory)
			munmap(S->maps[i].memory, S->maps[i].pages * PAGE);
	for (int i = 0; i < S->nslots; i++)
		if (S->slots[i].address)
			munmap(S->slots[i].address, S->slots[i].pages * PAGE);
	for (int i = 0; i < S->nbuffers; i++)
		munmap(S->buffers[i].memory, S->buffers[i].pages * PAGE);
	for (int i = 0; i < S->nfiles; i++)
		if (S->files[i].fd >= 0)
			close(S->files[i].fd);
	for (int i = 0; i < nold; i++)
		close(old_fds[i]);
	nold = 0;
	for (int i = 0; i < S->nvms; i++) {
		for (int k = 0; k < S->vms[i].vcpus; k++)
			vcpu_end(&vcpus[i][k]);
		if (S->vms[i].low)
			munmap(S->vms[i].low, 2 * PAGE);
		close(S->vms[i].fd);
	}
}
