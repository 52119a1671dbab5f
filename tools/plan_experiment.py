#!/usr/bin/env python3
"""The former name of sample_size: type tools/sample_size.py."""

import sys

from sample_size import main

if __name__ == '__main__':
    print(
        'plan_experiment is now called sample_size; this name goes with se_det 0.2.',
        file=sys.stderr,
    )
    main()
