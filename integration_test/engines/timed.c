// SPDX-License-Identifier: Apache-2.0
/* Stands where an engine expects a runtime: as DIR/bin/NAME it runs DIR/real/NAME with the same words,
 * environment and descriptors, ends as that ends, and appends a line to DIR/calls: NAME, the wall time
 * from before vfork to after wait4, and the processor time, in microseconds; then the words.
 *
 * What it costs itself, the start of one small static program, is the same for every runtime. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static double us(struct timeval t) { return t.tv_sec * 1e6 + t.tv_usec; }

int main(int argc, char **argv, char **envp)
{
	static char self[PATH_MAX], real[PATH_MAX + 8], calls[PATH_MAX + 8], line[1 << 14];
	struct rusage usage;
	int status;

	if (readlink("/proc/self/exe", self, sizeof self - 1) < 0)
		return 125;
	char *name = strrchr(self, '/');
	*name++ = 0;
	*strrchr(self, '/') = 0;
	snprintf(real, sizeof real, "%s/real/%s", self, name);
	snprintf(calls, sizeof calls, "%s/calls", self);

	double from = now();
	pid_t child = vfork();
	if (child == 0) {
		/* An engine that dies takes its runtime with it. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execve(real, argv, envp);
		_exit(125);
	}
	while (wait4(child, &status, 0, &usage) < 0)
		;
	double wall = now() - from;

	int n = snprintf(line, sizeof line, "%s %.1f %.0f", name, wall, us(usage.ru_utime) + us(usage.ru_stime));
	for (int i = 1; i < argc && n < (int)sizeof line - 1; i++)
		n += snprintf(line + n, sizeof line - n, " %s", argv[i]);
	if (n > (int)sizeof line - 2)
		n = sizeof line - 2;
	line[n++] = '\n';
	int file = open(calls, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
	if (file < 0 || write(file, line, n) != n)
		return 125;
	if (WIFSIGNALED(status)) {
		signal(WTERMSIG(status), SIG_DFL);
		kill(getpid(), WTERMSIG(status));
	}
	return WEXITSTATUS(status);
}
