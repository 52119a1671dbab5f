"""Arguments and error messages that the command line tools share.

To import se_det registers it with MMDetection, which takes seconds: the tools do so after they have
parsed their arguments.
"""

import argparse
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def parse_run_arguments(parser: argparse.ArgumentParser) -> dict[str, Any]:
    """Parse the arguments, with those that the tools train and test share, named as in mmdet.

    Returns:
        All but ``--local-rank``, of which ``LOCAL_RANK`` is set for mmengine.
    """
    parser.add_argument('--work-dir', help='folder for logs; default work_dirs/<config name>')
    parser.add_argument(
        '--no-data-check',
        dest='data_check',
        action='store_false',
        help='start without checking annotations, images and classes',
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    arguments = vars(parse_config_arguments(parser))
    os.environ.setdefault('LOCAL_RANK', str(arguments.pop('local_rank')))
    return arguments


def parse_config_arguments(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the arguments, with those that change a config, named as in mmdet.

    The values of ``--cfg-options`` are parsed as mmengine does.
    """
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
        import se_det  # noqa: F401  (takes seconds: after parsing)

        try:
            yield
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        print('\nStopped by Ctrl-C.', file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for Python's own flush
        sys.exit(128 + signal.SIGPIPE)
    except Exception as error:
        message, status = _in_words(error)
        if message is None:
            raise
        print(f'\n{message}', file=sys.stderr)
        sys.exit(status)


def _in_words(error: Exception) -> tuple[str | None, int]:
    """What to print of an error, None for its traceback, and the exit status."""
    errors = sys.modules.get('se_det.errors')  # without mmcv, se_det itself cannot be imported
    if errors and isinstance(error, errors.Interrupted):
        return str(error), error.exit_status
    if errors and isinstance(error, errors.UsageError):
        return f'error: {error}', 2
    if isinstance(error, OSError) and error.filename is not None:
        return f'error: {error.filename}: {error.strerror}.', 2
    return None, 1
