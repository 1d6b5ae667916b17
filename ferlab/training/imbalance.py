"""Class imbalance: what each strategy does to the sampling, to the loss and to the logits.

    balance = Balance("weights", counts=[1161, 253, ...])
    loss = balance.loss(logits, labels, label_smoothing=0.1)

The loss is a plain mean over the batch in every strategy (weights average 1 over the training images), so it
is the same for any number of processes.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ferlab.analysis import metrics

STRATEGIES = {
    "none": "every image once an epoch, cross-entropy as in the recipe",
    "sampler": "classes drawn equally often, by inverse frequency (Shen et al., ECCV 2016)",
    "sqrt-sampler": "classes drawn by the square root of their frequency (Mahajan et al., ECCV 2018)",
    "weights": "loss weighted by inverse class frequency (King and Zeng, Political Analysis 2001)",
    "class-balanced": "loss weighted by the inverse effective number, beta 0.999 (Cui et al., CVPR 2019)",
    "focal": "focal loss, gamma 2, on the true label's part of the smoothed loss (Lin et al., ICCV 2017)",
    "ldam-drw": "larger margins for rarer classes, class-balanced weights in the last fifth (Cao et al., "
    "NeurIPS 2019, but on plain logits: the paper's are cosines, times 30)",
    "logit-adjust": "log class frequency added to the logits in training (Menon et al., ICLR 2021; the "
    "balanced softmax of Ren et al., NeurIPS 2020)",
    "post-hoc": "a share of log class frequency, fitted on val, is taken off (Menon et al., ICLR 2021)",
}
BETA, GAMMA, MARGIN, DEFERRED = 0.999, 2.0, 0.5, 0.8


class Balance:
    """One strategy for training images of the given class counts. `progress` is the share of training done,
    0..1.
    """

    def __init__(self, strategy: str, counts: Sequence[int], *, device: torch.device | str = "cpu") -> None:
        if strategy not in STRATEGIES:
            raise ValueError(f"balance is {strategy!r}; it must be one of {', '.join(STRATEGIES)}")
        self.strategy = strategy
        n = torch.tensor(counts, dtype=torch.float32)
        self.log_prior = (n / n.sum()).log().to(device)
        inverse, effective = 1 / n, (1 - BETA) / (1 - BETA**n)
        # weights of a class's images: in the draw, and in the loss, with mean 1 over the training images
        self._sampling = {"sampler": inverse, "sqrt-sampler": n**-0.5}.get(strategy)
        weights = {"weights": inverse, "class-balanced": effective, "ldam-drw": effective}.get(strategy, n**0)
        self._weights = (weights * n.sum() / (weights * n).sum()).to(device)
        self._margins = (MARGIN * (n / n.min()) ** -0.25).to(device)  # largest for the rarest class

    def order(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        """The images of one epoch as indices (N,): a permutation, or a draw with replacement where sampling
        is balanced.
        """
        if self._sampling is None:
            return torch.randperm(len(labels), generator=generator)
        return torch.multinomial(self._sampling[labels], len(labels), replacement=True, generator=generator)

    def loss(
        self, logits: Tensor, labels: Tensor, *, label_smoothing: float = 0.0, progress: float = 0.0
    ) -> Tensor:
        """Mean loss of logits (B, C) against labels (B,)."""
        if self.strategy == "logit-adjust":
            logits = logits + self.log_prior
        if self.strategy == "ldam-drw":
            logits = logits - F.one_hot(labels, logits.shape[1]) * self._margins
        losses = F.cross_entropy(logits, labels, reduction="none", label_smoothing=label_smoothing)
        if self.strategy == "focal":
            hard = F.cross_entropy(logits, labels, reduction="none")  # what smoothing adds stays
            losses = losses - (1 - label_smoothing) * (1 - (1 - (-hard).exp()) ** GAMMA) * hard
        if self.strategy in ("weights", "class-balanced") or (
            self.strategy == "ldam-drw" and progress >= DEFERRED
        ):
            losses = losses * self._weights[labels]
        return losses.mean()

    def fit(self, logits: Tensor, labels: Tensor) -> float:
        """The share tau in 0..2 of log frequency whose removal gives the best macro-F1 on these (val)
        logits.
        """
        if self.strategy != "post-hoc":
            return 0.0
        prior = self.log_prior.to(logits.device)
        taus = [i / 20 for i in range(41)]

        def macro_f1(tau: float) -> float:
            predicted = (logits - tau * prior).argmax(1)
            confusion = metrics.confusion_matrix(predicted, labels, classes=len(prior))
            return float(metrics.from_confusion(confusion)["macro_f1"])

        return max(taus, key=lambda tau: (macro_f1(tau), -tau))

    def adjust(self, model: nn.Module, tau: float) -> None:
        """Take tau * log frequency from the logits for good, in the bias of the model's last linear layer."""
        head = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
        with torch.no_grad():
            head.bias.sub_(tau * self.log_prior.to(head.bias.device))
