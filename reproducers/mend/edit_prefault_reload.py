"""Edit mmu.c of Linux 7.3: each try of a pre-fault loads the root anew if it is obsolete.

    python3 edit_prefault_reload.py arch/x86/kvm/mmu/mmu.c

The root is loaded as kvm_arch_vcpu_pre_fault_memory() does once a page; that may sleep, as the loop does. The place is
before the only fault of kvm_tdp_page_prefault(), which must be there once, or nothing is written and the exit code
is 1.
"""

from edit_bindings_lock import main, within

FILE = "arch/x86/kvm/mmu/mmu.c"


def edited(text):
    """The file with a load of the root in the loop."""
    return within(
        text,
        "static int kvm_tdp_page_prefault",
        1,
        r"^(\t+)r = kvm_mmu_do_page_fault\(",
        r"\1r = kvm_mmu_reload(vcpu);\n\1if (r)\n\1\treturn r;\n\n\g<0>",
    )


if __name__ == "__main__":
    main(edited)
