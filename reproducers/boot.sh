#!/bin/sh
# boot.sh VMLINUZ IMAGE COMMAND...: boot a stock kernel with nested SVM in QEMU and run a program of the initramfs.
#
# No KVM is needed: TCG emulates AMD's SVM with nested paging, at a tenth of the speed or less. With KVM and nested
# virtualization set ACCEL=kvm. SECONDS_MAX ends a boot that does not end by itself.
set -eu
vmlinuz=$1
image=$2
shift 2
command=$(echo "$*" | tr ' ' ,)
accel=${ACCEL:-tcg,thread=multi}
cpu=${CPU:-EPYC,+svm,+npt}
exec timeout "${SECONDS_MAX:-300}" qemu-system-x86_64 -accel "$accel" -cpu "$cpu" -smp 4 -m 2048 -nographic \
	-no-reboot -nodefaults -serial stdio -kernel "$vmlinuz" -initrd "$image" \
	-append "console=ttyS0 panic=-1 mitigations=off nokaslr no_timer_check psi=0 run=$command"
