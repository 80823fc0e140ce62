// SPDX-License-Identifier: Apache-2.0
/* Which code a program runs, for hack/layout: single-steps it and its children until each becomes
 * another program, and appends to a file the addresses that it comes by, each 16 bytes once a
 * process, in the order in which they are first met. Some 50,000 steps a second.
 *
 *   steps FILE LAST PROGRAM ARGUMENT...
 *
 * LAST is the end of the program's code; all else (the kernel's vdso) is nobody's to order. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum { GRAIN = 16, FOLLOW = PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC |
		   PTRACE_O_EXITKILL };

int main(int count, char **words)
{
	if (count < 4) {
		fprintf(stderr, "usage: steps FILE LAST PROGRAM ARGUMENT...\n");
		return 2;
	}
	FILE *out = fopen(words[1], "a");
	uintptr_t last = strtoul(words[2], NULL, 16);
	unsigned char *met = calloc(last / GRAIN + 1, 1);
	pid_t first = fork();
	pid_t other = 0;
	int status, result = 125, images = 0;

	if (!out || !met || first < 0) {
		perror("steps");
		return 125;
	}
	if (first == 0) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		execv(words[3], words + 3);
		_exit(127);
	}
	waitpid(first, &status, 0);
	ptrace(PTRACE_SETOPTIONS, first, 0, FOLLOW);
	ptrace(PTRACE_SINGLESTEP, first, 0, 0);
	for (;;) {
		pid_t pid = waitpid(-1, &status, __WALL);
		if (pid < 0)
			break;
		if (!WIFSTOPPED(status)) {
			if (pid == first)
				result = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
			/* An init that waits for start goes on alone. */
			if (pid == first && other)
				kill(other, SIGSTOP);
			if (pid == other)
				other = 0;
			continue;
		}
		int event = status >> 16, signal = WSTOPSIG(status), passed = 0;
		if (pid != first)
			other = pid;
		if (result != 125) {
			ptrace(PTRACE_DETACH, pid, 0, 0);
			kill(pid, SIGCONT);
			continue;
		}
		if (event == PTRACE_EVENT_EXEC) {
			/* A child that becomes the payload is no longer of interest. The second image of
			 * the first process is the program itself, started again. */
			if (pid != first || ++images > 2) {
				ptrace(PTRACE_DETACH, pid, 0, 0);
				other = 0;
				continue;
			}
			memset(met, 0, last / GRAIN + 1);
		} else if (event) {
			memset(met, 0, last / GRAIN + 1);
		} else if (signal != SIGTRAP && signal != SIGSTOP) {
			passed = signal;
		}
		struct user_regs_struct regs;
		if (ptrace(PTRACE_GETREGS, pid, 0, &regs) == 0 && regs.rip < last && !met[regs.rip / GRAIN]) {
			met[regs.rip / GRAIN] = 1;
			fprintf(out, "%llx\n", regs.rip);
		}
		ptrace(PTRACE_SINGLESTEP, pid, 0, passed);
	}
	return fclose(out) == 0 ? result : 125;
}
