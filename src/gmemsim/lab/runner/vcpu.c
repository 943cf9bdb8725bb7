/* SPDX-License-Identifier: MIT */
/* A vCPU in 32 bit protected mode without paging that loads or stores one word, or many, and halts. */
#include "abi.h"

/* Out of the way of what scenarios use. */
#define CODE 0xf0000000ull
#define LOW_PAGES 2
#define LOW_SLOT 509
#define TSS 0xfffbd000
#define EXITS 64 /* exits of one access in a row, and it is given up, as the model does */

struct vcpu vcpus[MOST_VMS][MOST_VCPUS];

static void set_segment(struct kvm_segment *segment, int code)
{
	memset(segment, 0, sizeof(*segment));
	segment->limit = ~0u;
	segment->selector = code ? 8 : 16;
	segment->type = code ? 11 : 3;
	segment->present = segment->db = segment->s = segment->g = 1;
}

/* One load of the runner's own memory, so that no fault on that comes between those of the scenario. */
static int warm_up(struct vcpu *vcpu)
{
	struct kvm_regs regs = { .rflags = 2, .rip = CODE, .rsi = CODE + PAGE };
	int ret;

	if (ioctl(vcpu->fd, KVM_SET_REGS, &regs))
		return errno;
	do
		ret = ioctl(vcpu->fd, KVM_RUN, 0);
	while (ret && errno == EINTR);
	return ret ? errno : vcpu->run->exit_reason == KVM_EXIT_HLT ? 0 : EIO;
}

/* 0, or errno. The VM's first vCPU brings the memory of the code along. */
int vcpu_make(struct vm *vm, struct vcpu *vcpu, int number)
{
	static const uint8_t load[] = { 0x8b, 0x06, 0xf4 }; /* mov (%esi), %eax; hlt */
	static const uint8_t store[] = { 0x89, 0x0e, 0xf4 }; /* mov %ecx, (%esi); hlt */
	static const uint8_t scan[] = { 0x8b, 0x07, 0xf3, 0xaf, 0xf4 }; /* mov (%edi), %eax; repe scas; hlt */
	static const uint8_t fill[] = { 0xf3, 0xab, 0xf4 }; /* rep stos; hlt */
	struct kvm_sregs sregs;
	int size = ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);

	vcpu->number = number;
	if (!vm->low) {
		struct kvm_userspace_memory_region region = { .slot = LOW_SLOT, .guest_phys_addr = CODE,
							      .memory_size = LOW_PAGES * PAGE };

		vm->low = mmap(NULL, LOW_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
		memcpy(vm->low, load, sizeof(load));
		memcpy(vm->low + 0x100, store, sizeof(store));
		memcpy(vm->low + 0x200, scan, sizeof(scan));
		memcpy(vm->low + 0x300, fill, sizeof(fill));
		region.userspace_addr = (uintptr_t)vm->low;
		ioctl(vm->fd, KVM_SET_TSS_ADDR, TSS);
		if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &region))
			return errno;
	}
	vcpu->fd = ioctl(vm->fd, KVM_CREATE_VCPU, number);
	if (vcpu->fd < 0)
		return errno;
	vcpu->run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED || ioctl(vcpu->fd, KVM_GET_SREGS, &sregs))
		return errno;
	set_segment(&sregs.cs, 1);
	set_segment(&sregs.ds, 0);
	sregs.es = sregs.fs = sregs.gs = sregs.ss = sregs.ds;
	sregs.cr0 |= 1;
	if (ioctl(vcpu->fd, KVM_SET_SREGS, &sregs))
		return errno;
	return warm_up(vcpu);
}

void vcpu_end(struct vcpu *vcpu)
{
	munmap(vcpu->run, ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0));
	close(vcpu->fd);
	vcpu->fd = -1;
}

/* KVM has half an instruction to finish before registers may be set again. */
static void finish_io(struct vcpu *vcpu)
{
	vcpu->run->immediate_exit = 1;
	ioctl(vcpu->fd, KVM_RUN, 0);
	vcpu->run->immediate_exit = 0;
}

/* Run the guest from these registers (NULL: those it has) until it halts: an outcome, and the registers then. */
static int enter(struct task *task, struct vcpu *vcpu, struct kvm_regs *regs)
{
	int policy = S->vms[task->vm].policy, ret, error;

	if (regs && ioctl(vcpu->fd, KVM_SET_REGS, regs))
		return OUT_CANNOT;
	for (int exits = 0; exits < EXITS; exits++) {
		do {
			vcpu->run->exit_reason = 0;
			ret = ioctl(vcpu->fd, KVM_RUN, 0);
			error = errno;
			/* A VMM enters the guest again after a signal; a vector that sent it says itself what comes next. */
		} while (ret && error == EINTR && !task->armed);
		if (ret && error == EINTR)
			return EINTR;
		if (!ret && vcpu->run->exit_reason == KVM_EXIT_HLT)
			return regs && ioctl(vcpu->fd, KVM_GET_REGS, regs) ? OUT_CANNOT : 0;
		if (!ret && vcpu->run->exit_reason == KVM_EXIT_MMIO) {
			finish_io(vcpu);
			return OUT_EXIT_MMIO;
		}
		if (vcpu->run->exit_reason != EXIT_MEMORY_FAULT) {
			task->stopped = 1;
			return ret ? error : OUT_EXIT_OTHER;
		}
		/* 3: a vector's, which says itself which errno comes with it and what comes after. */
		if (policy >= 2 || (ret && error != EFAULT)) {
			task->stopped |= policy == 2;
			errno = error;
			return ret && error != EFAULT && policy != 3 ? error : OUT_EXIT_MEMORY_FAULT;
		}
		if (policy == 1) {
			/* flags and gpa of struct kvm_run's memory_fault, which old headers lack */
			uint64_t *fault = (uint64_t *)&vcpu->run->hw;

			ret = set_attributes(task->vm, fault[1] & ~(PAGE - 1), PAGE, !!(fault[0] & 8));
			if (ret && ret != EAGAIN)
				return OUT_EXIT_MEMORY_FAULT;
		}
	}
	return OUT_EXIT_LOOP;
}

/* Go on where the guest was left. */
int guest_resume(struct task *task, struct vcpu *vcpu)
{
	return enter(task, vcpu, NULL);
}

/* One load or store at the start of guest frame `gfn`: an outcome. */
int guest_access(struct task *task, struct vcpu *vcpu, uint64_t gfn, int64_t *value, int write)
{
	struct kvm_regs regs = { .rflags = 2, .rip = write ? CODE + 0x100 : CODE, .rsi = gfn * PAGE, .rcx = *value };
	int code = gfn >= 1ull << 20 ? OUT_CANNOT : enter(task, vcpu, &regs);

	if (!write && !code)
		*value = (uint32_t)regs.rax;
	return code;
}

/* The same of many words from an address on; a value that is read is -1 if they differ. */
int guest_words(struct task *task, struct vcpu *vcpu, uint64_t address, uint64_t words, int64_t *value, int write)
{
	struct kvm_regs regs = { .rflags = 2, .rip = write ? CODE + 0x300 : CODE + 0x200, .rdi = address, .rcx = words,
				 .rax = (uint32_t)*value };
	int code = address >= CODE || words * 4 > CODE - address ? OUT_CANNOT : enter(task, vcpu, &regs);

	if (!write && !code)
		*value = regs.rcx || !(regs.rflags & 64) ? -1 : (int64_t)(uint32_t)regs.rax;
	return code;
}
