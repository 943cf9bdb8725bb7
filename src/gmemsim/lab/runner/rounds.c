/* SPDX-License-Identifier: MIT */
/* Rounds of a scenario: a fresh world each, all tasks at once, and what came of it counted by kind. */
#include "abi.h"

#define MOST_KINDS 4096
#define MOST_TEXT 65536

static struct kind {
	char *text;
	long count, first;
	struct kind *next;
} *kinds[1024];
static long nkinds;

static pthread_barrier_t begin_round, end_round;
static atomic_int gathered, turn;
static int last_round;
static long round_number;

static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ull;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

/* Spins, so that all leave at almost the same moment; yields now and then, as virtual CPUs may share one. */
static void meet(int parties)
{
	int mine = turn;

	if (atomic_fetch_add(&gathered, 1) == parties - 1) {
		gathered = 0;
		turn = mine + 1;
		return;
	}
	for (int i = 0; turn == mine; i++)
		if (i > 1000) {
			sched_yield();
			i = 0;
		}
}

/* Half of the time none; else of a size drawn first, so that short ones are as frequent as long ones. */
static void wait_a_while(struct task *task)
{
	uint64_t end, most = S->spread;
	unsigned int luck = draw(&task->luck);

	if (!most || luck & 1)
		return;
	most >>= (luck >> 1) % 14;
	end = now_ns() + draw(&task->luck) % (most + 1);
	while (now_ns() < end)
		;
}

static void pause_task(struct task *task, int64_t low, int64_t high)
{
	struct op op = { .opcode = OP_SLEEP, .a = low, .b = high };
	int done = task->done;

	if (low >= 0)
		run_op(task, &op);
	task->done = done;
}

static void run_task(struct task *task)
{
	wait_a_while(task);
	pause_task(task, task->start_low, task->start_high);
	do {
		for (int i = 0; i < task->count && !task->stopped; i++) {
			progress->at[task->index] = i;
			progress->steps++;
			if (task->ops[i].opcode == OP_NEXT) {
				pause_task(task, task->ops[i].a, task->ops[i].b);
				continue;
			}
			gate(task->index, i);
			run_op(task, &task->ops[i]);
			wait_a_while(task);
		}
	} while (task->until && background > 0 && !task->stopped);
	gate(task->index, task->count);
	progress->at[task->index] = -1;
	if (task->background)
		background--;
}

static void *thread(void *argument)
{
	struct task *task = argument;
	cpu_set_t set;

	prctl(PR_SET_NAME, task->name);
	task->tid = gettid();
	CPU_ZERO(&set);
	/* The first CPU last: it has other work too. */
	CPU_SET((task->index + 1) % sysconf(_SC_NPROCESSORS_ONLN), &set);
	sched_setaffinity(0, sizeof(set), &set);
	for (;;) {
		pthread_barrier_wait(&begin_round);
		if (last_round)
			return NULL;
		meet(S->ntasks);
		run_task(task);
		pthread_barrier_wait(&end_round);
	}
}

/* -- what came of a round -------------------------------------------------------------------------- */

static char text[MOST_TEXT];
static int used;

__attribute__((format(printf, 1, 2))) static void add(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	if (used < MOST_TEXT)
		used += vsnprintf(text + used, MOST_TEXT - used, format, arguments);
	va_end(arguments);
}

static void add_task(struct task *task)
{
	add("[");
	for (int i = 0; i < task->done; i++) {
		struct result *result = &task->results[i];

		add("%s[%d,%d", i ? "," : "", result->opcode, result->code);
		for (int k = 0; k < result->count; k++)
			add(",%lld", (long long)task->values[result->values + k]);
		add("]");
	}
	add("]");
}

struct cachestat_range {
	uint64_t offset, length;
};

struct cachestat {
	uint64_t cache, dirty, writeback, evicted, recently_evicted;
};

/* 1 if the page is in the file's page cache, 0 if not, -1: the kernel has no such call (before 6.5). */
static int present(int fd, uint64_t index)
{
	struct cachestat_range range = { index * PAGE, PAGE };
	struct cachestat stat = { 0 };

	return syscall(451, fd, &range, &stat, 0) ? -1 : stat.cache != 0;
}

/* What each open file holds: index, 1 if in the page cache, 1 if uptodate (-1: not to be seen), word or -outcome. */
static void add_file(struct file *file)
{
	uint64_t pages;
	struct stat stat;
	uint8_t *memory = NULL;
	const char *comma = "";

	if (file->fd < 0 || fstat(file->fd, &stat)) {
		add("null");
		return;
	}
	pages = stat.st_size / PAGE;
	if (file->flags & GMEM_MMAP)
		memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file->fd, 0);
	if (memory == MAP_FAILED)
		memory = NULL;
	add("[");
	for (uint64_t index = 0; index < pages; index++) {
		int there = present(file->fd, index);
		unsigned char core = 0;
		struct op read = { .opcode = OP_HOST_READ, .b = 0, .c = 1 };

		if (!there)
			continue;
		add("%s[%llu,%d", comma, (unsigned long long)index, there);
		comma = ",";
		if (memory && there > 0 && !mincore(memory + index * PAGE, PAGE, &core))
			add(",%d", core & 1);
		else
			add(",-1");
		if (memory && there > 0 && file->flags & GMEM_INIT_SHARED) {
			struct map *map = &S->maps[MOST_MAPS - 1];

			map->memory = memory + index * PAGE;
			S->setup.done = S->setup.nvalues = 0;
			read.a = MOST_MAPS - 1;
			run_op(&S->setup, &read);
			add(",%lld", (long long)S->setup.values[0]);
		}
		add("]");
	}
	add("]");
	if (memory)
		munmap(memory, pages * PAGE);
}

static void describe(void)
{
	used = 0;
	add("\"tasks\":[");
	for (int i = 0; i < S->ntasks; i++) {
		if (i)
			add(",");
		add_task(&S->tasks[i]);
	}
	add("],\"files\":[");
	for (int i = 0; i < S->nfiles; i++) {
		if (i)
			add(",");
		add_file(&S->files[i]);
	}
	add("]");
	if (used >= MOST_TEXT)
		snprintf(text, sizeof(text), "\"too_long\":%d", used);
}

static void count_kind(void)
{
	uint64_t hash = 0;
	struct kind *kind;

	for (char *c = text; *c; c++)
		hash = mix(hash ^ (unsigned char)*c);
	for (kind = kinds[hash % 1024]; kind; kind = kind->next)
		if (!strcmp(kind->text, text)) {
			kind->count++;
			break;
		}
	if (!kind && nkinds < MOST_KINDS) {
		kind = calloc(1, sizeof(*kind));
		kind->text = strdup(text);
		kind->count = 1;
		kind->first = round_number;
		kind->next = kinds[hash % 1024];
		kinds[hash % 1024] = kind;
		nkinds++;
		if (!S->each)
			emit("{\"kind\":\"outcome\",\"scenario\":%d,\"round\":%ld,%s}\n", S->id, round_number, text);
	}
	if (S->each)
		emit("{\"kind\":\"outcome\",\"scenario\":%d,\"round\":%ld,%s}\n", S->id, round_number, text);
}

/* -- rounds ----------------------------------------------------------------------------------------- */

static int run_round(void)
{
	int ret = world_make();

	if (ret)
		return ret;
	S->setup.done = S->setup.nvalues = S->setup.stopped = 0;
	for (int i = 0; i < S->setup.count; i++) {
		run_op(&S->setup, &S->setup.ops[i]);
		if (S->setup.results[i].code && !S->setup.ops[i].f) {
			emit("{\"kind\":\"refused\",\"scenario\":%d,\"what\":\"setup operation %d\",\"errno\":%d}\n", S->id, i,
			     S->setup.results[i].code);
			return 1;
		}
	}
	background = 0;
	for (int i = 0; i < S->ntasks; i++) {
		struct task *task = &S->tasks[i];

		task->done = task->nvalues = task->stopped = task->armed = 0;
		task->luck = mix(S->seed ^ mix(round_number * 64 + i));
		background += task->background;
	}
	for (int i = 0; i < S->nmaps; i++)
		if (!S->maps[i].pins)
			S->maps[i].pins = calloc(S->maps[i].pages, sizeof(int));
	if (S->trace)
		trace_begin();
	pthread_barrier_wait(&begin_round);
	pthread_barrier_wait(&end_round);
	for (int i = 0; i < S->ntasks; i++)
		child_end(&S->tasks[i]);
	if (S->trace)
		trace_end();
	describe();
	count_kind();
	for (int i = 0; i < S->nmaps; i++)
		for (uint64_t page = 0; page < S->maps[i].pages; page++)
			if (S->maps[i].pins[page]) {
				close(S->maps[i].pins[page]);
				S->maps[i].pins[page] = 0;
			}
	world_end();
	return 0;
}

/* In a process of its own. */
void run_scenario(void)
{
	uint64_t begin = now_ns();

	kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm_fd < 0) {
		emit("{\"kind\":\"refused\",\"scenario\":%d,\"what\":\"/dev/kvm\",\"errno\":%d}\n", S->id, errno);
		return;
	}
	ops_init();
	pthread_barrier_init(&begin_round, NULL, S->ntasks + 1);
	pthread_barrier_init(&end_round, NULL, S->ntasks + 1);
	for (int i = 0; i < S->ntasks; i++)
		pthread_create(&S->tasks[i].thread, NULL, thread, &S->tasks[i]);
	for (round_number = 0; round_number < S->rounds; round_number++) {
		progress->round = round_number;
		progress->steps++;
		if (run_round())
			break;
		if (S->stop_after && now_ns() - begin > S->stop_after * 1000000000ull) {
			round_number++;
			break;
		}
	}
	for (int i = 0; i < 1024; i++)
		for (struct kind *kind = kinds[i]; kind; kind = kind->next)
			emit("{\"kind\":\"count\",\"scenario\":%d,\"first\":%ld,\"count\":%ld}\n", S->id, kind->first, kind->count);
	emit("{\"kind\":\"done\",\"scenario\":%d,\"rounds\":%ld,\"outcomes\":%ld,\"ns\":%llu}\n", S->id, round_number, nkinds,
	     (unsigned long long)(now_ns() - begin));
	last_round = 1;
	pthread_barrier_wait(&begin_round);
	for (int i = 0; i < S->ntasks; i++)
		pthread_join(S->tasks[i].thread, NULL);
}
