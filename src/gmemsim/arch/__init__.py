"""Hardware and firmware behind private memory: state machines, KVM's hooks, and what each step costs."""
