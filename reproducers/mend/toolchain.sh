#!/bin/sh
# toolchain.sh DIR [RELEASE]: the kernel's compiler and headers from Debian's archive, unpacked below DIR/root.
#
# Nothing is installed on the host: apt works in DIR, and packages are only unpacked. About 100 MB of packages. A host that has
# gcc-14 and linux-headers-RELEASE needs none of it (build.sh with / as the root).
set -eu
dir=$(mkdir -p "$1" && cd "$1" && pwd)
release=${2:-7.3.4+deb13-amd64}
mkdir -p "$dir/apt/lists/partial" "$dir/apt/cache/archives/partial" "$dir/root"
: >"$dir/status"
cat >"$dir/sources.list" <<END
deb [trusted=yes] http://deb.debian.org/debian trixie main
deb [trusted=yes] http://deb.debian.org/debian trixie-backports main
END
cat >"$dir/apt.conf" <<END
Dir::Etc::sourcelist "$dir/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State::lists "$dir/apt/lists";
Dir::State::status "$dir/status";
Dir::Cache "$dir/apt/cache";
APT::Architecture "amd64";
APT::Install-Recommends "false";
END
export APT_CONFIG="$dir/apt.conf"
apt-get update
apt-get install -y --download-only base-files bash coreutils dash make gcc-14 libc6-dev mawk sed grep findutils \
	libelf-dev bc kmod python3-minimal "linux-headers-$release"
# base-files first: /bin and /lib are links to what is below /usr.
dpkg -x "$dir"/apt/cache/archives/base-files_*.deb "$dir/root"
for package in "$dir"/apt/cache/archives/*.deb; do dpkg -x "$package" "$dir/root"; done
# What the packages' scripts would have done.
ln -sf mawk "$dir/root/usr/bin/awk"
mkdir -p "$dir/root/dev" "$dir/root/tmp"
[ -e "$dir/root/dev/null" ] || mknod -m 666 "$dir/root/dev/null" c 1 3
