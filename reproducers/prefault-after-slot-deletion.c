// SPDX-License-Identifier: MIT
/*
 * A vCPU pre-faults memory after another slot was deleted, with no KVM_RUN between. Linux 6.12, VMs of the default type.
 *
 *   prefault-after-slot-deletion
 *
 * The deletion makes all roots of the VM obsolete (KVM_X86_QUIRK_SLOT_ZAP_ALL) and asks each vCPU to free them. Where
 * kvm_mmu_reload() does not look for that request, only KVM_RUN frees them: the pre-fault finds its root obsolete at
 * every try until a signal comes. No other thread is needed; whoever changes a slot then would wait for the pre-fault
 * (prefault-keeps-obsolete-root.c). Exit code 1: it is so.
 */
#include "vcpu.h"

static void on_signal(int number UNUSED)
{
}

static void set_ordinary_slot(int vm, int slot, uint64_t gpa, unsigned long pages, void *memory)
{
	struct kvm_userspace_memory_region region = { .slot = slot, .guest_phys_addr = gpa,
		.memory_size = pages * PAGE, .userspace_addr = (uintptr_t)memory };

	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region))
		die("KVM_SET_USER_MEMORY_REGION");
}

/* Whether the pre-fault of a page ends within ten seconds. */
static int ends(struct vcpu *vcpu, const char *when)
{
	struct gmem_prefault range = { .gpa = GPA, .size = PAGE };
	uint64_t begin = now_ns();
	int ret;

	alarm(10);
	ret = ioctl(vcpu->fd, GMEM_PREFAULT, &range);
	say("pre-fault %s: %s, %.1f s", when, ret ? strerror(errno) : "done", (now_ns() - begin) / 1e9);
	alarm(0);
	return !ret;
}

int main(void)
{
	struct sigaction action = { .sa_handler = on_signal };
	uint8_t *memory = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int vm = create_vm(), stuck;
	uint32_t value = 0;
	struct vcpu vcpu = { 0 };

	sigaction(SIGALRM, &action, NULL);
	create_vcpu(&vcpu, vm);
	set_ordinary_slot(vm, 1, GPA, 1, memory);
	set_ordinary_slot(vm, 2, GPA + PAGE, 1, memory + PAGE);
	if (!ends(&vcpu, "before the deletion"))
		die("KVM_PRE_FAULT_MEMORY");
	set_ordinary_slot(vm, 2, GPA + PAGE, 0, NULL);
	stuck = !ends(&vcpu, "after the deletion");
	if (guest_access(&vcpu, GPA, 0, &value))
		die("KVM_RUN");
	if (!ends(&vcpu, "after KVM_RUN"))
		die("KVM_PRE_FAULT_MEMORY after KVM_RUN");
	say("RESULT: a pre-fault after the deletion %s", stuck ? "does not end until a signal" : "ends");
	return stuck;
}
