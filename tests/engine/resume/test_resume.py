"""A training that is killed and resumed has the weights of one that is not, bit for bit."""

import copy

import pytest
import torch
from mmengine.hooks import Hook

from se_det.engine.resume import training_state
from se_det.engine.resume.checkpoint_files import latest_checkpoint
from se_det.errors import UsageError

EVERY_EPOCH = dict(checkpoint=dict(type='CheckpointHook', interval=1))
EVERY_THREE = dict(checkpoint=dict(type='CheckpointHook', interval=3, by_epoch=False))
ITERATIONS = dict(by_epoch=False, max_iters=24, val_interval=5)
EMA = dict(type='EMAHook')
ACCUMULATED = dict(optimizer=dict(type='Adam', lr=0.01), accumulative_counts=4)
CASES = {
    'epochs': dict(default_hooks=EVERY_EPOCH),
    'iterations of an epoch': dict(default_hooks=EVERY_THREE),
    'endless sampler': dict(
        default_hooks=EVERY_THREE, train_cfg=ITERATIONS, sampler='InfiniteSampler'
    ),
    'iterations over epochs': dict(default_hooks=EVERY_THREE, train_cfg=ITERATIONS),
    'the end of an epoch': dict(
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=8, by_epoch=False)),
        batch_sampler=dict(type='AspectRatioBatchSampler'),
    ),
    'average of weights': dict(default_hooks=EVERY_THREE, hooks=[EMA]),
    'accumulated gradients': dict(default_hooks=EVERY_THREE, optim_wrapper=ACCUMULATED),
    'best': dict(
        default_hooks=dict(
            checkpoint=dict(type='CheckpointHook', interval=1, save_best='score', rule='less')
        )
    ),
}


def _state(runner):
    """Weights, averaged weights and momenta."""
    tensors = dict(runner.model.state_dict())
    for index, state in runner.optim_wrapper.optimizer.state_dict()['state'].items():
        tensors |= {f'{index} {name}': torch.as_tensor(value) for name, value in state.items()}
    for hook in runner.hooks:
        if hasattr(hook, 'ema_model'):
            tensors |= {f'ema {name}': value for name, value in hook.ema_model.state_dict().items()}
    return tensors


@pytest.mark.parametrize(
    ('case', 'stop'),
    [
        *((case, (11, 'after_train_iter')) for case in CASES),
        *(
            pytest.param(case, 'validation', marks=() if 'epochs' in case else pytest.mark.long)
            for case in CASES
        ),
    ],
)
def test_a_killed_training_ends_as_an_uninterrupted_one(toy_runner, tmp_path, case, stop):
    options = CASES[case]
    if stop == 'validation':
        stop = (15 if 'train_cfg' in options else 24, 'after_val_iter')
    _check_resume(toy_runner, tmp_path, options, stop)


@pytest.mark.parametrize('sampler', ['DefaultSampler', 'InfiniteSampler'])
def test_with_workers(toy_runner, tmp_path, sampler):
    """Workers, which read ahead, change nothing: the whole training is without them."""
    train_cfg = ITERATIONS if sampler == 'InfiniteSampler' else None
    options = dict(default_hooks=EVERY_THREE, sampler=sampler, train_cfg=train_cfg)
    _check_resume(toy_runner, tmp_path, options, (11, 'after_train_iter'), workers=2)


class Fails(Hook):
    """A hook, or what it stands for, that fails once, at iteration 16 of 24."""

    def __init__(self, moment):
        setattr(self, moment, self._fail)
        self.moment = moment

    def _fail(self, runner, *_, **__):
        if runner.iter + (self.moment == 'after_train_iter') == 16:
            raise ZeroDivisionError('by the hook')


SELDOM = dict(checkpoint=dict(type='CheckpointHook', interval=100))


@pytest.mark.parametrize('averaged', [False, pytest.param(True, marks=pytest.mark.long)])
@pytest.mark.parametrize(
    'moment',
    ['after_train_iter', 'after_train_epoch', 'before_val', 'after_val_iter', 'after_val_epoch'],
)
def test_what_fails_after_an_iteration_loses_none(toy_runner, tmp_path, moment, averaged):
    options = dict(default_hooks=SELDOM)
    hooks = [EMA] if averaged else []
    runner = toy_runner('whole', hooks=hooks, **options)
    runner.train()
    with pytest.raises(UsageError, match='ZeroDivisionError: by the hook') as caught:
        toy_runner('killed', hooks=[*hooks, Fails(moment)], **options).train()
    assert 'saved up to iteration 16' in str(caught.value)
    assert 'Traceback' in ''.join(path.read_text() for path in tmp_path.glob('killed/*/*.log'))
    _check_resumed(toy_runner, tmp_path, runner, dict(hooks=hooks, **options))


def test_a_training_that_is_not_saved_is_not_saved_for_validation(toy_runner, tmp_path):
    toy_runner(default_hooks=dict(checkpoint=None)).train()
    assert not list(tmp_path.glob('run/*.pth'))


def _check_resume(toy_runner, tmp_path, options, stop, **more):
    runner = toy_runner('whole', **options)
    runner.train()
    with pytest.raises(KeyboardInterrupt, match='killed'):
        toy_runner('killed', stop=stop, **options, **more).train()
    _check_resumed(toy_runner, tmp_path, runner, options, **more)


def _check_resumed(toy_runner, tmp_path, runner, options, **more):
    checkpoint = str(latest_checkpoint(tmp_path / 'killed'))
    resumed = toy_runner('killed', resume=True, load_from=checkpoint, **options, **more)
    resumed.train()
    expected, found = _state(runner), _state(resumed)
    assert found.keys() == expected.keys()
    assert [name for name in expected if not found[name].equal(expected[name])] == []
    if 'workers' not in more:  # else other processes draw the random numbers of a validation
        scores = [run.message_hub.get_scalar('val/score').current() for run in (runner, resumed)]
        assert scores[0] == scores[1]


def test_resuming_reads_no_data_of_earlier_iterations(toy_runner, tmp_path):
    options = dict(
        default_hooks=EVERY_THREE,
        train_cfg=ITERATIONS,
        val_dataloader=None,
        val_cfg=None,
        val_evaluator=None,
    )
    with pytest.raises(KeyboardInterrupt, match='killed'):
        toy_runner(stop=(22,), **options).train()
    assert toy_runner.data.read == 22 * 2
    checkpoint = str(latest_checkpoint(tmp_path / 'run'))
    toy_runner(resume=True, load_from=checkpoint, **options).train()
    assert toy_runner.data.read == 3 * 2


def test_a_checkpoint_without_random_states_resumes(toy_runner, tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt, match='killed'):
        toy_runner(stop=(20,), default_hooks=EVERY_EPOCH).train()
    path = tmp_path / 'run' / 'epoch_2.pth'
    checkpoint = torch.load(path, weights_only=False)
    del checkpoint['training_state']
    torch.save(checkpoint, path)
    runner = toy_runner(resume=True, load_from=str(path), default_hooks=EVERY_EPOCH)
    runner.train()
    assert runner.iter == 24
    assert 'has no random states' in capsys.readouterr().out


@pytest.mark.parametrize(('rank', 'shift'), [(0, 0), (1, 1), (2, 0)])
def test_each_process_goes_on_with_the_statistics_of_its_norms(
    toy_runner, monkeypatch, rank, shift
):
    """A checkpoint has those of the first process; a third one there was not."""

    def gather(own):
        other = copy.deepcopy(own)
        if 'layers.1.running_mean' in own:
            other['layers.1.running_mean'] += 1
        return [own, other]

    monkeypatch.setattr(training_state, 'all_gather_object', gather)
    first = toy_runner()
    first.train()
    monkeypatch.setattr(training_state, 'get_rank', lambda: rank)
    resumed = toy_runner(resume=True)
    resumed.load_or_resume()
    resumed.training_state.restore(resumed)
    torch.testing.assert_close(
        resumed.model.layers[1].running_mean, first.model.layers[1].running_mean + shift
    )


def test_equal_statistics_are_not_saved_twice(toy_runner, tmp_path):
    toy_runner().train()
    checkpoint = torch.load(tmp_path / 'run/epoch_3.pth', weights_only=False)
    assert checkpoint['training_state']['statistics'] == []
