# SPDX-License-Identifier: Apache-2.0
"""A linker script that puts functions in the order in which they are first run.

    layout.py MAP TRACE > SCRIPT

MAP is GNU ld's map of the program, TRACE what steps.c wrote. Of a name the script keeps what the
same function has in the next build too: hashes and numbers of the compiler become `*`.
"""

import bisect
import re
import sys

HEAD = """/* SPDX-License-Identifier: Apache-2.0
 *
 * Made by hack/layout, read by hack/build: the functions that a start, an exec and their likes run,
 * in the order in which they are first met. Side by side they lie on a quarter of the pages, and
 * each page that is touched costs a fault. What is missing here is only linked elsewhere.
 *
 * Nothing unwinds (panic = "abort"): the tables for it would be 0.3 MB that nobody reads. */
SECTIONS
{
  /DISCARD/ :
  {
    *(EXCLUDE_FILE(*crt*.o) .eh_frame)
    *(.gcc_except_table .gcc_except_table.*)
  }
  .text.start :
  {
"""
TAIL = """  }
}
INSERT BEFORE .text;
"""


def sections(path):
    """(address, size, section, object) of all code, by address."""
    found, name = [], None
    whole = re.compile(r"^ (\.text\S*)?\s+0x([0-9a-f]+)\s+0x([0-9a-f]+)\s+(\S.*)$")
    with open(path) as file:
        for line in file:
            alone = re.match(r"^ (\.text\S*)$", line)
            entry = whole.match(line)
            if entry and (entry[1] or name):
                address, size = int(entry[2], 16), int(entry[3], 16)
                if address and size:
                    found.append((address, size, entry[1] or name, entry[4]))
            name = alone[1] if alone else None
    return sorted(found)


def pattern(section, origin):
    """What matches this section in the next build too; None for one without a name of its own."""
    if section == ".text":
        member = re.search(r"([^/]+\.a)\(([^)]+)\)$", origin)
        return member and f"*{member[1]}:{member[2]}(.text)"
    section = re.sub(r"17h[0-9a-f]{16}E", "17h*E", section)
    section = re.sub(r"Cs[0-9a-zA-Z]+_", "Cs*_", section)
    section = re.sub(r"B[0-9a-zA-Z]{0,3}_", "B*_", section)
    return f"*({re.sub(r'[.](llvm[.])?[0-9]+$', '*', section)})"


def main(map_file, trace):
    code = sections(map_file)
    starts = [address for address, *_ in code]
    lines, size = {}, 0
    with open(trace) as file:
        for line in file:
            at = int(line, 16)
            n = bisect.bisect(starts, at) - 1
            if n < 0 or at >= code[n][0] + code[n][1]:
                continue
            line = pattern(*code[n][2:])
            if line and line not in lines:
                lines[line] = True
                size += code[n][1]
    sys.stdout.write(HEAD + "".join(f"    {line}\n" for line in lines) + TAIL)
    total = sum(size for _, size, *_ in code)
    print(f"{len(lines)} functions, {size // 1024} of {total // 1024} KiB of code", file=sys.stderr)


main(*sys.argv[1:])
