/* SPDX-License-Identifier: MIT */
/* Ftrace around the measured part of a round. Which probes are wanted is in the file of the program's `probes`. */
#include "abi.h"

#define TRACE "/sys/kernel/tracing/"
#define OWN_FILTER_SIZE 2048

static char filter[OWN_FILTER_SIZE];

#define MOST_PROBES 128

static struct probe {
	char kind, name[64], function[128], arguments[256], symbol[256];
} wanted[MOST_PROBES];
static int nwanted;

/* The symbol that each function has in this kernel: gcc may have added .isra.0 or the like. One pass: the list is long. */
static void find_symbols(void)
{
	FILE *symbols = fopen("/proc/kallsyms", "re");
	char line[512];

	while (symbols && fgets(line, sizeof(line), symbols)) {
		char type, name[256];
		size_t length;

		if (sscanf(line, "%*s %c %255s", &type, name) != 2 || (type | 32) != 't' || strstr(name, ".cold"))
			continue;
		length = strcspn(name, ".");
		for (int i = 0; i < nwanted; i++)
			if (!*wanted[i].symbol && strlen(wanted[i].function) == length &&
			    !strncmp(wanted[i].function, name, length))
				snprintf(wanted[i].symbol, sizeof(wanted[i].symbol), "%s", name);
	}
	if (symbols)
		fclose(symbols);
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

static void install(struct probe *probe)
{
	const char *word = probe->kind == 'r' ? "RET" : probe->kind == 'o' ? "OFF" : "PROBE";
	char text[1024], file[256];

	if (probe->kind == 'o')
		snprintf(probe->symbol, sizeof(probe->symbol), "%s", probe->function);
	if (!*probe->symbol)
		return report(word, probe->function, "", "missing (inlined or absent)");
	snprintf(text, sizeof(text), "%s:g/%s %s %s\n", probe->kind == 'r' ? "r64" : "p", probe->name, probe->symbol,
		 probe->arguments);
	if (append(TRACE "kprobe_events", text))
		return report(word, probe->name, probe->symbol, "failed");
	snprintf(file, sizeof(file), TRACE "events/g/%s/filter", probe->name);
	write_file(file, filter);
	report(word, probe->name, probe->symbol, "ok");
}

/* A line: `p NAME FUNCTION ARGS`, `r NAME FUNCTION ARGS` (on return), `o NAME FUNCTION+OFFSET ARGS`, `e EVENT -`;
 * `e EVENT stacktrace`: with the kernel's stack after each. */
void trace_prepare(const char *path)
{
	FILE *program = fopen(path, "re");
	char line[512], file[256], stacks[OWN_FILTER_SIZE + 32];

	if (!program)
		return;
	make_filter();
	write_file(TRACE "tracing_on", "0");
	write_file(TRACE "trace_clock", "mono");
	write_file(TRACE "buffer_size_kb", "4096");
	while (nwanted < MOST_PROBES && fgets(line, sizeof(line), program)) {
		struct probe *probe = &wanted[nwanted];

		line[strcspn(line, "\n")] = 0;
		memset(probe, 0, sizeof(*probe));
		if (sscanf(line, "%c %63s %127s %255[^\n]", &probe->kind, probe->name, probe->function, probe->arguments) < 3)
			continue;
		if (probe->kind != 'e') {
			nwanted++;
			continue;
		}
		snprintf(file, sizeof(file), TRACE "events/%s/filter", probe->name);
		write_file(file, filter);
		snprintf(file, sizeof(file), TRACE "events/%s/enable", probe->name);
		report("TP", probe->name, "", write_file(file, "1") ? "FAILED" : "ok");
		if (strcmp(probe->function, "stacktrace"))
			continue;
		snprintf(stacks, sizeof(stacks), "stacktrace if %s", filter);
		snprintf(file, sizeof(file), TRACE "events/%s/trigger", probe->name);
		report("STACK", probe->name, "", write_file(file, stacks) ? "FAILED" : "ok");
	}
	fclose(program);
	find_symbols();
	for (int i = 0; i < nwanted; i++)
		install(&wanted[i]);
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
