"""The tests on other kernels, in virtual machines: `python -m tests.vm [KERNEL...]`."""
