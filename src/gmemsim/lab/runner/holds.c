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

/* Name and address of each function that there is; what gcc appended to a name (.isra.0 or the like) is no part of it. */
void holds_prepare(const char *path)
{
	FILE *names = fopen(path, "re"), *symbols = names ? fopen("/proc/kallsyms", "re") : NULL;
	char wanted[256][128], line[512], name[256], type;
	unsigned long long address;
	int count = 0;

	while (names && count < 256 && fscanf(names, "%127s", wanted[count]) == 1)
		count++;
	if (names)
		fclose(names);
	while (symbols && fgets(line, sizeof(line), symbols)) {
		size_t length;

		if (sscanf(line, "%llx %c %255s", &address, &type, name) != 3 || (type | 32) != 't' || strstr(name, ".cold"))
			continue;
		length = strcspn(name, ".");
		for (int i = 0; i < count; i++)
			if (strlen(wanted[i]) == length && !strncmp(wanted[i], name, length))
				emit("{\"kind\":\"place\",\"name\":\"%s\",\"address\":%llu}\n", wanted[i], address);
	}
	if (symbols)
		fclose(symbols);
	if (count)
		emit("{\"kind\":\"places\",\"gate\":%llu}\n", (unsigned long long)(uintptr_t)place_of_call);
}
