"""gmemsim: an executable model of Linux KVM guest_memfd under concurrency."""

__all__ = ["__version__"]

__version__ = "0.1.0"
