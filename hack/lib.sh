# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# What every script here shares: it stands in the project's root, says what it does on
# stderr, finds cargo, and installs the Debian packages that are missing (as root) or
# says which they are and how to get them (as anybody else).
# To be sourced after `set -euo pipefail`.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
top=$PWD
export LC_ALL=C CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}

# say WORDS...: one line of progress, with the seconds since the script began.
say() { printf '[%4ds] %s\n' "$SECONDS" "$*" >&2; }

# die WORDS...: what is wrong, and the end.
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# have WITNESS: is this command, or a file that matches this pattern, there?
have() {
    case $1 in
        /*) compgen -G "$1" >/dev/null ;;
        *) command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || [ -x "/sbin/$1" ] ;;
    esac
}

# packages PACKAGE=WITNESS...: sees to it that every witness is there, from its package.
packages() {
    local pair missing=()
    for pair in "$@"; do
        have "${pair#*=}" || missing+=("${pair%%=*}")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    if ! have apt-get; then
        die "these are missing: ${missing[*]} (names of Debian packages); install what your system calls them, then run this again"
    fi
    if [ "$(id -u)" != 0 ]; then
        die "these packages are missing: ${missing[*]}; as root: apt-get install ${missing[*]}"
    fi
    say "installing ${missing[*]}"
    # The lists may be absent (a container image) or old: only then are they fetched.
    apt_install "${missing[@]}" || {
        say "that did not work: fetching the package lists first"
        apt-get -q update >&2 || die "apt-get update failed (see above): is the mirror in reach?"
        apt_install "${missing[@]}" || die "apt-get could not install ${missing[*]} (see above)"
    }
    for pair in "$@"; do
        have "${pair#*=}" || die "${pair%%=*} is installed, but ${pair#*=} is not there"
    done
}

apt_install() {
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 install --no-install-recommends -y "$@" >&2
}

# shellcheck disable=SC2034
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# debian_mirror: the address of the Debian archive that this machine's apt uses.
debian_mirror() {
    local uri
    # shellcheck disable=SC2016
    uri=$(apt-get indextargets --format '$(ORIGIN) $(REPO_URI) $(RELEASE)' 'Created-By: Packages' |
        awk '$1 == "Debian" && $3 !~ /-security$/ { print $2; exit }')
    # Before the first `apt-get update` the sources have to do.
    [ -n "$uri" ] || uri=$(sed -n 's/^URIs: *//p; s/^deb *\(\[[^]]*\] *\)\{0,1\}\([^ ]*\).*/\2/p' \
        /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2>/dev/null | head -n1)
    [ -n "$uri" ] || die "apt's sources name no Debian archive: this needs a Debian machine, or a line such as 'deb http://MIRROR/debian trixie main' in /etc/apt/sources.list"
    echo "$uri"
}

# apt_reach: the options by which this machine's apt reaches its archive; they hold for
# mmdebstrap's too.
apt_reach() { apt-config dump | grep -E '^Acquire::(Check-Date|https?::(.*::)?Proxy) ' || true; }

# debian_sources SUITE: this machine's Debian lines in one-line form.
debian_sources() {
    # shellcheck disable=SC2016
    apt-get indextargets --format '$(ORIGIN) $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        awk -v signed="$keyring" -v suite="$1" '
            $1 == "Debian" && ($3 == suite || index($3, suite "-") == 1) && !seen[$0]++ {
                print "deb [signed-by=" signed "] " $2 " " $3 " " $4
            }'
}

# debian TARGET OPTIONS...: a small Debian of this machine's suite, as root: a directory, or a
# tar file. The options are mmdebstrap's.
debian() {
    local target=$1 suite lines option options
    shift
    packages mmdebstrap=mmdebstrap debian-archive-keyring="$keyring"
    suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    lines=$(debian_sources "$suite")
    if [ -z "$lines" ]; then
        say "apt knows no package list yet: fetching them"
        apt-get -q update >&2
        lines=$(debian_sources "$suite")
    fi
    [ -n "$lines" ] || die "apt's sources name no Debian archive for '$suite': this needs a Debian machine, or a line such as 'deb http://MIRROR/debian bookworm main' in /etc/apt/sources.list"
    say "making a Debian $suite from packages (once; kept in ${target#"$top"/})"
    rm -rf "$target"
    # A frozen mirror's lists are past their date.
    options=(--aptopt='Acquire::Check-Valid-Until "false"')
    while read -r option; do
        options+=(--aptopt="$option")
    done < <(apt_reach)
    mmdebstrap --quiet --mode=root --variant=minbase "${options[@]}" "$@" "$suite" "$target" - <<<"$lines" >&2 ||
        die "mmdebstrap could not make it (see above)"
}

# peers DIRECTORY: crun and runc of Debian sid, the newest there are, with the libraries that they
# are made for.
peers() {
    local dir option options=() lib program
    # The programs name it, wherever they are started.
    dir=$(realpath -m "$1")
    [ ! -x "$dir/usr/sbin/runc" ] || return 0
    packages mmdebstrap=mmdebstrap patchelf=patchelf debian-archive-keyring="$keyring"
    say "fetching crun and runc"
    while read -r option; do options+=(--aptopt="$option"); done < <(apt_reach)
    rm -rf "$dir" "$dir.part"
    mmdebstrap --quiet --mode=root --variant=extract "${options[@]}" --include=crun,runc sid "$dir.part" "$(debian_mirror)" >&2
    mv "$dir.part" "$dir"
    lib=$(echo "$dir"/usr/lib/*-linux-gnu)
    for program in "$dir/usr/bin/crun" "$dir/usr/sbin/runc"; do
        patchelf --set-interpreter "$(echo "$lib"/ld-linux-*.so.*)" --set-rpath "$lib" --force-rpath "$program"
    done
}

# debian_arch ARCH: what Debian calls it.
debian_arch() {
    case $1 in
        x86_64) echo amd64 ;;
        aarch64) echo arm64 ;;
        *) echo "$1" ;;
    esac
}

# foreign ARCH PACKAGE DIRECTORY: Debian's PACKAGE for another machine, unpacked below DIRECTORY,
# which it prints. apt's lists for it are kept there too: this system takes no part.
foreign() {
    local arch package=$2 dir=$3 options option
    arch=$(debian_arch "$1")
    if [ ! -e "$dir/usr/share/doc/$package" ]; then
        have apt-get || die "for $1 this needs Debian's $package:$arch"
        say "fetching $package for $arch"
        mkdir -p "$dir/apt/lists/partial" "$dir/apt/cache/archives/partial"
        options=()
        for option in APT::Architecture="$arch" APT::Architectures="$arch" APT::Sandbox::User=root Dir::State="$dir/apt" \
            Dir::State::status=/dev/null Dir::Cache="$dir/apt/cache"; do
            options+=(-o "$option")
        done
        apt-get -qq "${options[@]}" update >&2 || die "apt-get could not fetch the lists of $arch (see above)"
        (cd "$dir/apt" && apt-get -qq "${options[@]}" download "$package" >&2) ||
            die "apt-get could not download $package for $arch (see above)"
        dpkg-deb -x "$dir/apt/$package"_*.deb "$dir"
        rm -rf "$dir/apt/lists" "$dir/apt/cache"
    fi
    echo "$dir"
}

# toolchain: cargo in PATH, and what the build links with.
toolchain() {
    if ! have cargo && [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]; then
        PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
    fi
    have cargo || die "there is no cargo: install a Rust toolchain (https://rustup.rs), $(wanted_rust) or newer"
    local found
    found=$(rustc --version | cut -d' ' -f2)
    [ "$(printf '%s\n' "$(wanted_rust)" "${found%%-*}" | sort -V | head -n1)" = "$(wanted_rust)" ] ||
        die "rustc $found is too old: soute needs $(wanted_rust) or newer (rustup update)"
    packages gcc=cc binutils=readelf libc6-dev='/usr/lib*/*/libc.a' libseccomp-dev='/usr/lib*/*/libseccomp.a'
}

wanted_rust() { sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml; }

# output PROFILE_DIRECTORY: where cargo puts binaries (the build always names its target).
output() {
    echo "${CARGO_TARGET_DIR:-$top/target}/$(rustc -vV | sed -n 's/^host: //p')/$1"
}

# root WHY: ends here for an ordinary user.
root() { [ "$(id -u)" = 0 ] || die "$1 needs root: run it as root (or by sudo)"; }
