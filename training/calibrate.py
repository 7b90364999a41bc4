"""Temperature scaling (Guo et al. 2017, "On Calibration of Modern Neural Networks")."""

import torch
from torch.nn.functional import cross_entropy


def fit_temperature(logits: torch.Tensor, targets: torch.Tensor) -> float:
    """The temperature in [0.05, 20] that minimises the cross-entropy of (N, C) logits against (N,) class ids.

    It never changes which class is likeliest.
    """
    log_t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    logits = logits.detach().double()
    optimizer = torch.optim.LBFGS([log_t], lr=0.1, max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = cross_entropy(logits / log_t.exp(), targets)
        loss.backward()
        return loss

    optimizer.step(closure)
    return round(float(log_t.detach().exp().clamp(0.05, 20)), 4)
