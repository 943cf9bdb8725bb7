/* SPDX-License-Identifier: MIT */
/*
 * Runs the scenarios of a program on the kernel that it runs on, and writes results as JSON lines.
 *
 *     runner FOLDER
 *     runner PROGRAM OUTPUT [PROBES]
 *
 * With a folder it loads the modules in it first, takes its program and writes to /dev/ttyS1; so it does with / as first
 * process of an initramfs, where it mounts what is needed before that, and switches the machine off in the end. A scenario runs in a process of its own, which is watched: if nothing moves, where its threads
 * are is written down.
 */
#include "abi.h"

#include <ctype.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/utsname.h>
#include <termios.h>

struct scenario *S;
struct progress *progress;
int kvm_fd = -1, out_fd = 1;
static const char *probes, *folder;

uint64_t now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000ull + time.tv_nsec;
}

unsigned int draw(unsigned int *state)
{
	*state = *state * 1664525u + 1013904223u;
	return *state >> 8;
}

/* 0, or errno. */
int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), ret = 0;

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		ret = errno;
	if (fd >= 0)
		close(fd);
	return ret;
}

static void put(const char *text, size_t length)
{
	while (length) {
		ssize_t part = write(out_fd, text, length);

		if (part <= 0 && errno != EINTR)
			return;
		if (part > 0) {
			text += part;
			length -= part;
		}
	}
}

void emit(const char *format, ...)
{
	static char line[70000];
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	va_list arguments;
	int length;

	pthread_mutex_lock(&lock);
	va_start(arguments, format);
	length = vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	put(line, length < (int)sizeof(line) ? length : (int)sizeof(line) - 1);
	pthread_mutex_unlock(&lock);
}

/* Text of the kernel's as a JSON string. */
void emit_text(const char *kind, const char *text)
{
	char quoted[8192];
	size_t used = 0;

	for (const char *c = text; *c && used < sizeof(quoted) - 8; c++)
		if (*c == '"' || *c == '\\')
			used += sprintf(quoted + used, "\\%c", *c);
		else if (*c == '\n')
			used += sprintf(quoted + used, "\\n");
		else if ((unsigned char)*c >= 32 && (unsigned char)*c < 127)
			quoted[used++] = *c;
	quoted[used] = 0;
	emit("{\"kind\":\"%s\",\"scenario\":%d,\"text\":\"%s\"}\n", kind, S ? S->id : -1, quoted);
}

/* A file of the folder. */
static const char *beside(const char *name)
{
	static char paths[4][512];
	static int next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
	return path;
}

/* -- the program ------------------------------------------------------------------------------------- */

static int64_t numbers[16];

static int take_numbers(char *rest)
{
	int count = 0;
	char *end;

	while (count < 16) {
		while (isspace((unsigned char)*rest))
			rest++;
		numbers[count] = strtoll(rest, &end, 10);
		if (end == rest)
			break;
		rest = end;
		count++;
	}
	return count;
}

static void add_op(struct task *task)
{
	struct op *op;

	if (task->count == task->room) {
		task->room = task->room ? task->room * 2 : 16;
		task->ops = realloc(task->ops, task->room * sizeof(*op));
	}
	op = &task->ops[task->count++];
	*op = (struct op){ numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5], numbers[6] };
}

static void bad_program(const char *line)
{
	emit("{\"kind\":\"refused\",\"scenario\":-1,\"what\":\"the program\",\"errno\":0}\n");
	fprintf(stderr, "runner: cannot read %s\n", line);
}

static void read_line(char *line, struct task **current)
{
	int64_t *n = numbers;
	char *rest = strchr(line, ' ');

	memset(numbers, 0, sizeof(numbers));
	if (!rest)
		return;
	if (!strncmp(line, "task ", 5)) {
		struct task *task = *current = &S->tasks[S->ntasks];

		rest = strchr(line + 5, ' ');
		if (!rest || S->ntasks >= MOST_TASKS)
			return bad_program(line);
		take_numbers(rest);
		snprintf(task->name, sizeof(task->name), "%.*s", (int)(rest - line - 5), line + 5);
		task->index = S->ntasks++;
		task->vm = n[0];
		task->vcpu = n[1];
		task->until = n[2];
		task->background = n[3];
		task->start_low = n[4];
		task->start_high = n[5];
		return;
	}
	take_numbers(rest);
	if (!strncmp(line, "vm ", 3) && S->nvms < MOST_VMS)
		S->vms[S->nvms++] = (struct vm){ .type = n[0], .vcpus = n[1], .policy = n[2] };
	else if (!strncmp(line, "file ", 5) && S->nfiles < MOST_FILES)
		S->files[S->nfiles++] = (struct file){ .vm = n[0], .bytes = n[1], .flags = n[2], .absent = n[3], .fd = -1 };
	else if (!strncmp(line, "buffer ", 7) && S->nbuffers < MOST_BUFFERS)
		S->buffers[S->nbuffers++] = (struct buffer){ .pages = n[0] };
	else if (!strncmp(line, "slot ", 5) && S->nslots < MOST_SLOTS)
		S->slots[S->nslots++] = (struct slot){ .id = n[0], .vm = n[1], .gfn = n[2], .pages = n[3], .file = n[4],
						       .start = n[5], .buffer = n[6], .flags = n[7], .absent = n[8] };
	else if (!strncmp(line, "map ", 4) && S->nmaps < MOST_MAPS - 1)
		S->maps[S->nmaps++] = (struct map){ .file = n[0], .start = n[1], .pages = n[2], .absent = n[3] };
	else if (!strncmp(line, "barrier ", 8) && S->nbarriers < MOST_BARRIERS)
		S->parties[S->nbarriers++] = n[0];
	else if (!strncmp(line, "setup ", 6))
		*current = &S->setup;
	else if (!strncmp(line, "op ", 3) && *current)
		add_op(*current);
	else
		bad_program(line);
}

/* The next scenario of the program into *S: 1, or 0 at its end. */
static int read_scenario(FILE *program)
{
	struct task *current = NULL;
	char line[512];

	while (fgets(line, sizeof(line), program)) {
		line[strcspn(line, "\n")] = 0;
		if (!strncmp(line, "scenario ", 9)) {
			memset(numbers, 0, sizeof(numbers));
			take_numbers(line + 9);
			S = calloc(1, sizeof(*S));
			S->id = numbers[0];
			S->rounds = numbers[1];
			S->seed = numbers[2];
			S->spread = numbers[3];
			S->trace = numbers[4];
			S->each = numbers[5];
			S->stop_after = numbers[6];
			S->still = numbers[7];
			S->report_seconds = numbers[8];
		} else if (!strcmp(line, "end")) {
			return 1;
		} else if (S && *line) {
			read_line(line, &current);
		}
	}
	return 0;
}

/* -- scenarios one by one ------------------------------------------------------------------------------- */

static int run_program(const char *path)
{
	FILE *program = fopen(path, "re");
	struct utsname name;
	int traced = 0, keep, nodes = 1;
	char node[64];

	uname(&name);
	while (snprintf(node, sizeof(node), "/sys/devices/system/node/node%d", nodes), !access(node, F_OK))
		nodes++;
	keep = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	/* One VM stays open: code that is patched when the last one goes can crash a kernel under TCG. */
	if (keep >= 0)
		ioctl(keep, KVM_CREATE_VM, 0);
	emit("{\"kind\":\"kernel\",\"release\":\"%s\",\"version\":\"%s\",\"kvm\":%d,\"vm_types\":%d,\"gmem_flags\":%d,\"cpus\":%ld,\"nodes\":%d}\n",
	     name.release, name.version, keep >= 0, keep < 0 ? 0 : ioctl(keep, KVM_CHECK_EXTENSION, 235),
	     keep < 0 ? 0 : ioctl(keep, KVM_CHECK_EXTENSION, 244), sysconf(_SC_NPROCESSORS_ONLN), nodes);
	if (folder)
		holds_prepare(beside("holds"));
	progress = mmap(NULL, sizeof(*progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	while (program && read_scenario(program)) {
		pid_t child;

		for (int i = 0; i < S->ntasks; i++)
			for (int k = 0; k < S->tasks[i].count; k++)
				if (S->tasks[i].ops[k].opcode == OP_MEMORY_FAILURE ||
				    S->tasks[i].ops[k].opcode == OP_RAW_INJECT)
					frames_prepare();
		if (S->trace && !traced++ && probes)
			trace_prepare(probes);
		if (!S->still)
			S->still = 20;
		child = fork();
		if (!child) {
			run_scenario();
			_exit(0);
		}
		if (child < 0 || watch(child))
			return 1;
	}
	return !program;
}

/* -- in a guest of its own ----------------------------------------------------------------------------------- */

static void load_modules(void)
{
	FILE *order = fopen(beside("modules/order"), "re");
	char name[256], path[300];

	while (order && fgets(name, sizeof(name), order)) {
		int fd;

		name[strcspn(name, "\n")] = 0;
		snprintf(path, sizeof(path), "modules/%s", name);
		fd = open(beside(path), O_RDONLY | O_CLOEXEC);
		/* One of the two vendors' modules does not load; that is all right. */
		if (fd >= 0) {
			syscall(SYS_finit_module, fd, "", 0);
			close(fd);
		}
	}
	if (order)
		fclose(order);
}

static void be_first(void)
{
	int console;

	mkdir("/proc", 0755);
	mkdir("/sys", 0755);
	mkdir("/dev", 0755);
	mount("proc", "/proc", "proc", 0, "");
	mount("sys", "/sys", "sysfs", 0, "");
	mount("dev", "/dev", "devtmpfs", 0, "");
	console = open("/dev/console", O_RDWR);
	dup2(console, 1);
	dup2(console, 2);
}

static void run_folder(void)
{
	struct termios line;

	/* Where they are already, this changes nothing. */
	mount("trace", "/sys/kernel/tracing", "tracefs", 0, "");
	mount("debug", "/sys/kernel/debug", "debugfs", 0, "");
	load_modules();
	write_file("/proc/sys/kernel/hung_task_timeout_secs", "10");
	write_file("/proc/sys/kernel/hung_task_warnings", "20");
	write_file("/proc/sys/kernel/kptr_restrict", "0");
	out_fd = open("/dev/ttyS1", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (!tcgetattr(out_fd, &line)) {
		cfmakeraw(&line);
		cfsetspeed(&line, B115200);
		tcsetattr(out_fd, TCSANOW, &line);
	}
	probes = strdup(beside("probes"));
	run_program(beside("program"));
	emit("{\"kind\":\"end\"}\n");
	tcdrain(out_fd);
}

static void switch_off(void)
{
	sync();
	reboot(RB_POWER_OFF);
	write_file("/proc/sysrq-trigger", "o");
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	int ret;

	if (getpid() == 1) {
		be_first();
		folder = "";
		run_folder();
		switch_off();
	}
	if (argc == 2) {
		folder = argv[1];
		run_folder();
		return 0;
	}
	if (argc < 3) {
		fprintf(stderr, "usage: runner FOLDER, or runner PROGRAM OUTPUT [PROBES]\n");
		return 2;
	}
	out_fd = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (out_fd < 0)
		return 2;
	probes = argc > 3 ? argv[3] : NULL;
	ret = run_program(argv[1]);
	emit("{\"kind\":\"end\"}\n");
	return ret;
}
