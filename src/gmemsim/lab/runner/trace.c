/* SPDX-License-Identifier: MIT */
/* Ftrace around the measured part of a round. Which probes are wanted is in the file of the program's `probes`. */
#include "abi.h"

#define TRACE "/sys/kernel/tracing/"
#define OWN_FILTER_SIZE 2048

static char filter[OWN_FILTER_SIZE];

/* The symbol that a function has in this kernel: gcc may have added .isra.0 or the like. */
static int symbol_of(const char *function, char *found, size_t room)
{
	FILE *symbols = fopen("/proc/kallsyms", "re");
	size_t length = strlen(function);
	char line[512];
	int seen = 0;

	while (!seen && symbols && fgets(line, sizeof(line), symbols)) {
		char type, name[256];

		if (sscanf(line, "%*s %c %255s", &type, name) != 2 || (type | 32) != 't' || strncmp(name, function, length))
			continue;
		if (name[length] && (name[length] != '.' || strstr(name + length, ".cold")))
			continue;
		snprintf(found, room, "%s", name);
		seen = 1;
	}
	if (symbols)
		fclose(symbols);
	return seen;
}

static void report(const char *word, const char *name, const char *symbol, const char *result)
{
	emit("{\"kind\":\"probe\",\"text\":\"%s %s%s%s %s\"}\n", word, name, *symbol ? " " : "", symbol, result);
}

static int append(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC), ret = 0;

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		ret = errno;
	if (fd >= 0)
		close(fd);
	return ret;
}

/* Threads of the scenario only; by name, as in the program. */
static void make_filter(void)
{
	int used = 0;

	for (int i = 0; i < S->ntasks && used < OWN_FILTER_SIZE - 64; i++)
		used += snprintf(filter + used, OWN_FILTER_SIZE - used, "%sCOMM == \"%s\"", i ? " || " : "", S->tasks[i].name);
}

/* A line: `p NAME FUNCTION ARGS`, `r NAME FUNCTION ARGS` (on return), `o NAME FUNCTION+OFFSET ARGS`, `e EVENT`. */
void trace_prepare(const char *path)
{
	FILE *wanted = fopen(path, "re");
	char line[512], text[1024], file[256], found[256];

	if (!wanted)
		return;
	make_filter();
	write_file(TRACE "tracing_on", "0");
	write_file(TRACE "trace_clock", "mono");
	write_file(TRACE "buffer_size_kb", "16384");
	while (fgets(line, sizeof(line), wanted)) {
		char kind, name[64], function[128], args[256] = "";

		line[strcspn(line, "\n")] = 0;
		if (sscanf(line, "%c %63s %127s %255[^\n]", &kind, name, function, args) < 2)
			continue;
		if (kind == 'e') {
			snprintf(file, sizeof(file), TRACE "events/%s/filter", name);
			write_file(file, filter);
			snprintf(file, sizeof(file), TRACE "events/%s/enable", name);
			report("TP", name, "", write_file(file, "1") ? "FAILED" : "ok");
			continue;
		}
		if (kind == 'o')
			snprintf(found, sizeof(found), "%s", function);
		else if (!symbol_of(function, found, sizeof(found))) {
			report(kind == 'r' ? "RET" : "PROBE", function, "", "missing (inlined or absent)");
			continue;
		}
		snprintf(text, sizeof(text), "%s:g/%s %s %s\n", kind == 'r' ? "r64" : "p", name, found, args);
		if (append(TRACE "kprobe_events", text)) {
			report(kind == 'r' ? "RET" : kind == 'o' ? "OFF" : "PROBE", name, found, "failed");
			continue;
		}
		snprintf(file, sizeof(file), TRACE "events/g/%s/filter", name);
		write_file(file, filter);
		report(kind == 'r' ? "RET" : kind == 'o' ? "OFF" : "PROBE", name, found, "ok");
	}
	fclose(wanted);
	write_file(TRACE "events/g/enable", "1");
}

static void mark(void)
{
	char text[256];
	struct stat stat = { 0 };
	int vcpu_count = 0;

	for (int i = 0; i < S->nvms; i++)
		vcpu_count += S->vms[i].vcpus;
	if (S->nfiles && S->files[0].fd >= 0)
		fstat(S->files[0].fd, &stat);
	snprintf(text, sizeof(text), "GMEM start name=lab vcpus=%d pages=%llu ino=%llu data_gfn=0x%llx", vcpu_count,
		 (unsigned long long)(S->nfiles ? S->files[0].bytes / PAGE : 1), (unsigned long long)stat.st_ino,
		 (unsigned long long)(S->nslots ? S->slots[0].gfn - S->slots[0].start : 0));
	write_file(TRACE "trace_marker", text);
}

void trace_begin(void)
{
	close(open(TRACE "trace", O_WRONLY | O_TRUNC | O_CLOEXEC));
	write_file(TRACE "tracing_on", "1");
	mark();
}

static long lost_events(void)
{
	long lost = 0;
	char path[128], line[128];

	for (int cpu = 0; cpu < sysconf(_SC_NPROCESSORS_ONLN); cpu++) {
		FILE *stats;

		snprintf(path, sizeof(path), TRACE "per_cpu/cpu%d/stats", cpu);
		stats = fopen(path, "re");
		while (stats && fgets(line, sizeof(line), stats)) {
			char *colon = strchr(line, ':');

			if (colon && (!strncmp(line, "overrun", 7) || !strncmp(line, "dropped", 7)))
				lost += atol(colon + 1);
		}
		if (stats)
			fclose(stats);
	}
	return lost;
}

/* The text goes out as it is, between two lines of JSON. */
void trace_end(void)
{
	char buffer[16384];
	ssize_t count;
	int fd;

	write_file(TRACE "trace_marker", "GMEM end");
	write_file(TRACE "tracing_on", "0");
	emit("{\"kind\":\"trace\",\"scenario\":%d,\"round\":%ld,\"lost\":%ld}\n", S->id, progress->round, lost_events());
	fd = open(TRACE "trace", O_RDONLY | O_CLOEXEC);
	while (fd >= 0 && (count = read(fd, buffer, sizeof(buffer))) > 0) {
		progress->steps++;
		for (ssize_t sent = 0; sent < count;) {
			ssize_t part = write(out_fd, buffer + sent, count - sent);

			if (part <= 0)
				break;
			sent += part;
		}
	}
	if (fd >= 0)
		close(fd);
	emit("{\"kind\":\"trace_end\",\"scenario\":%d}\n", S->id);
}
