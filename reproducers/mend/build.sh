#!/bin/sh
# build.sh ROOT SOURCE EDIT OUT [RELEASE]: kvm.ko and kvm-amd.ko of a stock kernel with an edit; about a minute, no kernel build.
#
# ROOT has gcc-14 and linux-headers-RELEASE below usr (toolchain.sh, or / on a host with both); SOURCE is the unpacked
# linux-source of the same version; EDIT a script that takes the path of the file that it names as FILE. The modules go to
# OUT. MODVERSIONS is off in Debian's configuration, and BTF is left out. EDIT may be `none`: the stock modules, built the same way.
set -eu
root=$(cd "$1" && pwd)
source=$(cd "$2" && pwd)
edit=$3
out=$(mkdir -p "$4" && cd "$4" && pwd)
release=${5:-7.3.4+deb13-amd64}
here=$(cd "$(dirname "$0")" && pwd)
common=$(ls -d "$root/usr/src/linux-headers-${release%-*}-common")
inside=${common#"${root%/}"}
cp -rp "$source/arch/x86/kvm" "$common/arch/x86/"
cp -rp "$source/virt" "$common/"
if [ "$edit" != none ]; then
	file=$(sed -n 's/^FILE = "\(.*\)"/\1/p' "$here/$edit")
	python3 "$here/$edit" "$common/$file"
fi
# What an edit before this one, or this one, has to do with.
for file in $(sed -n 's/^FILE = "\(.*\)\.c"/\1/p' "$here"/edit_*.py); do rm -f "$common/$file.o"; done
make="make -C /usr/src/linux-headers-$release M=$inside/arch/x86/kvm CC=gcc-14 HOSTCC=gcc-14 \
	CONFIG_DEBUG_INFO_BTF_MODULES= CONFIG_DEBUG_INFO_BTF= -j${JOBS:-2} modules"
if [ "$root" = / ]; then
	$make
else
	# objtool reads /proc; a mount of our own goes with the shell that made it.
	mkdir -p "$root/proc"
	unshare -m sh -c "mount -t proc proc '$root/proc' && PATH=/usr/bin:/usr/sbin exec chroot '$root' /bin/sh -c '$make'"
fi
for name in kvm kvm-amd; do strip -g -o "$out/$name.ko" "$common/arch/x86/kvm/$name.ko"; done
ls -l "$out"
