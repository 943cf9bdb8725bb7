/* SPDX-License-Identifier: MIT */
/*
 * A memory error in the frame that holds a page of a file. Nothing tells user space the frame of a page that is not mapped,
 * so it is read from the tracepoints of the page cache, in a trace buffer of their own, and given to hwpoison-inject.
 */
#include "abi.h"

#define BUFFER "/sys/kernel/tracing/instances/lab-frames/"
#define CORRUPT "/sys/kernel/debug/hwpoison/corrupt-pfn"
#define UNPOISON "/sys/kernel/debug/hwpoison/unpoison-pfn"

static int ready;
/* Of the last error that was injected. */
static uint64_t last_frame;

void frames_prepare(void)
{
	if (ready)
		return;
	mkdir("/sys/kernel/tracing/instances/lab-frames", 0700);
	write_file(BUFFER "buffer_size_kb", "256");
	if (write_file(BUFFER "events/filemap/mm_filemap_add_to_page_cache/enable", "1") ||
	    write_file(BUFFER "events/filemap/mm_filemap_delete_from_page_cache/enable", "1"))
		return;
	ready = 1;
}

/* Frame of a page of the file as the tracepoints have it; 0: not there. */
static uint64_t frame_of(int fd, uint64_t index)
{
	FILE *trace = fopen(BUFFER "trace", "re");
	uint64_t pfn = 0;
	struct stat stat;
	char line[512];

	if (!trace || fstat(fd, &stat))
		return 0;
	while (fgets(line, sizeof(line), trace)) {
		char *event = strstr(line, "mm_filemap_");
		char *ino = event ? strstr(event, " ino ") : NULL;
		char *frame = event ? strstr(event, "pfn=0x") : NULL;
		char *offset = event ? strstr(event, "ofs=") : NULL;

		if (!ino || !frame || !offset || strtoull(ino + 5, NULL, 16) != stat.st_ino ||
		    strtoull(offset + 4, NULL, 0) != index * PAGE)
			continue;
		pfn = strstr(event, "_add_to_") ? strtoull(frame + 6, NULL, 16) : 0;
	}
	fclose(trace);
	return pfn;
}

/* 0, an errno of memory_failure, or OUT_CANNOT. A page that is not there has no error, as in the model. */
int frame_failure(int number, uint64_t index)
{
	int fd = S->files[number].fd, ret;
	char text[32];
	uint64_t pfn;

	if (fd < 0)
		return EBADF;
	if (!ready)
		return OUT_CANNOT;
	pfn = frame_of(fd, index);
	/* Where it went with the file that was closed meanwhile, the file was gone first. */
	if (!pfn)
		return S->files[number].fd < 0 ? EBADF : 0;
	snprintf(text, sizeof(text), "0x%llx", (unsigned long long)pfn);
	ret = write_file(CORRUPT, text);
	return ret == ENOENT ? OUT_CANNOT : ret;
}

/*
 * A vector's: in page `b` of file `a`, by frame or, if `e`, by page `f` of the mapping `c`, under the kill policy `d` (0 the
 * machine's, 1 early, 2 late). What memory_failure answered is a value, the outcome whether SIGBUS came.
 */
int inject(struct task *task, const struct op *op)
{
	static const int policies[] = { PR_MCE_KILL_DEFAULT, PR_MCE_KILL_EARLY, PR_MCE_KILL_LATE };
	int fd = S->files[op->a].fd, ret = 0;
	char text[32];

	last_frame = ready && fd >= 0 ? frame_of(fd, op->b) : 0;
	if (!last_frame || prctl(PR_MCE_KILL, PR_MCE_KILL_SET, policies[op->d], 0, 0))
		return OUT_CANNOT;
	struck = 0;
	if (op->e) {
		if (madvise(S->maps[op->c].memory + op->f * PAGE, PAGE, MADV_HWPOISON))
			ret = errno;
	} else {
		snprintf(text, sizeof(text), "0x%llx", (unsigned long long)last_frame);
		ret = write_file(CORRUPT, text);
	}
	prctl(PR_MCE_KILL, PR_MCE_KILL_CLEAR, 0, 0, 0);
	/* Nothing was injected at all. */
	if (ret == ENOENT || ret == EPERM || ret == EINVAL)
		return OUT_CANNOT;
	*value_room(task) = ret;
	return struck ? OUT_SIGBUS : 0;
}

/* The last error that was injected, taken back: 0, an errno, or OUT_CANNOT. */
int unpoison(void)
{
	char text[32];
	int ret;

	snprintf(text, sizeof(text), "0x%llx", (unsigned long long)last_frame);
	ret = last_frame ? write_file(UNPOISON, text) : ENOENT;
	return ret == ENOENT ? OUT_CANNOT : ret;
}
