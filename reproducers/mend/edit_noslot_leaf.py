"""Edit tdp_mmu.c of Linux 7.3: a fault without a slot that meets a leaf is retried, and its frame is not compared.

    python3 edit_noslot_leaf.py arch/x86/kvm/mmu/tdp_mmu.c

The place is found by the function and the comparison, which must be there once, or nothing is written and the exit code
is 1.
"""

from edit_bindings_lock import main, within

FILE = "arch/x86/kvm/mmu/tdp_mmu.c"


def edited(text):
    """The file with a return before the comparison."""
    return within(
        text,
        "static int tdp_mmu_map_handle_target_level",
        1,
        r"^(\t+)WARN_ON_ONCE\(fault->pfn != spte_to_pfn\([^;]*;",
        r"\1if (!fault->slot)\n\1\treturn RET_PF_RETRY;\n\g<0>",
    )


if __name__ == "__main__":
    main(edited)
