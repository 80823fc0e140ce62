# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# On a Debian with docker, whose configuration becomes what soute-engines says. See checks.sh.
set -euo pipefail
# shellcheck source=/dev/null
. /given/checks.sh

dockerd_starts() {
    dockerd --iptables=false --ip6tables=false --bridge=none >/tmp/dockerd 2>&1 &
    daemon=$!
    soon docker version >/tmp/said 2>&1 || { tail -n 20 /tmp/dockerd && return 1; }
}
dockerd_ends() {
    kill "$daemon"
    wait "$daemon" || true
}

dpkg --install /given/soute.deb >/tmp/said
# The indented lines between "write to" and "then".
soute-engines | sed -n '\|write to /etc/docker/daemon.json|,/then:/s/^      //p' >/tmp/daemon.json
check "soute-engines has the package's lines" diff /usr/share/soute/daemon.json /tmp/daemon.json
mkdir -p /etc/docker
cp /tmp/daemon.json /etc/docker/daemon.json
check "soute-engines sees that docker knows it" says "knows soute already: /etc/docker/daemon.json" soute-engines
dockerd_starts
check "docker knows soute" says soute docker info --format '{{json .Runtimes}}'

mkdir -p /tmp/image/bin
cp /given/busybox /tmp/image/bin
tar -C /tmp/image -c . | docker import - box >/tmp/said
run=(docker run --network none --runtime soute)
check "docker run on soute" says "out of the hold" "${run[@]}" --rm box /bin/busybox echo "out of the hold"
check "a missing program is docker's 127" test "$("${run[@]}" --rm box /missing >/tmp/said 2>&1; echo $?)" = 127
"${run[@]}" --detach --name alive box /bin/busybox sleep 1000 >/tmp/said
id=$(docker inspect --format '{{.Id}}' alive)
root=$(dirname "$(find /run/docker -type d -name "$id" -path '*runtime-*')")
check "soute made it" says '"status": "running"' soute --root "$root" state "$id"
check "an upgrade under docker" dpkg --install /given/later.deb
check "docker exec by the new one" says inside docker exec alive /bin/busybox echo inside
check "docker stop by the new one" docker stop --time 0 alive
check "docker rm by the new one" docker rm alive
dockerd_ends
check "removal" dpkg --purge soute
check "the configuration is the user's" test -e /etc/docker/daemon.json
