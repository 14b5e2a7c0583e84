# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""Benchmarks: what the package reaches, beside what others reach on the same images in the same run.

Each is a module to run from the repository's root, such as ``python -m benchmarks.speed --help``.
"""
