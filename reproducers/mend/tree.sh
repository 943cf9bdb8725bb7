#!/bin/sh
# tree.sh KERNEL MODULES OUT: the unpacked kernel KERNEL with the modules that build.sh wrote in place of its own, below OUT.
#
# For `gmemsim lab run SCENARIO --kernel OUT/.../vmlinuz`; prints that path. Files are links to those of KERNEL where they can be.
set -eu
kernel=$(cd "$1" && pwd)
modules=$(cd "$2" && pwd)
out=$(mkdir -p "$3" && cd "$3" && pwd)
cp -al "$kernel/." "$out/" 2>/dev/null || cp -a "$kernel/." "$out/"
for module in "$modules"/*.ko; do
	name=$(basename "$module")
	old=$(find "$out" -name "$name" -o -name "$name.*" | head -n 1)
	[ -n "$old" ] || { echo "$name: not below $kernel" >&2; exit 1; }
	rm "$old"
	cp "$module" "$(dirname "$old")/$name"
done
# The paths in it are those of the old modules.
find "$out" -name 'modules.dep*' -exec rm {} +
ls "$out"/boot/vmlinuz* "$out"/usr/lib/modules/*/vmlinuz "$out"/lib/modules/*/vmlinuz 2>/dev/null | head -n 1
