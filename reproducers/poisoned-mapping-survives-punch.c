// SPDX-License-Identifier: MIT
/*
 * PUNCH_HOLE of a poisoned page leaves the host's mapping of it poisoned.
 *
 *   poisoned-mapping-survives-punch
 *
 * memory_failure() puts a poison entry into the page table of everyone who maps the page. The hole takes the page out
 * of the file and does not look for such entries: the guest gets a fresh page, and so does a new mapping, but the old
 * mapping raises SIGBUS until madvise(MADV_DONTNEED) or munmap(). Exit code 1: it is so.
 */
#include "vcpu.h"

#include <setjmp.h>

static sigjmp_buf away;
static volatile sig_atomic_t loading, code;

static void on_sigbus(int number UNUSED, siginfo_t *info, void *context UNUSED)
{
	code = info->si_code;
	if (loading)
		siglongjmp(away, 1);
}

/* What a load of the host comes to. */
static int host_read(volatile uint32_t *page, const char *when)
{
	uint32_t value;

	if (sigsetjmp(away, 1)) {
		loading = 0;
		say("host, %s: SIGBUS, code %d%s", when, (int)code, code == BUS_MCEERR_AR ? " (BUS_MCEERR_AR)" : "");
		return 1;
	}
	loading = 1;
	value = *page;
	loading = 0;
	say("host, %s: reads %u", when, value);
	return 0;
}

static void guest_read(struct vcpu *vcpu, const char *when)
{
	uint32_t value = 99;
	int ret = guest_access(vcpu, GPA, 0, &value);

	if (ret)
		say("guest, %s: KVM_RUN fails with %s", when, strerror(ret));
	else
		say("guest, %s: reads %u", when, value);
}

int main(void)
{
	struct sigaction action = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_NODEFER };
	int vm = create_vm(), file, old, new;
	struct vcpu vcpu = { 0 };
	uint32_t seven = 7;
	uint8_t *map;

	if (!can_be_mapped(vm)) {
		say("cannot run: this kernel cannot map a guest_memfd");
		return 2;
	}
	create_vcpu(&vcpu, vm);
	file = create_file(vm, 16, GMEM_MMAP | GMEM_INIT_SHARED);
	map = map_file(file, 16);
	if (set_slot(vm, 1, GPA, file, 0, 16, map))
		die("KVM_SET_USER_MEMORY_REGION2");
	sigaction(SIGBUS, &action, NULL);
	if (guest_access(&vcpu, GPA, 1, &seven))
		die("the guest cannot write");
	host_read((void *)map, "before");
	usleep(300000);
	say("MADV_HWPOISON: %s", strerror(-inject_by_address(map)));
	host_read((void *)map, "after the error");
	guest_read(&vcpu, "after the error");
	if (fallocate(file, HOLE, 0, PAGE))
		die("PUNCH_HOLE");
	guest_read(&vcpu, "after the hole");
	old = host_read((void *)map, "after the hole, old mapping");
	new = host_read(map_file(file, 1), "after the hole, new mapping");
	madvise(map, PAGE, MADV_DONTNEED);
	host_read((void *)map, "old mapping after MADV_DONTNEED");
	say("RESULT: the old mapping %s poisoned after the hole, a new one %s", old ? "stays" : "is not", new ? "too" : "is not");
	return old;
}
