// SPDX-License-Identifier: Apache-2.0
/* What the containers of hack/bench run: as `pause` it waits for a signal, under any other name it
 * ends at once. Started alone it is the least that any command costs. */
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	const char *name = argc ? strrchr(argv[0], '/') : NULL;

	while (name && !strcmp(name, "/pause"))
		pause();
	return 0;
}
