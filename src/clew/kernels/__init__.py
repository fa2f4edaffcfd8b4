"""Kernels that touch active features only, chosen by device."""
