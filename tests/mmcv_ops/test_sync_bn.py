"""mmcv's SyncBN, here over two threads that exchange their statistics."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from mmcv.ops import SyncBatchNorm


@pytest.fixture
def processes(monkeypatch):
    """Run a function in several threads that act as the processes of a group."""

    def start(count):
        barrier, given = threading.Barrier(count, timeout=60), {}

        def all_reduce(tensor, group):
            given[threading.get_ident()] = tensor.clone()
            barrier.wait()
            tensor.copy_(sum(given.values()))
            barrier.wait()

        monkeypatch.setattr('mmcv.ops.sync_bn.dist.get_world_size', lambda group: count)
        monkeypatch.setattr('mmcv.ops.sync_bn.dist.all_reduce', all_reduce)

        def run(function, arguments):
            with ThreadPoolExecutor(count) as pool:
                return list(pool.map(function, arguments))

        return run

    return start


@pytest.mark.parametrize('count', [1, 2])
def test_batch_norm_over_processes_is_that_of_the_whole_batch(processes, device, count):
    if device == 'cuda' and count > 1:
        pytest.skip('not run: on one GPU, PyTorch computes all backward passes in one thread')
    run = processes(count)
    whole = (3 * torch.randn(4, 3, 5, 6) + 2).to(device).requires_grad_()
    layer = SyncBatchNorm(3).to(device)
    mean, var = torch.zeros(3, device=device), torch.ones(3, device=device)
    expected = F.batch_norm(whole, mean, var, layer.weight, layer.bias, training=True)
    grad = torch.randn_like(expected)
    expected_grads = torch.autograd.grad(expected, [whole, layer.weight, layer.bias], grad)

    def step(part):
        own = SyncBatchNorm(3).to(device)
        own.load_state_dict(layer.state_dict())
        leaf = whole.detach().chunk(count)[part].requires_grad_()
        result = own(leaf)
        result.backward(grad.chunk(count)[part])
        statistics = own.running_mean, own.running_var
        return result.detach(), leaf.grad, own.weight.grad, own.bias.grad, *statistics

    results, grads, *per_process = zip(*run(step, range(count)), strict=True)
    torch.testing.assert_close(torch.cat(results), expected)
    torch.testing.assert_close(torch.cat(grads), expected_grads[0], rtol=1e-4, atol=1e-5)
    # Like DistributedDataParallel, mmcv averages the gradients of parameters.
    averages = [gradient / count for gradient in expected_grads[1:]]
    for of_processes, once in zip(per_process, [*averages, mean, var], strict=True):
        for value in of_processes:
            torch.testing.assert_close(value, once, rtol=1e-4, atol=1e-5)


def test_batch_norm_without_running_statistics(processes):
    processes(1)
    layer = SyncBatchNorm(3, track_running_stats=False)
    batch = torch.randn(4, 3, 5)
    expected = F.batch_norm(batch, None, None, layer.weight, layer.bias, training=True)
    torch.testing.assert_close(layer(batch), expected)
