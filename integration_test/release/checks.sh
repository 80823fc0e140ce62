# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# What the checks on an installed package share. Run on a machine of its own by
# hack/test-release, where /given holds the packages and a busybox.

# check WHAT COMMAND...: one line when it holds, and the end when it does not.
check() {
    local what=$1
    shift
    if "$@" >/tmp/said 2>&1; then
        echo "ok $what"
    else
        echo "NOT SO: $what: $*"
        sed 's/^/    /' /tmp/said
        exit 1
    fi
}

# says WORDS COMMAND...: among what it prints.
says() {
    local words=$1
    shift
    "$@" >/tmp/words 2>&1 || { cat /tmp/words && return 1; }
    grep -qF -- "$words" /tmp/words || { cat /tmp/words && return 1; }
}

# soon COMMAND...: within 30 s.
soon() {
    local try
    for ((try = 0; try < 300; try++)); do
        "$@" && return 0
        sleep 0.1
    done
    return 1
}

# files: all there are, but for what dpkg itself keeps, logs and caches.
files() {
    find / -xdev \( -path /var/lib/dpkg -o -path /var/log -o -path /var/cache -o -path /tmp -o -path /given -o -path /proc \
        -o -path /sys -o -path /dev \) -prune -o -print | sort
    find /run | sort
}

# leftovers FILE: what there is that was not there when FILE was written.
leftovers() { ! diff "$1" <(files); }

mounts() { sed 's/^[0-9]* [0-9]* //' /proc/self/mountinfo; }
