/* SPDX-License-Identifier: MIT */
/* The watch over a scenario's process: if nothing moves, where its threads are is written down. */
#include "abi.h"

#include <dirent.h>

static void show_task(const char *task)
{
	char path[640], text[4096] = "", *name, *end;
	int fd, used;
	ssize_t count;

	snprintf(path, sizeof(path), "%s/stat", task);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	count = fd < 0 ? -1 : read(fd, text, 511);
	close(fd);
	if (count <= 0)
		return;
	text[count] = 0;
	name = strchr(text, '(');
	end = strrchr(text, ')');
	if (!name || !end)
		return;
	used = end - name;
	memmove(text, name + 1, used);
	used += sprintf(text + used - 1, " state %c\n", end[2]) - 1;
	snprintf(path, sizeof(path), "%s/stack", task);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	count = fd < 0 ? 0 : read(fd, text + used, sizeof(text) - used - 1);
	text[used + (count > 0 ? count : 0)] = 0;
	close(fd);
	emit_text("stack", text);
}

static void show_threads(pid_t child)
{
	char path[600];
	struct dirent *entry;
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%d/task", child);
	tasks = opendir(path);
	while (tasks && (entry = readdir(tasks)))
		if (entry->d_name[0] != '.' && atoi(entry->d_name) != child) {
			snprintf(path, sizeof(path), "/proc/%d/task/%s", child, entry->d_name);
			show_task(path);
		}
	if (tasks)
		closedir(tasks);
}

static int gone(pid_t child, int *status, int milliseconds)
{
	for (int i = 0; i <= milliseconds; i += 5) {
		if (waitpid(child, status, WNOHANG) == child)
			return 1;
		usleep(5000);
	}
	return 0;
}

/* Wait for the child: 0, or 1 if it cannot even be killed, after which nothing else is worth running. */
int watch(pid_t child)
{
	long steps = -1;
	uint64_t moved = now_ns();
	int status = 0;

	while (!gone(child, &status, 200)) {
		if (progress->steps != steps) {
			steps = progress->steps;
			moved = now_ns();
			continue;
		}
		if (now_ns() - moved < S->still * 1000000000ull)
			continue;
		emit("{\"kind\":\"hung\",\"scenario\":%d,\"round\":%ld,\"at\":[", S->id, progress->round);
		for (int i = 0; i < S->ntasks; i++)
			emit("%s%d", i ? "," : "", progress->at[i]);
		emit("]}\n");
		show_threads(child);
		kill(child, SIGKILL);
		if (gone(child, &status, 3000)) {
			emit("{\"kind\":\"killed\",\"scenario\":%d}\n", S->id);
			return 0;
		}
		/* Time for the kernel to say what it thinks of it. */
		for (int i = 0; i < S->report_seconds; i++)
			usleep(1000000);
		emit("{\"kind\":\"stuck\",\"scenario\":%d}\n", S->id);
		return 1;
	}
	if (WIFSIGNALED(status))
		emit("{\"kind\":\"died\",\"scenario\":%d,\"signal\":%d}\n", S->id, WTERMSIG(status));
	return 0;
}
