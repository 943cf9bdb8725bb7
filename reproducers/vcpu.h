/* SPDX-License-Identifier: MIT */
/* A vCPU in 32 bit protected mode without paging that reads or writes one word and halts. After gmem.h. */
#ifndef VCPU_H
#define VCPU_H

#include "gmem.h"

#define LOW 16 /* pages of ordinary memory for its code */

struct vcpu {
	int fd;
	uint8_t *low;
	struct kvm_run *run;
	size_t run_size;
	volatile sig_atomic_t stop; /* give up at the next signal */
};

static inline void set_segment(struct kvm_segment *segment, int code)
{
	memset(segment, 0, sizeof(*segment));
	segment->limit = ~0u;
	segment->selector = code ? 8 : 16;
	segment->type = code ? 11 : 3;
	segment->present = segment->db = segment->s = segment->g = 1;
}

static inline void create_vcpu(struct vcpu *vcpu, int vm)
{
	static const uint8_t load[] = { 0x8b, 0x06, 0xf4 }; /* mov (%esi), %eax; hlt */
	static const uint8_t store[] = { 0x89, 0x0e, 0xf4 }; /* mov %ecx, (%esi); hlt */
	struct kvm_userspace_memory_region region = { .slot = 0, .memory_size = LOW * PAGE };
	struct kvm_sregs sregs;

	vcpu->low = mmap(NULL, LOW * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	region.userspace_addr = (uintptr_t)vcpu->low;
	ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000);
	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region))
		die("KVM_SET_USER_MEMORY_REGION");
	memcpy(vcpu->low + 0x1000, load, sizeof(load));
	memcpy(vcpu->low + 0x1100, store, sizeof(store));
	vcpu->fd = ioctl(vm, KVM_CREATE_VCPU, 0);
	if (vcpu->fd < 0)
		die("KVM_CREATE_VCPU");
	vcpu->run_size = ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	vcpu->run = mmap(NULL, vcpu->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (ioctl(vcpu->fd, KVM_GET_SREGS, &sregs))
		die("KVM_GET_SREGS");
	set_segment(&sregs.cs, 1);
	set_segment(&sregs.ds, 0);
	sregs.es = sregs.fs = sregs.gs = sregs.ss = sregs.ds;
	sregs.cr0 |= 1;
	if (ioctl(vcpu->fd, KVM_SET_SREGS, &sregs))
		die("KVM_SET_SREGS");
}

static inline void destroy_vcpu(struct vcpu *vcpu)
{
	munmap(vcpu->run, vcpu->run_size);
	munmap(vcpu->low, LOW * PAGE);
	close(vcpu->fd);
}

/* The guest loads or stores `*value` at `gpa`: 0, errno of KVM_RUN, or 1000 and the exit reason. */
static inline int guest_access(struct vcpu *vcpu, uint64_t gpa, int write, uint32_t *value)
{
	struct kvm_regs regs = { .rflags = 2, .rip = write ? 0x1100 : 0x1000, .rsi = gpa, .rcx = *value };
	int ret;

	if (ioctl(vcpu->fd, KVM_SET_REGS, &regs))
		die("KVM_SET_REGS");
	do
		ret = ioctl(vcpu->fd, KVM_RUN, 0);
	while (ret && ((errno == EINTR && !vcpu->stop) || errno == EAGAIN));
	if (ret)
		return errno;
	if (vcpu->run->exit_reason != KVM_EXIT_HLT)
		return 1000 + vcpu->run->exit_reason;
	if (ioctl(vcpu->fd, KVM_GET_REGS, &regs))
		die("KVM_GET_REGS");
	if (!write)
		*value = regs.rax;
	return 0;
}

#endif
