#!/bin/sh
# mkinitramfs.sh ROOT [IMAGE [MODULES]]: an initramfs with busybox, the modules that are needed and all programs.
#
# ROOT holds lib/modules/RELEASE or usr/lib/modules/RELEASE of one kernel: / for the one that runs, or where the
# packages were unpacked with dpkg -x. Modules in the directory MODULES take the place of those of
# their name. Needs busybox (static), cpio, kmod, xz or zstd if modules are compressed.
set -eu
root=$(cd "$1" && pwd)
image=$(realpath -m "${2:-initramfs.img}")
here=$(cd "$(dirname "$0")" && pwd)
modules=$(ls -d "$root"/usr/lib/modules/*/ "$root"/lib/modules/*/ 2>/dev/null | head -n 1)
[ -n "$modules" ] || { echo "$root: no lib/modules/RELEASE below it" >&2; exit 2; }
release=$(basename "$modules")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# modprobe looks for lib/modules below its root.
[ -e "$root/lib" ] || ln -s usr/lib "$root/lib"
[ -e "$modules/modules.dep" ] || depmod -b "$root" "$release"
mkdir -p "$work/bin" "$work/proc" "$work/sys" "$work/dev" "$work/tmp" "$work/modules"
cp "$(command -v busybox)" "$work/bin/busybox"
for applet in $(busybox --list | grep -vx busybox); do ln -sf busybox "$work/bin/$applet"; done

: >"$work/modules/order"
for module in kvm_amd kvm_intel hwpoison_inject; do
	modprobe -d "$root" -S "$release" --show-depends "$module" 2>/dev/null
done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r file; do
	name=$(basename "$file" | sed 's/\.\(xz\|zst\|gz\)$//')
	[ ! -e "${3:-/nonexistent}/$name" ] || file=$3/$name
	case $file in
	*.xz) xz -dc "$file" ;;
	*.zst) zstd -dqc "$file" ;;
	*.gz) gzip -dc "$file" ;;
	*) cat "$file" ;;
	esac >"$work/modules/$name"
	echo "$name" >>"$work/modules/order"
done
cp "$here/init" "$work/init"
for source in "$here"/*.c; do cp "${source%.c}" "$work/bin/"; done
(cd "$work" && find . | cpio -o -H newc --quiet | gzip -1) >"$image"
echo "$image: $release"
