/* SPDX-License-Identifier: MIT */
/*
 * Places at which a debugger outside holds a task: before every call there is one in this program, others are the kernel's
 * functions. Where they are is written down, for names in the file.
 */
#include "abi.h"

/* Task `task` is about to make call `call`. The debugger that breaks here makes the first argument -1 for "not yet". */
__attribute__((noinline, noclone)) static long place_of_call(long task, long call)
{
	asm volatile("" : "+r"(task) : "r"(call) : "memory");
	return task;
}

/* After the last call, `call` is how many there were. It waits asleep, so that its CPU does what others need of it. */
void gate(long task, long call)
{
	struct timespec time = { 0, 5000000 };

	while (place_of_call(task, call) < 0)
		nanosleep(&time, NULL);
}

/*
 * Name, address and end of each function that there is; what gcc appended to a name (.isra.0 or the like) is no part of it.
 * The end is where the next symbol is.
 */
void holds_prepare(const char *path)
{
	static struct {
		char name[128];
		unsigned long long begin, end;
	} found[512];
	FILE *names = fopen(path, "re"), *symbols = NULL;
	char wanted[256][128], line[512], name[256], type;
	unsigned long long address;
	int count = 0, there = 0;

	while (names && count < 256 && fscanf(names, "%127s", wanted[count]) == 1)
		count++;
	if (names)
		fclose(names);
	for (int pass = 0; pass < 2; pass++) {
		symbols = count ? fopen("/proc/kallsyms", "re") : NULL;
		while (symbols && fgets(line, sizeof(line), symbols)) {
			size_t length;

			if (sscanf(line, "%llx %c %255s", &address, &type, name) != 3 || (type | 32) != 't')
				continue;
			for (int i = 0; pass && i < there; i++)
				if (address > found[i].begin && (!found[i].end || address < found[i].end))
					found[i].end = address;
			if (pass || strstr(name, ".cold"))
				continue;
			length = strcspn(name, ".");
			for (int i = 0; i < count && there < 512; i++)
				if (strlen(wanted[i]) == length && !strncmp(wanted[i], name, length)) {
					strcpy(found[there].name, wanted[i]);
					found[there++].begin = address;
				}
		}
		if (symbols)
			fclose(symbols);
	}
	for (int i = 0; i < there; i++)
		emit("{\"kind\":\"place\",\"name\":\"%s\",\"address\":%llu,\"end\":%llu}\n", found[i].name, found[i].begin,
		     found[i].end);
	if (count)
		emit("{\"kind\":\"places\",\"gate\":%llu}\n", (unsigned long long)(uintptr_t)place_of_call);
}
