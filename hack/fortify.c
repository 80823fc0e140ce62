// SPDX-License-Identifier: Apache-2.0
/* Debian's libseccomp.a is built for the GNU C library with -D_FORTIFY_SOURCE. Of that musl lacks
 * this one function, which the export of filters as text calls, and we never. */
#include <stdarg.h>
#include <stdio.h>

int __fprintf_chk(FILE *file, int flag, const char *format, ...)
{
	va_list words;
	int n;

	(void)flag;
	va_start(words, format);
	n = vfprintf(file, format, words);
	va_end(words);
	return n;
}
