"""What goes wrong before a run has done its first iteration is a mistake in its config."""

import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from se_det.errors import Interrupted, UsageError


class FirstIterationHook(Hook):
    """Knows whether the first iteration is done, of training or of a test."""

    done = False

    def _after_iter(self, runner: Runner, *_: Any, **__: Any) -> None:
        self.done = True


@contextmanager
def named_start_errors(
    config: str, cfg_options: Mapping[str, Any] | None
) -> Iterator[FirstIterationHook]:
    """Turn what libraries raise while a run is built into an error that names the config.

    Args:
        config: the config file.
        cfg_options: the options that changed it. Where there are some, errors of the first
            iteration are theirs too.

    Yields:
        A hook to register with the runner, which ends this.

    Raises:
        UsageError: the run could not be built.
    """
    first_iteration = FirstIterationHook()
    options = ''.join(f' {name}={value}' for name, value in (cfg_options or {}).items())
    options = options and f' with --cfg-options{options}'
    try:
        yield first_iteration
    except Interrupted:
        raise
    except UsageError as error:
        if not options or '--cfg-options' in str(error) or config in str(error):
            raise
        raise UsageError(f'{error}\n({config}{options})') from error
    except Exception as error:
        if first_iteration.done:
            raise
        *_, last = traceback.extract_tb(error.__traceback__)
        place = f'{"/".join(Path(last.filename).parts[-3:])}, line {last.lineno}'
        raise UsageError(
            f'{config}{options} cannot be run:\n{type(error).__name__}: {error}\n({place})'
        ) from error
