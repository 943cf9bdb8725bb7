#!/bin/sh
# compare.sh KERNEL MODULES [ROUNDS]: the deadlocks' reproducers on a stock kernel, and on it with mended modules, in one run.
#
# KERNEL is where the kernel's packages were unpacked (as for mkinitramfs.sh), MODULES what build.sh wrote. Prints a line a
# boot: kernel, modules, reproducer, and its result. One VM at a time. A stock kernel hangs within rounds; the mended one has to
# end ROUNDS (10,000). A boot that ends without a result (TCG loses one in four) is tried again, at most TRIES times (3). One
# that hung is ended AFTER seconds (30) after its result: a process with a task in state D never exits. LOGS keeps the consoles.
# PROGRAMS are reproducers; behind a colon is the writer of memory-failure-allocation-writer: punch, or bind (a memslot ioctl),
# or the mode of prefault-keeps-obsolete-root.
set -eu
kernel=$(cd "$1" && pwd)
modules=$(cd "$2" && pwd)
rounds=${3:-10000}
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# 10,000 rounds take a minute on an idle host, and ten on one with ten times as many runnable tasks as CPUs.
export SECONDS_MAX="${SECONDS_MAX:-1200}"
logs=${LOGS:-$work}
mkdir -p "$logs"
vmlinuz=$(ls "$kernel"/boot/vmlinuz* "$kernel"/usr/lib/modules/*/vmlinuz "$kernel"/lib/modules/*/vmlinuz 2>/dev/null | head -n 1)
make -s -C "$here/.."
"$here/../mkinitramfs.sh" "$kernel" "$work/stock.img"
"$here/../mkinitramfs.sh" "$kernel" "$work/mended.img" "$modules"
three=memory-failure-allocation-writer
for entry in ${PROGRAMS:-memory-failure-against-punch $three:punch $three:bind}; do
	program=${entry%%:*}
	case $entry in
	*:*) writer=${entry#*:} ;;
	*) writer= ;;
	esac
	for image in ${IMAGES:-stock mended}; do
		log=$logs/$image-$program${writer:+-$writer}.txt
		try=0
		while [ "$try" -lt "${TRIES:-3}" ]; do
			try=$((try + 1))
			"$here/../boot.sh" "$vmlinuz" "$work/$image.img" "$program" $writer "$rounds" >"$log" 2>&1 </dev/null &
			boot=$!
			left=${AFTER:-30}
			while kill -0 "$boot" 2>/dev/null && [ "$left" -gt 0 ]; do
				sleep 1
				! grep -q RESULT "$log" || left=$((left - 1))
			done
			kill "$boot" 2>/dev/null || true
			wait "$boot" || true
			if grep -q RESULT "$log"; then break; fi
		done
		release=$(sed -n 's/\r$//; s/^Linux \([^ ]*\).*/\1/p' "$log" | tail -n 1)
		result=$(sed -n 's/\r$//; s/.*RESULT: //p' "$log" | tail -n 1)
		echo "${release:-?} $image $program${writer:+ $writer}: ${result:-no result in $try boots}"
	done
done
