#!/usr/bin/env python3
"""The former name of sample_size: type tools/sample_size.py."""

import sys

import sample_size


def main() -> None:
    """Name the tool's new name, and do what it does."""
    print('plan_experiment is sample_size now; the old name goes in se_det 0.2', file=sys.stderr)
    sample_size.main()


if __name__ == '__main__':
    main()
