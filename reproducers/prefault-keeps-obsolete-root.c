// SPDX-License-Identifier: MIT
/*
 * A slot is deleted while a vCPU pre-faults memory of another slot. Linux 6.12 to 7.3, VMs of the default type.
 *
 *   prefault-keeps-obsolete-root [ROUNDS [quirk-off|dirty-log]]
 *
 * The deletion makes all roots of the VM obsolete (KVM_X86_QUIRK_SLOT_ZAP_ALL). KVM_PRE_FAULT_MEMORY repeats a fault
 * whose root is obsolete, and loads the root anew only before the first try of a page: it turns until a signal comes.
 * It is inside kvm->srcu, whose grace period the deletion waits for with slots_lock held. The slot that is pre-faulted
 * is not touched; it has a guest_memfd where the host can map one (6.18 and later), and ordinary memory before that.
 * On 6.12 a pre-fault that begins after the deletion does the same (prefault-after-slot-deletion.c).
 *
 * Two controls must not hang: `quirk-off` deletes the slot without the quirk, which leaves the roots, and `dirty-log`
 * switches dirty logging of the slot on and off instead of deleting it, which waits for the same grace period.
 * Exit code 1: neither thread gets on, and then what else of the VM hangs is tried, and a signal to the pre-fault.
 */
#include "vcpu.h"

#define PAGES 8
#define OTHER (GPA + (1ull << 28)) /* where the slot is that comes and goes */

#ifndef KVM_CAP_DISABLE_QUIRKS2
#define KVM_CAP_DISABLE_QUIRKS2 213
#endif
#define QUIRK_SLOT_ZAP_ALL (1u << 7)

static atomic_long done[2];
static atomic_long calls; /* of KVM_PRE_FAULT_MEMORY */
static long rounds = 20000;
static int vm, dirty_log;
static struct vcpu vcpu;
static volatile int ready, enough, third_back;
static void *memory;

static void on_signal(int number UNUSED)
{
}

static void *prefault(void *unused UNUSED)
{
	name_thread("prefault", 0);
	while (!enough) {
		struct gmem_prefault range = { .gpa = GPA, .size = PAGES * PAGE };

		while (range.size && !enough)
			if (ioctl(vcpu.fd, GMEM_PREFAULT, &range) && errno != EINTR && errno != EAGAIN)
				die("KVM_PRE_FAULT_MEMORY");
		calls++;
		done[0]++;
		ready = 1;
	}
	done[0] = rounds;
	return NULL;
}

/* Create, change or (0 pages) delete a slot of ordinary memory. */
static void set_ordinary_slot(int slot, uint64_t gpa, unsigned long pages, unsigned int flags)
{
	struct kvm_userspace_memory_region region = { .slot = slot, .flags = flags, .guest_phys_addr = gpa,
		.memory_size = pages * PAGE, .userspace_addr = pages ? (uintptr_t)memory : 0 };

	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region))
		die("KVM_SET_USER_MEMORY_REGION");
}

static void *delete(void *unused UNUSED)
{
	name_thread("delete", 1);
	while (!ready)
		;
	for (long i = 0; i < rounds; i++) {
		set_ordinary_slot(2, OTHER, 1, 0);
		set_ordinary_slot(2, OTHER, dirty_log, dirty_log ? KVM_MEM_LOG_DIRTY_PAGES : 0);
		done[1]++;
		if (done[1] % 1000 == 0)
			say("%ld rounds", (long)done[1]);
	}
	enough = 1;
	return NULL;
}

/* Whoever else wants the slots of the VM. */
static void *third(void *unused UNUSED)
{
	name_thread("third", 2);
	set_ordinary_slot(3, OTHER + PAGE, 1, 0);
	third_back = 1;
	return NULL;
}

static void use_another_vm(void)
{
	vm = create_vm();
	set_ordinary_slot(0, 0, 1, 0);
	set_ordinary_slot(0, 0, 0, 0);
}

static int after_a_hang(pthread_t prefaulter)
{
	long deletions = done[1];
	pthread_t thread;

	say("KVM_PRE_FAULT_MEMORY returned %ld times, %ld deletions", (long)calls, deletions);
	pthread_create(&thread, NULL, third, NULL);
	sleep(8);
	say("creation of a third slot: %s", third_back ? "works" : "does not come back");
	bystander("another VM", use_another_vm);
	pthread_kill(prefaulter, SIGUSR1);
	sleep(1);
	say("after a signal to the pre-fault: the deletion %s", done[1] > deletions ? "gets on" : "still hangs");
	return 1;
}

int main(int argc, char **argv)
{
	struct kvm_enable_cap quirk = { .cap = KVM_CAP_DISABLE_QUIRKS2, .args = { QUIRK_SLOT_ZAP_ALL } };
	struct sigaction action = { .sa_handler = on_signal };
	const char *control = argc > 2 ? argv[2] : "";
	pthread_t threads[2];

	if (argc > 1)
		rounds = atol(argv[1]);
	dirty_log = !strcmp(control, "dirty-log");
	memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	sigaction(SIGUSR1, &action, NULL);
	vm = create_vm();
	if (!strcmp(control, "quirk-off") && ioctl(vm, KVM_ENABLE_CAP, &quirk))
		die("KVM_X86_QUIRK_SLOT_ZAP_ALL switched off");
	create_vcpu(&vcpu, vm);
	if (can_be_mapped(vm)) {
		if (set_slot(vm, 1, GPA, create_file(vm, PAGES, GMEM_MMAP | GMEM_INIT_SHARED), 0, PAGES, memory))
			die("KVM_SET_USER_MEMORY_REGION2");
		say("pre-faults a guest_memfd, %ld rounds %s", rounds, control);
	} else {
		set_ordinary_slot(1, GPA, PAGES, 0);
		say("pre-faults ordinary memory, %ld rounds %s", rounds, control);
	}
	pthread_create(&threads[0], NULL, prefault, NULL);
	pthread_create(&threads[1], NULL, delete, NULL);
	if (watch_rounds(done, 2, rounds))
		return after_a_hang(threads[0]);
	say("KVM_PRE_FAULT_MEMORY returned %ld times", (long)calls);
	return 0;
}
