#!/bin/sh
# all.sh DIR [ROUNDS [STEP...]]: everything about the mended module, from Debian's archive to the results, below DIR.
#
# Steps, in this order: toolchain (downloads 400 MB), build, tree, compare (ROUNDS: 10,000), vectors (the selftests' vectors on the
# stock kernel and on the mended one), workloads (recorded ones against the model). All of them unless some are named. compare,
# vectors and workloads print lines as in docs/mended_kernel.txt. The variables of compare.sh and workloads.sh are theirs.
set -eu
dir=$(mkdir -p "$1" && cd "$1" && pwd)
rounds=${2:-10000}
shift; [ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- toolchain build tree compare vectors workloads
here=$(cd "$(dirname "$0")" && pwd)
gmemsim=${GMEMSIM:-gmemsim}
mended=${MENDED:-mainline-7.3+error-bindings-lock}
vmlinuz() { ls "$1"/boot/vmlinuz* "$1"/usr/lib/modules/*/vmlinuz "$1"/lib/modules/*/vmlinuz 2>/dev/null | head -n 1; }
judged() {
	$gmemsim lab vectors --kernel "$(vmlinuz "$2")" --patch "$3" --max-seconds "${SECONDS_MAX:-500}" >"$dir/vectors-$1.txt" 2>&1 ||
		echo "vectors $1: exit code $?"
	sed "s/^/vectors $1: /" "$dir/vectors-$1.txt" | grep -E '^[^:]*: (failed|.* vectors,)' || tail -n 1 "$dir/vectors-$1.txt"
}
for step in "$@"; do
	case $step in
	toolchain) "$here/toolchain.sh" "$dir" >"$dir/toolchain.log" 2>&1 ;;
	build) "$here/build.sh" "$dir/root" "$dir/source" edit_bindings_lock.py "$dir/modules" >"$dir/build.log" 2>&1 ;;
	tree) "$here/tree.sh" "$dir/kernel" "$dir/modules" "$dir/mended" >/dev/null ;;
	compare) "$here/compare.sh" "$dir/kernel" "$dir/modules" "$rounds" ;;
	vectors)
		judged stock "$dir/kernel" "${mended%%+*}"
		judged mended "$dir/mended" "$mended"
		;;
	workloads) "$here/workloads.sh" "$(vmlinuz "$dir/mended")" "$dir/traces" ;;
	*) echo "$step: no such step" >&2; exit 2 ;;
	esac
done
