// SPDX-License-Identifier: MIT
/*
 * A slot is deleted, or nx_huge_pages written, while a vCPU pre-faults memory of another slot. Linux 6.12 to 7.3.
 *
 *   prefault-keeps-obsolete-root [ROUNDS [quirk-off|dirty-log|nx-huge-pages|nx-same-value|nx-between|generation]]
 *
 * The deletion makes all roots of a VM of the default type obsolete (KVM_X86_QUIRK_SLOT_ZAP_ALL). KVM_PRE_FAULT_MEMORY
 * repeats a fault whose root is obsolete, and loads the root anew only before the first try of a page: it turns until a
 * signal comes. It is inside kvm->srcu, whose grace period the deletion waits for with slots_lock held. The slot that
 * is pre-faulted is not touched; it has a guest_memfd where the host can map one (6.18 and later), and ordinary memory
 * before that. On 6.12 a pre-fault that begins after the deletion does the same (prefault-after-slot-deletion.c).
 *
 * Two controls must not hang: `quirk-off` deletes the slot without the quirk, which leaves the roots, and `dirty-log`
 * switches dirty logging of the slot on and off instead of deleting it, which waits for the same grace period.
 *
 * `nx-huge-pages`: the quirk is off and no slot changes; root writes another value to kvm's parameter, which makes the
 * roots of all VMs obsolete, and waits for the next pre-fault to return before it writes again. Its controls write the
 * value that is there, which leaves the roots (`nx-same-value`), or write while no pre-fault is under way, which must
 * not hang but on 6.12 (`nx-between`). The zaps are counted by the tracepoint kvm_mmu_zap_all_fast.
 *
 * `generation`: the quirk is off, and dirty logging of the other slot is switched ROUNDS times with no pre-fault, and
 * 2000 times more beside the pre-faults. Each is a generation of the slots, whose MMIO part ends after 131072 of them
 * (262144 on 6.12): then all roots of the VM are obsolete. ROUNDS a thousand below that.
 *
 * Exit code 1: neither thread gets on, and then what else hangs is tried (another change of a slot, another VM, a write
 * of nx_huge_pages, and another VM once more), and a signal to the pre-fault. 2: it did not race, or the roots were not
 * zapped as they should. The parameter is left as it was.
 */
#include "vcpu.h"

#define PAGES 8
#define OTHER (GPA + (1ull << 28)) /* where the slot is that comes and goes */

#ifndef KVM_CAP_DISABLE_QUIRKS2
#define KVM_CAP_DISABLE_QUIRKS2 213
#endif
#define QUIRK_SLOT_ZAP_ALL (1u << 7)
#define PARAMETER "/sys/module/kvm/parameters/nx_huge_pages"
#define ZAP_ALL TRACE "events/kvmmmu/kvm_mmu_zap_all_fast/enable"

static atomic_long done[2];
static atomic_long calls; /* of KVM_PRE_FAULT_MEMORY */
static long rounds = 20000;
static int vm, dirty_log;
static const char *mode = "";
static struct vcpu vcpu;
static volatile int ready, enough, third_back, write_back;
static volatile int under_way; /* a pre-fault */
static volatile int paused;    /* no pre-fault before the next write (nx-between) */
static long changes;	       /* of the parameter, or of a slot's flags (generation) */
static long overlapped;	       /* those that began with a pre-fault under way */
static int value, was = -1;    /* of the parameter; was: at the start, -1 where it cannot be written */
static void *memory;

static int is_mode(const char *name)
{
	return !strcmp(mode, name);
}

static void on_signal(int number UNUSED)
{
}

static void *prefault(void *unused UNUSED)
{
	name_thread("prefault", 0);
	while (!enough) {
		struct gmem_prefault range = { .gpa = GPA, .size = PAGES * PAGE };

		under_way = 1;
		while (range.size && !enough)
			if (ioctl(vcpu.fd, GMEM_PREFAULT, &range) && errno != EINTR && errno != EAGAIN)
				die("KVM_PRE_FAULT_MEMORY");
		under_way = 0;
		calls++;
		done[0]++;
		ready = 1;
		if (is_mode("nx-between"))
			for (paused = 1; paused && !enough;)
				sched_yield();
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

static void write_parameter(void)
{
	if (write_file(PARAMETER, value ? "force" : "off"))
		die(PARAMETER);
}

/* 0 or 1; -1: it cannot be written, or is "never". */
static int read_parameter(void)
{
	char text[8] = "";
	int fd = open(PARAMETER, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return -1;
	if (read(fd, text, sizeof(text)) <= 0)
		*text = 0;
	close(fd);
	return *text == 'Y' ? 1 : *text == 'N' ? 0 : -1;
}

static void restore_parameter(void)
{
	value = was;
	if (was >= 0)
		write_parameter();
}

static void *write_parameters(void *unused UNUSED)
{
	unsigned int state = 1;

	name_thread("parameter", 1);
	while (!ready)
		;
	for (long i = 0; i < rounds; i++) {
		long before;

		if (!is_mode("nx-same-value"))
			value = !value;
		if (is_mode("nx-between"))
			while (!paused)
				sched_yield();
		else
			spin(draw(&state) % 100000);
		overlapped += under_way;
		write_parameter();
		changes++;
		before = calls;
		paused = 0;
		while (calls == before)
			sched_yield();
		done[1]++;
		if (done[1] % 1000 == 0)
			say("%ld rounds", (long)done[1]);
	}
	enough = 1;
	return NULL;
}

static void switch_dirty_log(long number)
{
	set_ordinary_slot(2, OTHER, 1, number & 1 ? 0 : KVM_MEM_LOG_DIRTY_PAGES);
}

static void *switch_dirty_logs(void *unused UNUSED)
{
	name_thread("slots", 1);
	while (!ready)
		;
	for (long i = 0; i < rounds; i++) {
		overlapped += under_way;
		switch_dirty_log(i);
		changes++;
		done[1]++;
	}
	enough = 1;
	return NULL;
}

/* Zaps of all roots since `clear_trace`, of all VMs; -1: the tracepoint is not there. */
static long count_zaps(void)
{
	FILE *trace = fopen(TRACE "trace", "re");
	char line[512];
	long count = 0;

	if (!trace || access(ZAP_ALL, F_OK))
		return -1;
	while (fgets(line, sizeof(line), trace))
		count += line[0] != '#' && strstr(line, "kvm_mmu_zap_all_fast:");
	fclose(trace);
	return count;
}

static void *write_once(void *unused UNUSED)
{
	name_thread("write", 3);
	value = !read_parameter();
	write_parameter();
	write_back = 1;
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

/* What was done; whether a run that ended can be believed. */
static int tell(void)
{
	long zaps = count_zaps();

	say("KVM_PRE_FAULT_MEMORY returned %ld times, %ld changes, %ld with a pre-fault under way; roots zapped %ld times",
	    (long)calls, changes, overlapped, zaps);
	if (is_mode("nx-between"))
		return zaps >= changes && !overlapped;
	if (is_mode("nx-same-value"))
		return !zaps && overlapped;
	return zaps >= (is_mode("generation") ? 1 : changes) && overlapped;
}

/* The writer of the parameter waits for slots_lock of the VM with kvm_lock held, which each new VM takes. */
static void write_after_a_hang(void)
{
	pthread_t thread;

	if (was < 0)
		return;
	pthread_create(&thread, NULL, write_once, NULL);
	sleep(8);
	say("a write of nx_huge_pages: %s", write_back ? "works" : "does not come back");
	bystander("another VM, now", use_another_vm);
	print_threads();
}

static int after_a_hang(pthread_t prefaulter, int nx)
{
	long before = done[1];
	pthread_t thread;

	if (nx || is_mode("generation"))
		tell();
	else
		say("KVM_PRE_FAULT_MEMORY returned %ld times, %ld deletions", (long)calls, before);
	pthread_create(&thread, NULL, third, NULL);
	sleep(8);
	say("creation of a third slot: %s", third_back ? "works" : "does not come back");
	bystander("another VM", use_another_vm);
	write_after_a_hang();
	enough = 1;
	pthread_kill(prefaulter, SIGUSR1);
	sleep(1);
	if (!nx)
		say("after a signal to the pre-fault: the %s %s", is_mode("generation") ? "change" : "deletion",
		    done[1] > before ? "gets on" : "still hangs");
	say("after a signal to the pre-fault: the creation %s, the write %s", third_back ? "gets on" : "still hangs",
	    was < 0 ? "was not tried" : write_back ? "gets on" : "still hangs");
	restore_parameter();
	return 1;
}

static void count_from_now(void)
{
	if (write_file(ZAP_ALL, "1") || write_file(TRACE "tracing_on", "1"))
		die(ZAP_ALL);
	clear_trace();
}

int main(int argc, char **argv)
{
	struct kvm_enable_cap quirk = { .cap = KVM_CAP_DISABLE_QUIRKS2, .args = { QUIRK_SLOT_ZAP_ALL } };
	struct sigaction action = { .sa_handler = on_signal };
	void *(*other)(void *) = delete;
	pthread_t threads[2];
	int nx;

	for (int i = 1; i < argc; i++) /* in either order, for compare.sh */
		if (atol(argv[i]))
			rounds = atol(argv[i]);
		else
			mode = argv[i];
	if (*mode && !is_mode("quirk-off") && !is_mode("dirty-log") && !is_mode("nx-huge-pages") &&
	    !is_mode("nx-same-value") && !is_mode("nx-between") && !is_mode("generation")) {
		fprintf(stderr, "%s: no such mode\n", mode);
		return 2;
	}
	dirty_log = is_mode("dirty-log");
	nx = !strncmp(mode, "nx-", 3);
	memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	sigaction(SIGUSR1, &action, NULL);
	was = value = read_parameter();
	if (nx && was < 0)
		die(PARAMETER);
	vm = create_vm();
	if ((nx || is_mode("quirk-off") || is_mode("generation")) && ioctl(vm, KVM_ENABLE_CAP, &quirk))
		die("KVM_X86_QUIRK_SLOT_ZAP_ALL switched off");
	create_vcpu(&vcpu, vm);
	if (can_be_mapped(vm)) {
		if (set_slot(vm, 1, GPA, create_file(vm, PAGES, GMEM_MMAP | GMEM_INIT_SHARED), 0, PAGES, memory))
			die("KVM_SET_USER_MEMORY_REGION2");
		say("pre-faults a guest_memfd, %ld rounds %s", rounds, mode);
	} else {
		set_ordinary_slot(1, GPA, PAGES, 0);
		say("pre-faults ordinary memory, %ld rounds %s", rounds, mode);
	}
	if (nx) {
		count_from_now();
		other = write_parameters;
	} else if (is_mode("generation")) {
		for (long i = 0; i < rounds; i++)
			switch_dirty_log(i);
		say("%ld generations", rounds);
		rounds = 2000;
		count_from_now();
		other = switch_dirty_logs;
	}
	pthread_create(&threads[0], NULL, prefault, NULL);
	pthread_create(&threads[1], NULL, other, NULL);
	if (watch_rounds(done, 2, rounds))
		return after_a_hang(threads[0], nx);
	if (nx || is_mode("generation")) {
		int told = tell();

		restore_parameter();
		return told ? 0 : 2;
	}
	say("KVM_PRE_FAULT_MEMORY returned %ld times", (long)calls);
	return 0;
}
