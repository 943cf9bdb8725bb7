#!/bin/sh
# workloads.sh VMLINUZ OUT [SCENARIO...]: workloads on a kernel with mended modules (tree.sh), recorded and held against the model.
#
# Each scenario runs ROUNDS times (4) in `gmemsim lab`, traced; then `gmemsim follow` asks whether every trace is a run of MENDED
# (mainline-7.3+error-bindings-lock), and whether it is one of STOCK (mainline-7.3). Traces that STOCK cannot take show the mend.
# Prints a line a scenario. GMEMSIM is the command.
set -eu
vmlinuz=$1
out=$(mkdir -p "$2" && cd "$2" && pwd)
shift 2
[ $# -gt 0 ] || set -- hole punch same prefault alloc_punch close slot_delete mmap_punch memory_failure zoo-poison_punch
gmemsim=${GMEMSIM:-gmemsim}
stock=${STOCK:-mainline-7.3}
mended=${MENDED:-$stock+error-bindings-lock}
accepted() {
	$gmemsim follow "$out/$1"/*.trace.gz --patch "$2" 2>/dev/null | sed -n 's/^\([0-9]* of [0-9]*\) accepted.*/\1/p'
}
for scenario in "$@"; do
	rm -rf "${out:?}/$scenario"
	if ! $gmemsim lab run "$scenario" --kernel "$vmlinuz" --rounds "${ROUNDS:-4}" --max-seconds "${SECONDS_MAX:-300}" \
		--trace "$out/$scenario" >"$out/$scenario.txt" 2>&1; then
		echo "$scenario: $(tail -n 1 "$out/$scenario.txt")"
		continue
	fi
	echo "$scenario: $mended $(accepted "$scenario" "$mended"), $stock $(accepted "$scenario" "$stock")"
done
