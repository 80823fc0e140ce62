# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# On a Debian with nothing but its base. See checks.sh.
set -euo pipefail
# shellcheck source=/dev/null
. /given/checks.sh

files >/tmp/before
mounts >/tmp/mounts
check "the package installs" dpkg --install /given/soute.deb
version=$(dpkg-query -W -f '${Version}' soute)
check "soute tells its version" says "soute version $version" soute --version
check "soute-engines finds no engine" says "No engine is here" soute-engines
check "dpkg's sums hold" dpkg --verify soute
for verb in create start state kill delete run exec pause resume update checkpoint restore events ps list spec features check explain; do
    [ -s "/usr/share/man/man8/soute-$verb.8.gz" ] || check "a manual page of $verb" false
done
check "bash completes soute" bash -c '. /usr/share/bash-completion/completions/soute && complete -p soute'
for file in fish/vendor_completions.d/soute.fish zsh/vendor-completions/_soute; do
    check "completions: $file" grep -q checkpoint "/usr/share/$file"
done
check "it says what is linked" grep -q '^libseccomp .*LGPL' /usr/share/doc/soute/linked.txt

mkdir -p /tmp/b/rootfs/bin
cp /given/busybox /tmp/b/rootfs/bin
cd /tmp/b
soute spec
# program WORDS: what the container runs.
program() { sed -i -z "s|\"args\": \[[^]]*\]|\"args\": [$1]|; s|\"terminal\": true|\"terminal\": false|" config.json; }
program '"/bin/busybox", "echo", "out of the hold"'
check "soute run works" says "out of the hold" soute run one
check "nothing is left of it" test -z "$(soute list -q)"

program '"/bin/busybox", "sleep", "1000"'
soute run --detach alive </dev/null >/tmp/alive 2>&1
soute create waiting </dev/null >/tmp/waiting 2>&1
inode=$(stat -c %i /usr/bin/soute)
check "an upgrade under living containers" dpkg --install /given/later.deb
check "it is another program" test "$inode" != "$(stat -c %i /usr/bin/soute)"
check "the new one knows what lives" says '"status": "running"' soute state alive
check "the new one runs a process in it" says inside soute exec alive /bin/busybox echo inside
check "the new one pauses it" soute pause alive
check "the new one resumes it" soute resume alive
check "the new one starts what was created" soute start waiting
check "the new one kills" soute kill alive KILL
check "the new one deletes" soon soute delete alive
check "and by force" soute delete --force waiting

cd /
check "removal" dpkg --remove soute
check "purge" dpkg --purge soute
check "no file is left" leftovers /tmp/before
check "no mount is left" diff /tmp/mounts <(mounts)
check "no cgroup is left" test -z "$(find /sys/fs/cgroup -name alive -o -name waiting)"
