/* SPDX-License-Identifier: MIT */
/* Calls of a vector that are made by a child process, or with a signal that arrives just as they enter the kernel. */
#include "abi.h"

#include <sys/ptrace.h>

#define MOST_VALUES 16
#define AT_CALL (SIGTRAP | 0x80) /* with PTRACE_O_TRACESYSGOOD */

struct answer {
	int code, count;
	int64_t values[MOST_VALUES];
};

/* -- the child ------------------------------------------------------------------------------------------ */

static void serve(struct task *task, int in, int out)
{
	struct op op;

	while (read(in, &op, sizeof(op)) == sizeof(op)) {
		struct answer answer = { 0 };

		task->nvalues = 0;
		if (op.opcode != OP_RAW_EXIT)
			answer.code = one_call(task, &op);
		answer.count = task->nvalues < MOST_VALUES ? task->nvalues : MOST_VALUES;
		memcpy(answer.values, task->values, answer.count * sizeof(int64_t));
		if (write(out, &answer, sizeof(answer)) != sizeof(answer) || op.opcode == OP_RAW_EXIT)
			break;
	}
	_exit(0);
}

static int fork_child(struct task *task)
{
	int down[2], up[2];
	pid_t pid;

	if (pipe2(down, O_CLOEXEC) || pipe2(up, O_CLOEXEC))
		return OUT_CANNOT;
	pid = fork();
	if (pid < 0)
		return errno;
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(down[1]);
		close(up[0]);
		serve(task, down[0], up[1]);
	}
	close(down[0]);
	close(up[1]);
	task->child = pid;
	task->to_child = down[1];
	task->from_child = up[0];
	return 0;
}

void child_end(struct task *task)
{
	if (!task->child)
		return;
	close(task->to_child);
	close(task->from_child);
	waitpid(task->child, NULL, 0);
	task->child = 0;
}

static int in_child(struct task *task, const struct op *op)
{
	struct answer answer;

	if (write(task->to_child, op, sizeof(*op)) != sizeof(*op) ||
	    read(task->from_child, &answer, sizeof(answer)) != sizeof(answer))
		return OUT_CANNOT;
	for (int i = 0; i < answer.count; i++)
		*value_room(task) = answer.values[i];
	if (op->opcode == OP_RAW_EXIT)
		child_end(task);
	return answer.code;
}

/* -- a signal with a call ----------------------------------------------------------------------------------- */

/*
 * In a process of its own: hold the thread where it enters the call, send the signal there and let it go. A signal that
 * is sent before would be delivered before.
 */
static int hold_and_signal(pid_t process, pid_t thread, unsigned long number, unsigned long request, int ready)
{
	int status, given = 0;

	if (ptrace(PTRACE_SEIZE, thread, NULL, (void *)PTRACE_O_TRACESYSGOOD) || ptrace(PTRACE_INTERRUPT, thread, NULL, NULL) ||
	    waitpid(thread, &status, __WALL) != thread || write(ready, "", 1) != 1)
		return 1;
	for (;;) {
		struct __ptrace_syscall_info info;

		if (ptrace(PTRACE_SYSCALL, thread, NULL, (void *)(long)given) || waitpid(thread, &status, __WALL) != thread || !WIFSTOPPED(status))
			return 1;
		/* Another's signal is delivered. */
		given = WSTOPSIG(status) == AT_CALL || status >> 16 ? 0 : WSTOPSIG(status);
		if (WSTOPSIG(status) != AT_CALL ||
		    ptrace(PTRACE_GET_SYSCALL_INFO, thread, (void *)sizeof(info), &info) <= 0 ||
		    info.op != PTRACE_SYSCALL_INFO_ENTRY || info.entry.nr != number ||
		    (number == SYS_ioctl && info.entry.args[1] != request))
			continue;
		if (syscall(SYS_tgkill, process, thread, SIGUSR1))
			return 1;
		return ptrace(PTRACE_DETACH, thread, NULL, NULL) != 0;
	}
}

static int with_signal(struct task *task, const struct op *op)
{
	unsigned long number = SYS_ioctl, request = KVM_RUN;
	int ready[2], status = 1, code = OUT_CANNOT;
	pid_t process = getpid(), tracer;
	ssize_t got;
	char byte;

	switch (op->opcode) {
	case OP_RAW_FALLOCATE:
	case OP_ALLOCATE:
	case OP_PUNCH:
		number = SYS_fallocate;
		break;
	case OP_RAW_PREFAULT:
	case OP_PREFAULT:
		request = GMEM_PREFAULT;
		break;
	case OP_RAW_GUEST_LOAD:
	case OP_RAW_GUEST_STORE:
		break;
	default:
		return OUT_CANNOT;
	}
	if (pipe2(ready, O_CLOEXEC))
		return OUT_CANNOT;
	tracer = fork();
	if (!tracer)
		_exit(hold_and_signal(process, task->tid, number, request, ready[1]));
	close(ready[1]);
	/* Other signals may come meanwhile. */
	do
		got = read(ready[0], &byte, 1);
	while (got < 0 && errno == EINTR);
	if (tracer > 0 && got == 1)
		code = one_call(task, op);
	close(ready[0]);
	while (tracer > 0 && waitpid(tracer, &status, 0) < 0 && errno == EINTR)
		;
	task->armed = 0;
	return status ? OUT_CANNOT : code;
}

/* The call of a task wherever it is to be made. */
int placed_call(struct task *task, const struct op *op)
{
	if (op->opcode == OP_RAW_FORK)
		return fork_child(task);
	if (op->opcode == OP_SIGNAL_PENDING) {
		task->armed = 1;
		return 0;
	}
	if (task->child && op->opcode != OP_BARRIER)
		return in_child(task, op);
	return task->armed ? with_signal(task, op) : one_call(task, op);
}
