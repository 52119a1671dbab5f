"""Arguments and error messages that the command line tools share."""

import argparse
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from se_det.config_files import find_config
from se_det.errors import Interrupted, UsageError


def config_file(config: str) -> str:
    """Check that a config file exists."""
    try:
        find_config(config)
    except (OSError, UsageError) as error:  # a name that is too long, or has no file
        raise argparse.ArgumentTypeError(str(error)) from error
    return config


def height_and_width(text: str) -> tuple[int, int]:
    """Parse an image size like ``800x1344``."""
    height, separator, width = text.partition('x')
    if not (separator and height.isdecimal() and width.isdecimal()):
        raise argparse.ArgumentTypeError(f'{text}: a size is a height and a width, like 800x1344')
    return int(height), int(width)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that the tools train and test share, named as in mmdet."""
    parser.add_argument('--work-dir', help='folder for logs; default work_dirs/<config name>')
    parser.add_argument(
        '--no-data-check',
        dest='data_check',
        action='store_false',
        help='start without checking annotations, images and classes',
    )
    add_config_arguments(parser)
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that change a config, named as in mmdet."""
    parser.add_argument(
        '--se',
        action='store_true',
        help='run the SE twin of CONFIG that swap_backbone writes; default work dir '
        'work_dirs/<config name>_se',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action='extend',
        metavar='KEY=VALUE',
        help='change values of the config (with --se, before SE is added): '
        'model.backbone.depth=101 key="[a,b]" key="(1,2)"',
    )


def parse_config_arguments(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the arguments, and the values of ``--cfg-options`` as mmengine does."""
    arguments = parser.parse_args()
    if options := arguments.cfg_options:
        from mmengine.config import DictAction  # takes seconds: after all other arguments

        arguments.cfg_options = None
        try:
            DictAction(['--cfg-options'], 'cfg_options')(parser, arguments, options)
        except (AssertionError, ValueError):
            found = ' '.join(options)
            parser.error(f'--cfg-options takes KEY=VALUE, brackets in pairs; got: {found}')
    return arguments


def parse_run_arguments(parser: argparse.ArgumentParser) -> dict[str, Any]:
    """Parse the arguments. Sets ``LOCAL_RANK`` for mmengine and returns the other arguments."""
    arguments = vars(parse_config_arguments(parser))
    os.environ.setdefault('LOCAL_RANK', str(arguments.pop('local_rank')))
    return arguments


@contextmanager
def usage_errors_alone() -> Iterator[None]:
    """Register everything with mmdet; print a `UsageError` without a traceback, exit with status 2.

    Likewise for what the system refuses, with the path; and for signals and a reader of the output
    that has ended, as in ``| head``: the exit status is 128 and the signal's number.
    """
    warnings.filterwarnings('ignore', 'pkg_resources is deprecated')  # of mmengine
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors='backslashreplace')  # names of files and classes may not be text
    try:
        from se_det import registration  # noqa: F401  (takes seconds: after parsing)

        try:
            yield
        finally:
            sys.stdout.flush()
    except Interrupted as interrupted:
        print(f'\n{interrupted}', file=sys.stderr)
        sys.exit(interrupted.exit_status)
    except KeyboardInterrupt:
        print('\nStopped by Ctrl-C.', file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for Python's own flush
        sys.exit(128 + signal.SIGPIPE)
    except UsageError as error:
        print(f'\nerror: {error}', file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.filename is None:
            raise
        print(f'\nerror: {error.filename}: {error.strerror}.', file=sys.stderr)
        sys.exit(2)
