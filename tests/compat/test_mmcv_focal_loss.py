"""``sigmoid_focal_loss`` and ``softmax_focal_loss`` against their definitions in plain Python."""

import math

import mmcv._ext
import pytest
import torch
from mmcv.ops import sigmoid_focal_loss, softmax_focal_loss
from torch import Tensor
from torch.autograd import gradcheck

LOG_TINY = math.log(1.1754943508222875e-38)  # of the smallest normal float32
GAMMAS_ALPHAS = [(2.0, 0.25), (0.0, 0.5), (1.5, 1.0), (0.5, 0.1)]


def inputs(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, (9, 4), targets with background (4) among them, and weights."""
    logits = 3 * torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    target = torch.tensor([0, 1, 2, 3, 4, 2, 4, 1, 0])
    weight = torch.tensor([0.5, 2.0, 0.0, 1.25])
    return logits.to(dtype), target, weight.to(dtype)


def sigmoid_by_hand(logits: Tensor, target: Tensor, weight: Tensor | None, gamma, alpha) -> Tensor:
    classes = logits.shape[1]
    loss = torch.zeros(logits.shape, dtype=torch.float64)
    for n, row in enumerate(logits.tolist()):
        t = int(target[n])
        for c, x in enumerate(row):
            p = 1 / (1 + math.exp(-x))
            if t == c:
                loss[n, c] = -alpha * (1 - p) ** gamma * math.log(p)
            else:
                loss[n, c] = -(1 - alpha) * p**gamma * math.log(1 - p)
        if weight is not None and 0 <= t < classes:
            loss[n] *= weight[t].item()
    return loss


def softmax_by_hand(logits: Tensor, target: Tensor, weight: Tensor | None, gamma, alpha) -> Tensor:
    loss = torch.zeros(len(logits), dtype=torch.float64)
    for n, row in enumerate(logits.tolist()):
        t = int(target[n])
        if t >= 0:
            p = math.exp(row[t]) / sum(math.exp(x) for x in row)
            loss[n] = -alpha * (1 - p) ** gamma * math.log(p)
            loss[n] *= 1 if weight is None else weight[t].item()
    return loss


def ignoring(target: Tensor) -> Tensor:
    """Targets for the softmax loss: -1, ignored, in the place of background."""
    return torch.where(target == 4, -1, target)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("gamma", "alpha"), GAMMAS_ALPHAS)
def test_sigmoid(gamma, alpha, weighted, dtype):
    logits, target, weight = inputs(dtype)
    weight = weight if weighted else None
    expected = sigmoid_by_hand(logits, target, weight, gamma, alpha).to(dtype)
    loss = {
        reduction: sigmoid_focal_loss(logits, target, gamma, alpha, weight, reduction)
        for reduction in ("none", "sum", "mean")
    }
    torch.testing.assert_close(loss["none"], expected)
    torch.testing.assert_close(loss["sum"], expected.sum())
    torch.testing.assert_close(loss["mean"], expected.sum() / len(logits))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("gamma", "alpha"), GAMMAS_ALPHAS)
def test_softmax(gamma, alpha, weighted, dtype):
    logits, target, weight = inputs(dtype)
    target, weight = ignoring(target), weight if weighted else None
    expected = softmax_by_hand(logits, target, weight, gamma, alpha).to(dtype)
    loss = {
        reduction: softmax_focal_loss(logits, target, gamma, alpha, weight, reduction)
        for reduction in ("none", "sum", "mean")
    }
    torch.testing.assert_close(loss["none"], expected)
    torch.testing.assert_close(loss["sum"], expected.sum())
    torch.testing.assert_close(loss["mean"], expected.sum() / len(logits))


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("gamma", "alpha"), GAMMAS_ALPHAS)
def test_sigmoid_gradient(gamma, alpha, weighted, reduction):
    logits, target, weight = inputs()
    weight = weight if weighted else None
    assert gradcheck(
        lambda x: sigmoid_focal_loss(x, target, gamma, alpha, weight, reduction),
        logits.requires_grad_(),
    )


# Not "none": mmcv's backward would multiply (N, C) by (N,).
@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("gamma", "alpha"), GAMMAS_ALPHAS)
def test_softmax_gradient(gamma, alpha, weighted, reduction):
    logits, target, weight = inputs()
    target, weight = ignoring(target), weight if weighted else None
    assert gradcheck(
        lambda x: softmax_focal_loss(x, target, gamma, alpha, weight, reduction),
        logits.requires_grad_(),
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sigmoid_half_precision_is_float32_rounded_once(dtype):
    logits, target, weight = inputs(dtype)
    wide = logits.double().requires_grad_()
    logits.requires_grad_()
    expected = sigmoid_focal_loss(wide, target, 2.0, 0.25, weight.double(), "none")
    loss = sigmoid_focal_loss(logits, target, 2.0, 0.25, weight, "none")
    loss.sum().backward()
    expected.sum().backward()
    ulp = {"rtol": torch.finfo(dtype).eps / 2 + 1e-5, "atol": 1e-7}
    torch.testing.assert_close(loss.double(), expected, **ulp)
    torch.testing.assert_close(logits.grad.double(), wide.grad, **ulp)
    by_hand = sigmoid_by_hand(logits.detach(), target, weight, 2.0, 0.25)
    torch.testing.assert_close(expected, by_hand)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_softmax_half_precision_is_float32_rounded_once(dtype):
    logits, target, weight = inputs(dtype)
    target, p = ignoring(target), logits.softmax(1)
    wide = [tensor.double() for tensor in (p, weight)]
    results = []
    for probabilities, factors in ([p, weight], wide):
        loss, buff = (probabilities.new_empty(9) for _ in range(2))
        grad = torch.empty_like(probabilities)
        mmcv._ext.softmax_focal_loss_forward(
            probabilities, target, factors, loss, gamma=2.0, alpha=0.25
        )
        mmcv._ext.softmax_focal_loss_backward(
            probabilities, target, factors, buff, grad, gamma=2.0, alpha=0.25
        )
        results.append((loss, buff, grad))
    for half, exact in zip(*results, strict=True):
        assert half.dtype == dtype
        torch.testing.assert_close(
            half.double(), exact, rtol=torch.finfo(dtype).eps / 2 + 1e-5, atol=1e-7
        )


def test_softmax_backward_fills_the_buffer():
    logits, target, weight = inputs()
    target, p = ignoring(target), logits.softmax(1)
    buff, grad = torch.full((9,), 7.0).double(), torch.full((9, 4), 7.0).double()
    mmcv._ext.softmax_focal_loss_backward(p, target, weight, buff, grad, gamma=2.0, alpha=0.25)
    for n, t in enumerate(target.tolist()):
        q = p[n, t].item()
        slope = 0.25 * (2 * (1 - q) * q * math.log(q) - (1 - q) ** 2) * weight[t] if t >= 0 else 0
        assert buff[n].item() == pytest.approx(float(slope))
        for c in range(4):
            assert grad[n, c].item() == pytest.approx(float(slope * (int(t == c) - p[n, c])))


def test_sigmoid_of_sure_logits():
    logits = torch.tensor([[200.0, -200.0]], requires_grad=True)
    for target, losses in ((0, [0, 0]), (1, [-0.75 * LOG_TINY, -0.25 * LOG_TINY])):
        loss = sigmoid_focal_loss(logits, torch.tensor([target]), 2.0, 0.25, None, "none")
        torch.testing.assert_close(loss, torch.tensor([losses], dtype=torch.float32))
        (grad,) = torch.autograd.grad(loss.sum(), logits)
        assert grad.isfinite().all()


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_softmax_of_sure_logits(gamma):
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    loss = softmax_focal_loss(logits, torch.tensor([0, 0]), gamma, 0.25, None, "none")
    torch.testing.assert_close(loss, torch.tensor([0, -0.25 * LOG_TINY]))
    total = softmax_focal_loss(logits, torch.tensor([0, 0]), gamma, 0.25, None, "sum")
    (grad,) = torch.autograd.grad(total, logits)
    # A probability of 1 has nothing to learn; one of 0 keeps cross-entropy's slope, times alpha.
    torch.testing.assert_close(grad, torch.tensor([[0.0, 0.0], [-0.25, 0.25]]))


def test_targets_that_are_no_class():
    logits, target, _ = inputs()
    background = sigmoid_by_hand(logits, torch.full((9,), 4), None, 2.0, 0.25)
    for negative in (-1, -3):
        loss = sigmoid_focal_loss(
            logits, torch.full((9,), negative), 2.0, 0.25, logits.new_tensor([3.0] * 4), "none"
        )
        torch.testing.assert_close(loss, background)
    with pytest.raises(ValueError, match="at most 4"):
        sigmoid_focal_loss(logits, target + 1)
    with pytest.raises(ValueError, match="below 4"):
        softmax_focal_loss(logits, target)


def test_no_rows():
    logits, target = torch.zeros(0, 4, requires_grad=True), torch.zeros(0, dtype=torch.long)
    for focal_loss in (sigmoid_focal_loss, softmax_focal_loss):
        loss = focal_loss(logits, target, 2.0, 0.25, None, "sum")
        (grad,) = torch.autograd.grad(loss, logits)
        assert loss == 0
        assert grad.shape == (0, 4)
