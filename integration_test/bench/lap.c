// SPDX-License-Identifier: Apache-2.0
/* The stopwatch of hack/bench. A line on stdin is a command, its words set apart by tabs; the answer
 * is a line: wall, user and system time in microseconds, page faults, the greatest RSS in KiB, and
 * how it ended (its status, or 128 + N after signal N).
 *
 * The time is from before vfork to after wait4, in a program so small that starting another from it
 * costs nothing of its own. The command's input and output are /dev/null, so that no reader of ours
 * runs meanwhile; its errors go where ours go. One that takes longer than a minute is killed. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WORDS = 128, PATIENCE = 60 };

static volatile pid_t running;

static void too_long(int signal)
{
	(void)signal;
	if (running > 0)
		kill(running, SIGKILL);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static double us(struct timeval t) { return t.tv_sec * 1e6 + t.tv_usec; }

int main(int argc, char **argv, char **envp)
{
	static char line[1 << 16];
	char *words[WORDS + 1];
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)argc;
	(void)argv;
	/* With a handler, and without SA_RESTART, an alarm ends the wait. */
	sigaction(SIGALRM, &(struct sigaction){ .sa_handler = too_long }, NULL);
	while (fgets(line, sizeof line, stdin)) {
		int n = 0, status;
		struct rusage usage;

		line[strcspn(line, "\n")] = 0;
		for (char *word = strtok(line, "\t"); word && n < WORDS; word = strtok(NULL, "\t"))
			words[n++] = word;
		words[n] = NULL;
		if (!n)
			continue;
		alarm(PATIENCE);
		double from = now();
		running = vfork();
		if (running == 0) {
			dup2(null, 0);
			dup2(null, 1);
			execve(words[0], words, envp);
			_exit(127);
		}
		while (wait4(running, &status, 0, &usage) < 0)
			;
		double wall = now() - from;
		running = 0;
		alarm(0);
		printf("%.1f %.0f %.0f %ld %ld %d\n", wall, us(usage.ru_utime), us(usage.ru_stime), usage.ru_minflt,
		       usage.ru_maxrss, WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
		fflush(stdout);
	}
	return 0;
}
