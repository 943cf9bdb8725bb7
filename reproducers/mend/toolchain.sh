#!/bin/sh
# toolchain.sh DIR [RELEASE]: all that a mended module needs, from Debian's archive: the kernel's compiler and headers in
# DIR/root, KVM's sources in DIR/source, the stock kernel in DIR/kernel.
#
# Nothing is installed on the host: apt works in DIR, and packages are only unpacked. About 400 MB of packages. A host that has
# gcc-14 and linux-headers-RELEASE needs no DIR/root (build.sh with / as the root).
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

# KVM's sources, and the kernel to boot. The headers' version says which package of sources is meant.
(
	cd "$dir/apt/cache"
	series=$(echo "$release" | sed 's/^\([0-9]*\.[0-9]*\).*/\1/')
	version=$(dpkg-deb -f archives/linux-headers-"$release"_*.deb Version)
	apt-get download "linux-source-$series=$version" "linux-binary-$release" "linux-modules-$release"
	for package in linux-binary-*.deb linux-modules-*.deb; do dpkg -x "$package" "$dir/kernel"; done
	mkdir -p "$dir/source"
	dpkg-deb --fsys-tarfile linux-source-*.deb | tar -xO --wildcards './usr/src/linux-source-*.tar.xz' |
		tar -xJ -C "$dir/source" --strip-components=1 --wildcards --no-wildcards-match-slash '*/arch/x86/kvm' '*/virt'
)
